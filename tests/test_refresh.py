"""python -m gptcli.models.refresh: models.toml is filled in from the Hub, and differences are told."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gptcli.models.refresh import main
from gptcli.models.registry import load_registry
from tests.hub_server import LoopbackHub
from tests.tiny_gguf import gguf_bytes

CONTENT = gguf_bytes() + bytes(1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()

ENTRY = """\
# A comment that stays.
[models.small]
name = "Small"
repo = "org/small-GGUF"
quantization = "Q4_K_M"
architecture = "unknown"
parameters = 1
context_length = 1
memory = 1
kv_bytes_per_token = 1
license = "mit"
license_url = "https://opensource.org/license/mit"
tasks = ["chat"]
languages = ["en"]
source = "memory"
checked = "2020-01-01"

[[models.small.files]]
path = "small-Q4_K_M.gguf"
"""


@pytest.fixture
def file(hub: LoopbackHub, home: Path) -> Path:
    hub.commit("org/small-GGUF", {"small-Q4_K_M.gguf": CONTENT, "README.md": b"x"})
    path = home / "config" / "models.toml"
    path.parent.mkdir()
    path.write_text(ENTRY, encoding="utf-8")
    return path


def entry(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["models"]["small"]
    return found


def test_an_entry_is_filled_in(file: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--file", str(file)]) == 0

    found = entry(file)
    assert found["revision"] == hub.repos["org/small-GGUF"].branches["main"]
    assert found["files"] == [{"path": "small-Q4_K_M.gguf", "size": len(CONTENT), "sha256": SHA256}]
    assert (found["architecture"], found["license"]) == ("llama", "mit")
    assert found["context_length"] > 1
    assert found["memory"] > len(CONTENT)
    assert file.read_text(encoding="utf-8").startswith("# A comment that stays.\n")
    assert load_registry().models["small"].is_confirmed
    assert f"small: sha256: None -> {SHA256}" in capsys.readouterr().out


def test_a_check_changes_nothing(file: Path) -> None:
    assert main(["--check", "--file", str(file)]) == 0

    assert file.read_text(encoding="utf-8") == ENTRY


def test_another_hash_is_told_and_left(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(ENTRY + f'sha256 = "{"0" * 64}"\n', encoding="utf-8")

    assert main(["--file", str(file)]) == 1
    assert f"! small: small-Q4_K_M.gguf has the SHA-256 {SHA256}" in capsys.readouterr().out
    assert entry(file)["files"][0]["sha256"] == "0" * 64

    assert main(["--trust", "--file", str(file)]) == 0
    assert entry(file)["files"][0]["sha256"] == SHA256


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("small-Q4_K_M.gguf", "other-Q4_K_M.gguf", "is not there: small-Q4_K_M.gguf"),
        ("org/small-GGUF", "org/none", "there is no repository"),
    ],
)
def test_what_cannot_be_confirmed_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    file.write_text(ENTRY.replace(old, new), encoding="utf-8")

    assert main(["--file", str(file)]) == 1
    assert said in capsys.readouterr().out


def test_an_unknown_alias_is_refused(file: Path) -> None:
    assert main(["--file", str(file), "nobody"]) == 2
