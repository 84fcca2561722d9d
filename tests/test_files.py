"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from gptcli.files import replacing, write_whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def write_half(path: Path, error: BaseException) -> None:
    with replacing(path) as file:
        file.write(b"half")
        raise error


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("durable", [True, False])
def test_what_is_there_stays_until_all_is_written(durable: bool, folder: Path) -> None:
    path = folder / "a.json"
    write_whole(path, "old", durable=durable)

    with replacing(path, durable=durable) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text(encoding="utf-8") == "old"

    assert path.read_text(encoding="utf-8") == "new"
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("before", [["old"], []], ids=["there", "not there"])
def test_a_failure_leaves_what_was_there_and_no_draft(
    error: BaseException, before: list[str], folder: Path
) -> None:
    path = folder / "a.json"
    for text in before:
        path.write_text(text, encoding="utf-8")

    with pytest.raises(type(error)):
        write_half(path, error)

    assert [each.read_text(encoding="utf-8") for each in folder.iterdir()] == before


def test_a_directory_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(folder / "none" / "a.json", "text")
    with pytest.raises(IsADirectoryError):
        write_whole(folder, "text")


def test_a_link_stays_one(folder: Path) -> None:
    target, link = folder / "kept" / "a.toml", folder / "a.toml"
    target.parent.mkdir()
    link.symlink_to(target)

    for text in ("made", "changed"):
        write_whole(link, text)

        assert link.is_symlink()
        assert target.read_text(encoding="utf-8") == text


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_the_file_or_the_umask_or_its_owners_alone(folder: Path) -> None:
    path = folder / "a.json"
    umask = os.umask(0o027)
    try:
        write_whole(path, "new")
        assert mode(path) == 0o640
        path.chmod(0o664)
        write_whole(path, "changed")
        assert mode(path) == 0o664
        with replacing(path, private=True) as file:
            file.write(b"secret")
            (draft,) = set(folder.iterdir()) - {path}
            assert mode(draft) == 0o600
        assert mode(path) == 0o600
    finally:
        os.umask(umask)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_written_to(folder: Path) -> None:
    path, read = folder / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()

    write_whole(path, "text")
    reader.join()

    assert (read, path.is_fifo()) == ([b"text"], True)
