"""README and --help say what is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup

from gptcli.cli.app import command_options, commands, leaves, root_group
from tests.conftest import Cli

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
SPANS = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
COMMANDS = [
    found.partition(" < ")[0].strip()
    for line in (*"\n".join(BLOCKS).splitlines(), *(" ".join(span.split()) for span in SPANS))
    for found in re.findall(r"(?:^|[|&] *)(gptcli [^|#]+)", line)
]


def test_the_readme_has_the_two_commands() -> None:
    assert 'pip install ".[starter]" && gptcli generate "The quick brown fox"' in README
    assert 'pip install -e ".[dev]" && pytest' in README


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_readme_are_understood(line: str) -> None:
    """All but run: names, options and their values are read as they would be."""
    command: Any = root_group()
    _, *words = shlex.split(line)
    while words and isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]

    if not isinstance(command, TyperGroup):  # a group alone, such as `gptcli logs`, is named only
        command.make_context(line, words)


def test_the_readme_names_every_command() -> None:
    assert [name for name in commands() if f"gptcli {name}" not in README] == []


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
