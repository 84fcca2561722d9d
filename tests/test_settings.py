"""config.toml and the `config` command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptcli.errors import UsageError
from gptcli.settings import defaults_by_command, read_config, write_value
from tests.conftest import Cli

COMMANDS = {"generate": {"temperature", "top_k", "model"}, "doctor": {"model"}}
PATH = Path("config.toml")


def test_a_table_counts_for_its_command_alone() -> None:
    config = {"model": "a", "temperature": 1.0, "generate": {"temperature": 0.5, "top-k": 3}}

    defaults = defaults_by_command(config, COMMANDS, PATH)

    assert defaults == {
        "generate": {"model": "a", "temperature": 0.5, "top_k": 3},
        "doctor": {"model": "a"},
    }


@pytest.mark.parametrize(
    ("config", "key"),
    [({"modell": 1}, "modell"), ({"generat": {}}, "generat"), ({"doctor": {"top_k": 1}}, "top_k")],
)
def test_unknown_keys_are_refused(config: dict[str, object], key: str) -> None:
    with pytest.raises(UsageError, match=f'unknown key "{key}"'):
        defaults_by_command(config, COMMANDS, PATH)


def test_setting_a_value_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\ntop-k = 5  # few\n\n[generate]\nraw = true\n", encoding="utf-8")

    write_value(path, "temperature", "0.7", {"temperature"})
    write_value(path, "generate.top-k", "9", {"top_k"})
    write_value(path, "model", "~/my model.gguf", {"model"})

    assert path.read_text(encoding="utf-8").startswith("# mine\ntop-k = 5  # few\n")
    assert read_config(path) == {
        "top-k": 5,
        "temperature": 0.7,
        "model": "~/my model.gguf",
        "generate": {"raw": True, "top_k": 9},
    }


def test_setting_replaces_either_spelling(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("top-k = 5\n", encoding="utf-8")

    write_value(path, "top_k", "6", {"top_k"})

    assert read_config(path) == {"top_k": 6}


def test_a_file_that_is_no_toml_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("model = \n", encoding="utf-8")

    with pytest.raises(UsageError, match="is not valid TOML"):
        write_value(path, "model", "x", {"model"})

    assert path.read_text(encoding="utf-8") == "model = \n"


def test_the_command_sets_shows_and_finds(cli: Cli, home: Path) -> None:
    assert cli("config", "path").stdout == f"{home}/config/config.toml\n"
    assert cli("config", "set", "max-tokens", "12").status == 0
    assert cli("config", "set", "generate.temperature", "0").status == 0

    shown = cli("config", "show", "--json", env={"GPTCLI_SEED": "3"}).json

    assert shown["config"] == {"max_tokens": 12, "generate": {"temperature": 0}}
    assert shown["environment"]["GPTCLI_SEED"] == "3"
    assert "max_tokens = 12" in cli("config", "show").stdout


def test_the_command_refuses_what_no_option_is_called(cli: Cli) -> None:
    result = cli("config", "set", "temprature", "1")

    assert result.status == 2
    assert "did you mean temperature?" in result.stderr
    assert cli("config", "set", "nothing.temperature", "1").status == 2


def test_a_broken_file_can_be_looked_at(cli: Cli, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("[[[", encoding="utf-8")

    assert cli("generate", "x").status == 2
    assert cli("config", "path").status == 0
    doctor = cli("doctor", "--json")
    assert doctor.status in (1, 2)
    assert "not valid TOML" in doctor.stdout + json.dumps(doctor.stderr)
