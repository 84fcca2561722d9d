"""The cache of indexes: found by what they are of, listed, deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptcli import paths
from gptcli.documents.sources import find_files, read_source
from gptcli.store.index_cache import ENDING, entries, index_path, prune
from gptcli.store.passage_index import PassageIndex
from tests.conftest import Cli


def test_the_same_names_have_the_same_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = index_path(["docs"])

    assert path.parent == paths.indexes_dir()
    assert path == index_path(["docs"]) != index_path(["docs", "docs"])
    monkeypatch.chdir(tmp_path)
    assert index_path(["docs"]) != path


def test_the_longest_unused_indexes_go(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"{number}{ENDING}"
        path.write_bytes(bytes(1000))
        Path(f"{path}-wal").write_bytes(bytes(1000))
        os.utime(path, (number, number))

    freed = prune(tmp_path, 4500, keep=tmp_path / f"0{ENDING}")

    assert freed == 2000
    assert sorted({path.name[0] for path in tmp_path.glob("*.passages*")}) == ["0", "2", "3"]


def made(name: str) -> Path:
    path = index_path([name])
    index = PassageIndex(path)
    index.update(find_files([name], print), read_source, on_skip=print)
    index.close()
    return path


def test_indexes_are_listed_and_cleared(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("docs/a.md", "docs/b.md", "other/c.md"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("text")
    old, new = made("other"), made("docs")
    os.utime(old, (1, 1))

    listed = cli("cache", "list", "--json").json["indexes"]

    assert [(each["first"], each["files"], each["path"]) for each in listed] == [
        *(("docs/a.md", 2, str(new)), ("other/c.md", 1, str(old)))
    ]
    table = cli("cache", "list")
    assert table.stdout.splitlines()[1].startswith("docs/a.md   ")
    assert table.stderr.startswith("0 prompts, 2 indexes, ")
    assert cli("cache", "clear", "--json").json["freed_bytes"] >= sum(each["size"] for each in listed)
    assert cli("cache", "list", "--json").json == {"size": 0, "prompts": [], "indexes": []}


def test_a_damaged_index_is_listed_and_cleared(tmp_path: Path) -> None:
    path = tmp_path / f"any{ENDING}"
    path.write_bytes(b"no database")

    assert [(entry.files, entry.size) for entry in entries(tmp_path)] == [(0, 11)]
    assert prune(tmp_path, 0) == 11
    assert list(tmp_path.glob("any*")) == []
