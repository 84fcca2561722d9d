"""README and --help say what is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gptcli.cli.app import command_options, commands, leaves
from tests.conftest import Cli

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    found.strip()
    for line in "\n".join(BLOCKS).splitlines()
    for found in re.findall(r"(?:^|[|&] *)(gptcli [^|#]*)", line)
]


def test_the_readme_has_the_two_commands() -> None:
    assert 'pip install ".[starter]" && gptcli generate "The quick brown fox"' in README
    assert 'pip install -e ".[dev]" && pytest' in README


@pytest.mark.parametrize("command", COMMANDS)
def test_options_of_the_readme_exist(command: str, cli: Cli) -> None:
    _, *words = shlex.split(command)
    names = words[: 2 if words[0] in ("models", "logs", "config") else 1]
    options = {word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z-]+(=.*)?", word)}

    shown = cli(*names, "--help", env={"COLUMNS": "200"}).stdout

    assert not {option for option in options if option not in shown}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["generate"],
        ["chat"],
        ["doctor"],
        ["config"],
        ["config", "set"],
        ["models"],
        ["models", "pull"],
        ["map"],
        ["bench"],
        ["fit"],
        ["eval"],
        ["heads"],
        ["heads", "show"],
        ["cache"],
        ["logs"],
        ["logs", "show"],
        ["logs", "export"],
        ["logs", "rm"],
    ],
)
def test_help_is_there_and_fits(arguments: list[str], cli: Cli) -> None:
    result = cli(*arguments, "--help", env={"COLUMNS": "80"})

    assert result.status == 0
    assert "Usage: gptcli" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


@pytest.mark.parametrize("group", ["models", "logs", "cache", "config", "memory", "heads"])
def test_a_group_without_a_command_prints_its_help_and_no_error(group: str, cli: Cli) -> None:
    result = cli(group)

    assert result.status == 2
    assert f"Usage: gptcli {group}" in result.stdout
    assert result.stderr == ""


def test_every_option_says_what_it_does() -> None:
    for group in commands().values():
        for param in (param for command in leaves(group) for param in command.params):
            assert param.param_type_name == "argument" or param.help, param.name


def test_every_option_has_its_environment_variable() -> None:
    for name in command_options():
        for command in leaves(commands()[name]):
            for param in command.params:
                if param.param_type_name == "option":
                    long_name = next(text for text in param.opts if text.startswith("--"))
                    assert param.envvar == "GPTCLI_" + long_name[2:].upper().replace("-", "_")


def test_a_wheel_carries_its_data(tmp_path: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    forced = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    assert forced == {"models.toml": "gptcli/models.toml"}
    assert (REPOSITORY / "gptcli" / "prompts" / "library.toml").is_file()


def test_the_modules_entry_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gptcli", "--version"], capture_output=True, text=True, check=True
    )

    assert re.fullmatch(r"gptcli \d+\.\d+\.\d+\n", done.stdout)
