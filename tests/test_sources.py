"""Documents as text: which files are read, what they say, and what is said of the others."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.documents import sources
from gptcli.documents.html_text import visible_text
from gptcli.documents.passages import Source
from gptcli.documents.sources import (
    Skipped,
    SourceFile,
    UnreadableError,
    find_files,
    read_source,
    read_sources,
    source_of,
    summary,
)
from gptcli.errors import UsageError
from tests.pdf_files import make_pdf


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def names(*arguments: str) -> list[str]:
    return [file.name for file in find_files(arguments, no_skips)]


def no_skips(skipped: Skipped) -> None:
    raise AssertionError(skipped)


def read(name: str) -> Source:
    return read_source(SourceFile(name, 0, 0))


# -------------------------------------------------------------------------------------- finding files


def test_a_folder_gives_its_files_in_the_order_of_their_numbers(folder: Path) -> None:
    write({"docs/part10.md": "x", "docs/part2.md": "x", "docs/a/b.txt": "x"})

    assert names("docs") == ["docs/a/b.txt", "docs/part2.md", "docs/part10.md"]
    assert names("docs/") == names("docs")
    assert names("./docs/../docs") == names("docs")


def test_names_are_as_they_would_be_typed(folder: Path) -> None:
    write({"a.md": "x"})

    assert names(".") == ["a.md"]
    assert names(str(folder)) == [str(folder / "a.md")]
    assert names("../work") == ["../work/a.md"]
    assert names("./a.md") == ["./a.md"]


def test_a_file_that_is_named_twice_comes_once(folder: Path) -> None:
    write({"docs/a.md": "x", "docs/b.md": "x"})

    assert names("docs/b.md", "docs", "./docs/a.md") == ["docs/b.md", "docs/a.md"]


def test_hidden_files_are_passed_over_unless_they_are_named(folder: Path) -> None:
    write({".git/config": "x", ".env": "x", "a/.hidden/b": "x", "c": "x"})

    assert names(".") == ["c"]
    assert names(".env", ".git") == [".env", ".git/config"]


def test_patterns_are_expanded(folder: Path) -> None:
    write({"a.md": "x", "b.txt": "x", "docs/deep/c.md": "x"})

    assert names("**/*.md") == ["a.md", "docs/deep/c.md"]
    assert names("[ab].*") == ["a.md", "b.txt"]


def test_a_name_with_the_characters_of_a_pattern_is_a_name(folder: Path) -> None:
    Path("a[1].md").write_text("x")

    assert names("a[1].md") == ["a[1].md"]


@pytest.mark.parametrize("name", ["nowhere", "*.nothing", "nowhere/deep.md"])
def test_a_name_without_a_file_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such file"):
        names(name)


def test_a_link_to_a_folder_above_does_not_go_round(folder: Path) -> None:
    write({"docs/a.md": "x"})
    Path("docs/loop").symlink_to("..")
    Path("docs/gone").symlink_to("nowhere")
    skipped: list[Skipped] = []

    found = [file.name for file in find_files(["docs"], skipped.append)]

    assert found == ["docs/a.md"]
    assert [each.name for each in skipped] == ["docs/gone"]


def test_a_pipe_in_a_folder_is_not_waited_for(folder: Path) -> None:
    write({"docs/a.md": "x"})
    os.mkfifo("docs/pipe")
    skipped: list[Skipped] = []

    assert [file.name for file in find_files(["docs"], skipped.append)] == ["docs/a.md"]
    assert skipped == [Skipped("docs/pipe", "no regular file")]


def test_files_are_found_as_they_are_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"a/x": "x", "b/x": "x", "c/x": "x"})
    opened: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        opened.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)

    next(find_files(["."], no_skips))

    assert opened == [".", "a"]


@pytest.fixture
def deep(folder: Path) -> Iterator[int]:
    """Make folders in folders, more than calls may be nested; pytest could not delete them."""
    depth = sys.getrecursionlimit() + 100
    for _ in range(depth):
        Path("d").mkdir()
        os.chdir("d")
    write({"a.md": "x"})
    os.chdir(folder)
    yield depth
    subprocess.run(["rm", "-r", "d"], check=True, cwd=folder)


def test_folders_may_be_nested_deeper_than_calls(deep: int) -> None:
    assert names(".") == ["d/" * deep + "a.md"]


def test_a_name_that_is_no_text_is_skipped(folder: Path) -> None:
    Path(os.fsdecode(b"caf\xe9.md")).write_text("x")
    write({"a.md": "x"})
    skipped: list[Skipped] = []

    assert [file.name for file in find_files(["."], skipped.append)] == ["a.md"]
    assert skipped == [Skipped("caf\ufffd.md", "a name that is no UTF-8")]


RULES = {
    ".gitignore": "*.log\nbuild/\n/only-here.md\ndoc?/*.tmp\n!keep.log\n# none\n\\#odd\n**/cache\n",
    "docs/.gitignore": "draft*\n!draft-final.md\n",
    "docs/deep/.gitignore": "/*\n!kept.md\n",
}
FILES = (
    *("a.md", "a.log", "keep.log", "build/x.md", "only-here.md", "docs/only-here.md", "docs/x.tmp"),
    *("docs/y.log", "docs/draft1.md", "docs/draft-final.md", "docs/deep/kept.md", "docs/deep/lost.md"),
    *("docs/deep/keep.log", "src/build/y.md", "#odd", "src/cache/z.md", "src/caches.md", "src/build.md"),
    "été.md",
)


@pytest.fixture
def repository(folder: Path) -> Path:
    for name, content in RULES.items() | dict.fromkeys(FILES, "x").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    subprocess.run(["git", "init", "-q"], check=True, env={**os.environ, "HOME": str(folder)})
    return folder


@pytest.mark.parametrize("start", [".", "docs", "docs/deep", "src"])
def test_what_git_ignores_is_left_out(repository: Path, start: str) -> None:
    listed = ["git", "-c", "core.quotePath=off", "ls-files", "-co", "--exclude-standard", start]
    shown = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()

    assert sorted(names(start)) == sorted(name for name in shown if ".gitignore" not in name)


def test_what_is_ignored_is_read_when_it_is_named(repository: Path) -> None:
    assert names("a.log", "build") == ["a.log", "build/x.md"]


# -------------------------------------------------------------------------------------------- reading


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\r\n\t"), min_size=1),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_text_is_the_file_as_python_decodes_it(text: str, encoding: str) -> None:
    path = Path("any.txt")
    data = f"Words. {text}".encode(encoding)

    assert source_of(data, str(path)).text == data.decode(
        "utf-16" if encoding == "utf-16" else "utf-8-sig"
    )


def test_line_ends_and_mark_are_those_of_open(folder: Path) -> None:
    write({"a.txt": b"\xef\xbb\xbfone\r\ntwo\rthree\n\n"})

    with Path("a.txt").open(newline="", encoding="utf-8-sig") as stream:
        assert read("a.txt").text == stream.read()


def test_another_encoding_is_found(folder: Path) -> None:
    text = "Die Bücher gehören den Schülern. Über allen Gipfeln ist Ruh, in allen Wipfeln spürest du.\n"
    write({"a.txt": text.encode("cp1252")})

    assert read("a.txt").text == text


def test_stray_bytes_count_as_one_character_each(folder: Path) -> None:
    text = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. " * 4
    write({"a.txt": text.encode() + b"\xff\xfe!"})

    assert read("a.txt").text == text + "\ufffd\ufffd!"


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\t\r\n"])
def test_an_empty_file_is_said(folder: Path, content: bytes) -> None:
    write({"a.txt": content})

    with pytest.raises(UnreadableError, match="empty"):
        read("a.txt")


def test_of_a_large_binary_file_only_the_beginning_is_read(folder: Path) -> None:
    with Path("video").open("wb") as stream:
        stream.write(os.urandom(1 << 16))
        stream.truncate(1 << 40)  # a hole

    with pytest.raises(UnreadableError, match="binary"):
        read("video")


def test_a_text_too_long_to_hold_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 1_000_000)
    write({"a.txt": "word " * 200_001})

    with pytest.raises(UnreadableError, match="more than 1 MB"):
        read("a.txt")


def test_binary_unreadable_and_empty_files_are_skipped_and_counted(folder: Path) -> None:
    write({"docs/a.md": "text", "docs/b.png": b"\x89PNG\r\n", "docs/c.bin": bytes(range(256))})
    write({"docs/d.txt": "", "docs/e.md": "more"})
    skipped: list[Skipped] = []
    reached: list[str] = []

    found = list(read_sources(["docs"], skipped.append, lambda file: reached.append(file.name)))

    assert [source.name for source in found] == reached == ["docs/a.md", "docs/e.md"]
    assert summary(skipped) == "skipped 3 files: 2 binary, 1 empty (docs/d.txt)"
    assert summary([]) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_skipped(folder: Path) -> None:
    write({"docs/a.md": "text", "docs/b.md": "text"})
    Path("docs/a.md").chmod(0)
    skipped: list[Skipped] = []

    assert [s.name for s in read_sources(["docs"], skipped.append)] == ["docs/b.md"]
    assert skipped == [Skipped("docs/a.md", "Permission denied")]


def test_a_file_that_is_gone_when_it_is_read_is_skipped(folder: Path) -> None:
    write({"docs/a.md": "text", "docs/b.md": "text"})
    skipped: list[Skipped] = []

    found = []
    for source in read_sources(["docs"], skipped.append):
        found.append(source.name)
        Path("docs/b.md").unlink(missing_ok=True)

    assert found == ["docs/a.md"]
    assert skipped == [Skipped("docs/b.md", "No such file or directory")]


def test_a_file_that_changes_while_it_is_read_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write({"a.txt": "text\n"})
    fstat = os.fstat
    seen: list[os.stat_result] = []

    def changing_fstat(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        if not seen:
            seen.append(status)
            with Path("a.txt").open("ab") as writer:
                writer.write(b"more\n")
        return status

    monkeypatch.setattr(os, "fstat", changing_fstat)

    assert read("a.txt").text == "text\nmore\n"


def test_a_file_that_never_rests_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write({"a.txt": "text\n"})
    fstat = os.fstat

    def changing_fstat(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        with Path("a.txt").open("ab") as writer:
            writer.write(b"more\n")
        return status

    monkeypatch.setattr(os, "fstat", changing_fstat)

    with pytest.raises(UnreadableError, match="changes while it is read"):
        read("a.txt")


# ----------------------------------------------------------------------------------------------- HTML


def test_html_is_what_a_reader_sees() -> None:
    page = """<!doctype html><html><head><title>The &amp; title</title><style>p {}</style></head>
    <body><nav hidden>Menu</nav><h2>First  <em>part</em></h2><p>One
    line &eacute;t&eacute;.<br>Next.</p><script>var x = "no";</script>
    <ul><li>An <b>item</b></li><li><p>Another</p></li></ul>
    <table><tr><th>Name</th><td>Ada</td></tr><tr><th>Born</th><td>1815</td></tr></table>
    <pre>a
  b</pre><div style="display: none">unseen</div></body></html>"""

    assert visible_text(page) == (
        "# The & title\n\n## First part\n\nOne line été.\nNext.\n\n- An item\n- Another\n\n"
        "Name\tAda\nBorn\t1815\n\na\n  b"
    )


def test_html_is_known_by_its_ending_or_beginning(folder: Path) -> None:
    page = b"<html><body><p>Seen</p></body></html>"

    assert source_of(page).text == source_of(b"<p>Seen</p>", "a.htm").text == "Seen"
    assert source_of(b"<p>Seen</p>", "a.txt").text == "<p>Seen</p>"


@given(st.text("<>/pbli &;!-\"'=x\n", max_size=80))
def test_no_html_breaks_the_reader(page: str) -> None:
    assert isinstance(visible_text(page), str)


# ------------------------------------------------------------------------------------------------ PDF


def test_a_pdf_gives_the_text_of_its_pages() -> None:
    data = make_pdf([["The first line,", "and a sec-", "ond one."], [], ["Third page."]])

    assert source_of(data).text == "The first line,\nand a second one.\f\fThird page."


def test_a_pdf_that_anybody_may_open_is_read() -> None:
    data = make_pdf([["Open to all."]], user_password="", owner="secret")

    assert source_of(data, "a.pdf").text == "Open to all."


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_pdf([["Hidden."]], user_password="secret"), "PDF with a password"),
        (make_pdf([[], []]), "PDF without text"),
        (make_pdf([["Cut off."]])[:200], "broken PDF"),
        (b"%PDF-1.4\n", "broken PDF"),
    ],
)
def test_a_pdf_without_text_to_give_is_said(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason) as caught:
        source_of(data, "a.pdf")
    assert caught.value.reason == reason


@given(st.data())
def test_no_broken_pdf_breaks_the_reader(choices: st.DataObject) -> None:
    data = bytearray(make_pdf([["Some text."], ["More of it."]]))
    for _ in range(choices.draw(st.integers(1, 6))):
        place = choices.draw(st.integers(8, len(data) - 1))
        data[place] = choices.draw(st.integers(0, 255))

    with contextlib.suppress(UnreadableError):
        assert source_of(bytes(data), "a.pdf").text


def test_without_the_library_a_pdf_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)

    with pytest.raises(UnreadableError) as caught:
        source_of(make_pdf([["Text."]]), "a.pdf")

    assert caught.value.hint == 'pip install "gptcli[pdf]"'
    assert not caught.value.is_lasting
