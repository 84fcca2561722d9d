"""The index of passages: what it finds, and how it follows the files it was made of."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcli.documents.sources import (
    Skipped,
    SourceFile,
    UnreadableError,
    find_files,
    read_source,
)
from gptcli.errors import StorageError
from gptcli.store import passage_index
from gptcli.store.passage_index import PassageIndex, Update, is_damaged
from gptcli.tasks.splitting import size_of

LONG_AGO_NS = 1_600_000_000_000_000_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[PassageIndex]:
    index = PassageIndex(tmp_path / "an.index")
    yield index
    index.close()


def write(path: Path, text: str | bytes, *, age: int = 0) -> None:
    """Write a file that was changed `age` seconds after a day long ago."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    when = LONG_AGO_NS + age * 1_000_000_000
    os.utime(path, ns=(when, when))


class Reader:
    """Reads files, and remembers which."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.skipped: list[Skipped] = []

    def __call__(self, file: SourceFile) -> object:
        self.names.append(file.name)
        return read_source(file)


def update(index: PassageIndex, reader: Reader | None = None) -> Update:
    reader = reader or Reader()
    files = find_files(["docs"], reader.skipped.append)
    return index.update(files, reader, on_skip=reader.skipped.append)  # type: ignore[arg-type]


def found(index: PassageIndex, question: str, count: int = 5) -> list[str]:
    return [f"{r.passage.source.name}:{r.passage.line}" for r in index.search(question, count)]


def test_a_question_finds_its_passage(folder: Path, index: PassageIndex) -> None:
    write(folder / "a.md", "# Cats\n\nCats sleep on mats.\n")
    write(
        folder / "b.md", "# Dogs\n\nDogs bark at night, and the cat hears it from afar, asleep or not.\n"
    )
    write(folder / "c.md", "# 大学\n\n北京大学在海淀区。\n")
    update(index)

    best = index.search("Where does a cat sleep?", 5)

    assert [ranked.passage.source.name for ranked in best] == ["docs/a.md", "docs/b.md"]
    assert best[0].score > best[1].score > 0
    assert best[0].passage.text == "# Cats\n\nCats sleep on mats."
    assert best[0].passage.heading == "Cats"
    assert found(index, "海淀的大学") == ["docs/c.md:1"]
    assert found(index, "Nothing of this") == found(index, "?!") == []
    assert found(index, "cat", 1) == ["docs/a.md:1"]


def test_words_are_found_in_their_other_forms(folder: Path, index: PassageIndex) -> None:
    write(folder / "a.md", "It was scrutinised by committees; the café was CLOSED.")
    update(index)

    assert found(index, "scrutinise") == found(index, "committee") == found(index, "cafe close")
    assert found(index, "closes") == ["docs/a.md:1"]


def test_a_file_is_found_by_its_name_and_its_titles(folder: Path, index: PassageIndex) -> None:
    write(folder / "invoices.md", "# Overview\n\nText of one kind.\n")
    write(folder / "other.md", "# Overview\n\nText of another kind.\n")
    update(index)

    assert found(index, "invoices") == ["docs/invoices.md:1"]


@pytest.mark.parametrize(
    "question", ['"', "a OR b", "x NEAR(y)", "col:umn", "-not", "'; DROP TABLE files", "*"]
)
def test_no_question_is_a_query(folder: Path, index: PassageIndex, question: str) -> None:
    write(folder / "a.md", "text")
    update(index)

    assert index.search(question, 3) == []
    assert found(index, "text") == ["docs/a.md:1"]


def test_all_sources_come_in_their_order(folder: Path, index: PassageIndex) -> None:
    write(folder / "b.md", "Second.\r\n")
    write(folder / "a.md", "First.")
    update(index)
    write(folder / "a1.md", "Between.")
    update(index)

    assert [(s.name, s.text) for s in index.sources()] == [
        *(("docs/a.md", "First."), ("docs/a1.md", "Between."), ("docs/b.md", "Second.\r\n"))
    ]
    assert index.size == size_of("First.") + size_of("Between.") + size_of("Second.\r\n")


def test_only_what_changed_is_read_again(folder: Path, index: PassageIndex) -> None:
    for name in "abc":
        write(folder / f"{name}.md", f"word {name * 3}")
    assert update(index) == Update(read=3, unchanged=0, removed=0)
    write(folder / "b.md", "word new", age=5)
    (folder / "c.md").unlink()
    write(folder / "d.md", "word ddd")
    reader = Reader()

    assert update(index, reader) == Update(read=2, unchanged=1, removed=1)

    assert reader.names == ["docs/b.md", "docs/d.md"]
    assert sorted(found(index, "word")) == ["docs/a.md:1", "docs/b.md:1", "docs/d.md:1"]
    assert found(index, "ccc") == found(index, "bbb") == []
    assert found(index, "new") == ["docs/b.md:1"]


def test_a_file_of_another_time_and_the_same_text_is_not_cut_again(
    folder: Path, index: PassageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.md", "word")
    update(index)
    write(folder / "a.md", "word", age=5)
    monkeypatch.setattr(passage_index, "split", None)

    assert update(index) == Update(read=1, unchanged=0, removed=0)
    assert update(index) == Update(read=0, unchanged=1, removed=0)
    assert found(index, "word") == ["docs/a.md:1"]


def test_a_file_as_new_as_the_index_is_read_again(folder: Path, index: PassageIndex) -> None:
    path = folder / "a.md"
    path.write_text("first")
    now = time.time_ns()
    os.utime(path, ns=(now, now))
    update(index)
    path.write_text("other")  # of the same length, within the same tick of a coarse clock
    os.utime(path, ns=(now, now))

    update(index)

    assert found(index, "other") == ["docs/a.md:1"]


def test_what_cannot_be_read_is_said_each_time_and_read_once(folder: Path, index: PassageIndex) -> None:
    write(folder / "a.bin", bytes(range(256)))
    write(folder / "b.md", "")
    readers = Reader(), Reader()

    for reader in readers:
        update(index, reader)

    assert readers[0].names == ["docs/a.bin", "docs/b.md"]
    assert readers[1].names == []
    assert readers[0].skipped == readers[1].skipped
    assert readers[1].skipped == [Skipped("docs/a.bin", "binary"), Skipped("docs/b.md", "empty")]
    assert index.size == 0
    assert list(index.sources()) == []


def test_what_may_be_readable_later_is_tried_again(folder: Path, index: PassageIndex) -> None:
    write(folder / "a.md", "word")
    update(index)
    write(folder / "a.md", "word two", age=5)

    def refuse(file: SourceFile) -> object:
        raise UnreadableError(file.name, "Permission denied", is_lasting=False)

    files = list(find_files(["docs"], lambda _: None))
    index.update(files, refuse, on_skip=lambda _: None)  # type: ignore[arg-type]
    assert found(index, "word") == []

    update(index)
    assert found(index, "two") == ["docs/a.md:1"]


def test_an_update_that_is_interrupted_keeps_what_it_read(folder: Path, index: PassageIndex) -> None:
    for number in range(10):
        write(folder / f"{number}.md", f"word {number}")

    def interrupt(count: int, _file: SourceFile) -> None:
        if count == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.update(
            find_files(["docs"], lambda _: None), read_source, on_skip=lambda _: None, on_file=interrupt
        )

    assert update(index) == Update(read=5, unchanged=5, removed=0)


def test_a_damaged_index_is_made_anew(folder: Path, tmp_path: Path) -> None:
    write(folder / "a.md", "word")
    path = tmp_path / "an.index"
    path.write_bytes(b"no database" * 1000)

    index = PassageIndex(path)

    assert update(index) == Update(read=1)
    assert found(index, "word") == ["docs/a.md:1"]
    index.close()


def test_damage_within_is_known_as_such(folder: Path, tmp_path: Path) -> None:
    for number in range(40):
        write(folder / f"{number}.md", f"word {number} " * 200)
    path = tmp_path / "an.index"
    index = PassageIndex(path)
    update(index)
    index.close()
    with path.open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"\xa5" * (path.stat().st_size - 8192))

    index = PassageIndex(path)
    with pytest.raises(StorageError) as caught:
        index.search("word", 5)
    index.close()

    assert is_damaged(caught.value)
    assert not is_damaged(StorageError("the disk is full"))


def test_two_processes_may_update_at_once(folder: Path, tmp_path: Path) -> None:
    write(folder / "a.md", "word")
    first, second = PassageIndex(tmp_path / "an.index"), PassageIndex(tmp_path / "an.index")

    def meanwhile(_count: int, _file: SourceFile) -> None:
        update(second)

    first.update(
        find_files(["docs"], lambda _: None), read_source, on_skip=lambda _: None, on_file=meanwhile
    )

    assert found(first, "word") == found(second, "word") == ["docs/a.md:1"]
    first.close()
    second.close()


def test_the_index_is_private(index: PassageIndex, tmp_path: Path) -> None:
    assert (tmp_path / "an.index").stat().st_mode & 0o077 == 0


def test_any_text_comes_back_as_it_was(folder: Path, index: PassageIndex) -> None:
    text = "Before \0 after.\r\n\n\ufffd 🙂 e\u0301 \u2028 \ufeff word\n" + "Filler. " * 40
    write(folder / "a.md", text)
    update(index)

    (source,) = index.sources()
    (found,) = index.search("word", 1)

    assert source.text == found.passage.source.text == text
    assert found.passage.text in text
