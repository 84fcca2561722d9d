"""Files that are no usable model, through the real command: status 3, one line, never a signal."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.conftest import Cli

CORPUS = Path(__file__).parent / "data" / "gguf"


def empty(path: Path) -> None:
    path.write_bytes(b"")


def directory(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    pass


BAD_MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (nothing, "there is no file"),
    "directory": (directory, "is a directory"),
    "empty": (empty, "is empty"),
    "html": (tiny_gguf.make_html, "web page"),
    "lfs": (tiny_gguf.make_lfs_pointer, "Git LFS"),
    "truncated": (tiny_gguf.make_truncated, "bytes"),
    "vocabulary only": (tiny_gguf.make_vocab_only, "vocabulary"),
    "100000 layers": (tiny_gguf.make_huge_block_count, "layers"),
    "safetensors": (tiny_gguf.make_safetensors, "safetensors"),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_the_message_says_which_it_is(cli: Cli, tmp_path: Path, kind: str) -> None:
    make, fragment = BAD_MODELS[kind]
    path = tmp_path / "model.gguf"
    make(path)
    started = time.monotonic()

    result = cli("generate", "-m", str(path), "x")

    assert time.monotonic() - started < 5
    assert (result.status, result.stdout) == (3, "")
    first, *rest = result.stderr.splitlines()
    assert first.startswith("gptcli: ")
    assert fragment in first
    assert len(rest) <= 1


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.stem[:12])
def test_malformed_files_never_crash(cli: Cli, tmp_path: Path, path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(path.read_bytes())

    result = cli("generate", "-m", str(model), "x", "--json")

    assert result.status == 3
    assert result.error["code"] == "model_file"


def test_what_only_llama_cpp_finds_is_said_too(cli: Cli, tmp_path: Path) -> None:
    path = tiny_gguf.make_tiny_model(tmp_path / "model.gguf")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"output_norm.weight", b"output_xorm.weight"))

    result = cli("generate", "-m", str(path), "x")

    assert result.status == 3
    assert "output_norm" in result.stderr.splitlines()[0]


def test_an_unknown_name_gets_the_nearest(cli: Cli) -> None:
    result = cli("generate", "-m", "startr", "x")

    assert result.status == 3
    assert result.stderr == 'gptcli: model "startr" is not known\n  try: -m starter\n'


def test_a_repository_that_is_not_here(cli: Cli) -> None:
    result = cli("generate", "-m", "unsloth/gemma-3-270m-it-GGUF:Q4_K_M", "x")

    assert result.status == 3
    assert "is not downloaded" in result.stderr


def test_a_data_directory_that_refuses_the_starter(cli: Cli, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the directory should be", encoding="utf-8")

    result = cli("generate", "x", env={"GPTCLI_DATA_DIR": str(blocked / "data")})

    assert result.status == 1
    first, second = result.stderr.splitlines()
    assert first.startswith("gptcli: cannot write")
    assert "GPTCLI_DATA_DIR" in second


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/proc/mounts").exists(), reason="needs to mount")
def test_a_disk_too_full_for_the_starter(cli: Cli, tmp_path: Path) -> None:
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (small / "other").write_bytes(b"\0" * (100 << 20))
        result = cli("generate", "x", env={"GPTCLI_DATA_DIR": str(small)})
        left = [path for path in small.rglob("*") if path.is_file() and path.name != "other"]
    finally:
        subprocess.run(["umount", str(small)], check=True)

    assert result.status == 1
    assert "no room for gemma-3-270m-q4_k_m.gguf" in result.stderr.splitlines()[0]
    assert left == []
