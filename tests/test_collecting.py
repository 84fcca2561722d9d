"""What a question is asked of: opened whole where it is little, by an index where it is much."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest

from gptcli import paths
from gptcli.cli import collecting
from gptcli.cli.collecting import opened_collection
from gptcli.documents.sources import UnreadableError
from gptcli.errors import UsageError
from gptcli.output.console import Output
from gptcli.store.index_cache import index_path
from gptcli.tasks.retrieval import choose
from tests.pdf_files import make_pdf

QUESTION = "Which word is in file 7?"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.md").write_text(f"# Title\n\nThe word of file {number} is w{number}w.\n")
    return folder


@pytest.fixture(params=["gathered", "indexed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the collections of a test small ones, or large ones."""
    if request.param == "indexed":
        monkeypatch.setattr(collecting, "SMALL_BYTES", 0)
    return str(request.param)


def output(said: io.StringIO | None = None) -> Output:
    return Output(stdout=io.StringIO(), stderr=said or io.StringIO())


def test_a_folder_is_searched_or_shown_whole(folder: Path, way: str) -> None:
    with opened_collection(["docs"], b"", output()) as collection:
        whole = choose(collection, QUESTION, budget_words=1000)
        best = choose(collection, QUESTION, budget_words=20)

    assert [passage.source.name for passage in whole] == [f"docs/{number}.md" for number in range(12)]
    assert best[0].text == "# Title\n\nThe word of file 7 is w7w."
    assert paths.indexes_dir().exists() == (way == "indexed")


def test_a_question_sees_the_files_as_they_are_now(folder: Path, way: str) -> None:
    for word in ("ever", "changing"):
        (folder / "7.md").write_text(f"The word of file 7 is {word}.")
        with opened_collection(["docs"], b"", output()) as collection:
            assert choose(collection, QUESTION, budget_words=20)[0].text.endswith(f"{word}.")
        (folder / "0.md").unlink(missing_ok=True)
    with opened_collection(["docs"], b"", output()) as collection:
        assert next(collection.sources()).name == "docs/1.md"


def test_what_is_piped_comes_first_and_is_not_kept(folder: Path, way: str) -> None:
    with opened_collection(["docs", "-"], b"A piped text on zebras.", output()) as collection:
        assert [source.name for source in collection.sources()][:2] == ["-", "docs/0.md"]
        assert [r.passage.source.name for r in collection.search("zebras", 3)] == ["-"]

    assert not paths.indexes_dir().exists()


def test_the_index_of_a_pattern_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "SMALL_BYTES", 0)

    with opened_collection(["docs/*.md"], b"", output()) as collection:
        assert collection.search(QUESTION, 1)[0].passage.source.name == "docs/7.md"

    assert index_path(["docs/*.md"]).exists()


def test_nothing_is_kept_where_that_is_not_wanted(folder: Path, way: str) -> None:
    with opened_collection(["docs"], b"", output(), may_keep=False) as collection:
        assert collection.search(QUESTION, 1)[0].passage.source.name == "docs/7.md"

    assert not paths.indexes_dir().exists()


def test_a_pdf_may_be_piped(folder: Path) -> None:
    with opened_collection([], make_pdf([["Of zebras."]]), output()) as collection:
        assert [source.text for source in collection.sources()] == ["Of zebras."]


def test_a_pipe_may_be_named(folder: Path) -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=Path("pipe").write_text, args=("Of zebras.",))
    writer.start()

    with opened_collection(["pipe"], b"", output()) as collection:
        assert [source.text for source in collection.sources()] == ["Of zebras."]
    writer.join()


def test_what_is_skipped_is_said(folder: Path, way: str) -> None:
    (folder / "a.png").write_bytes(b"\x89PNG\r\n")
    (folder / "b.md").write_text("")
    for _ in range(2):  # with an index the second time they are known
        said = io.StringIO()

        with opened_collection(["docs"], b"", output(said)):
            pass

        assert said.getvalue() == "skipped 2 files: 1 binary (docs/a.png), 1 empty (docs/b.md)\n"


def test_the_only_document_says_what_is_wrong_with_it(folder: Path) -> None:
    Path("a.pdf").write_bytes(make_pdf([[]]))

    with (
        pytest.raises(UnreadableError, match="PDF without text"),
        opened_collection(["a.pdf"], b"", output()),
    ):
        pass


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere"], 'cannot read "nowhere": no such file or folder'),
        (["empty"], 'there is no text in "empty"'),
        (["a.png", "b.png"], "there is no text in 2 places: skipped 2 files: 2 binary"),
        ([], "there is nothing to read"),
        (["-"], "there is nothing to read"),
    ],
)
def test_nothing_to_read_is_an_error(folder: Path, names: list[str], message: str) -> None:
    Path("empty").mkdir()
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(b"\x89PNG\r\n")

    with pytest.raises(UsageError) as caught, opened_collection(names, b"", output()):
        pass

    assert str(caught.value) == message


def test_an_index_that_is_damaged_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "SMALL_BYTES", 0)
    for number in range(12, 60):
        (folder / f"{number}.md").write_text(f"The word of file {number} is w{number}w. " * 50)
    with opened_collection(["docs"], b"", output()):
        pass
    path = index_path(["docs"])
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * (path.stat().st_size - 4096))

    with opened_collection(["docs"], b"", output()) as collection:
        assert collection.search(QUESTION, 1)[0].passage.source.name == "docs/7.md"

    assert list(path.parent.glob("*damaged*")) == []


def test_an_index_that_is_damaged_later_is_made_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "SMALL_BYTES", 0)
    with opened_collection(["docs"], b"", output()) as collection:
        collection.close()  # type: ignore[attr-defined]
        path = index_path(["docs"])
        path.write_bytes(b"\xa5" * path.stat().st_size)

        assert collection.search(QUESTION, 1)[0].passage.source.name == "docs/7.md"
