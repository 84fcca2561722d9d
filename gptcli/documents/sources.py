"""Finds and reads the documents that somebody names: files, folders, patterns, bytes from a pipe.

The text of a source is what `open(name, newline="", encoding="utf-8-sig").read()` gives: line ends as
they are, no byte order mark, the encoding found where it is not UTF-8. Each byte that is no character
counts as one, "\\ufffd". HTML and PDF are reduced to text; offsets refer to that text.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gptcli.documents.document import DocumentError
from gptcli.documents.encodings import SAMPLE_BYTES, decode, is_binary
from gptcli.documents.formats import detect_format
from gptcli.documents.ignoring import Ignored
from gptcli.documents.passages import Source
from gptcli.errors import UsageError

STDIN = "-"
PDF = b"%PDF-"
MOST_BYTES = 64_000_000  # of a file: a text of more is a log or a dump
ATTEMPTS = 3  # at a file that changes while it is read
PDF_WITHIN = 1024  # bytes before a PDF begins, as its readers allow


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may be read: its name as the user would type it, and its state when it was found."""

    name: str
    size_bytes: int
    modified_ns: int  # since 1970


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not read, and why in few words, as "binary"."""

    name: str
    reason: str


class UnreadableError(DocumentError):
    """A document that has no text to give; `reason` says why in few words.

    `is_lasting`: as long as the file is as it is.
    """

    def __init__(
        self, name: str, reason: str, *, hint: str | None = None, is_lasting: bool = True
    ) -> None:
        super().__init__(f'cannot read "{name}": {reason}', hint=hint)
        self.reason = reason
        self.is_lasting = is_lasting


OnSkip = Callable[[Skipped], object]


def find_files(names: Iterable[str], on_skip: OnSkip) -> Iterator[SourceFile]:
    """Yield the files that are named, and those below folders that are, each once.

    A folder's files come in the order of their names, numbers by value. Hidden files, those that a
    .gitignore leaves out and links to folders are passed over; what is named itself is not. Raises
    UsageError for a name or pattern without a file.
    """
    seen: set[str] = set()
    for name in names:
        for each in _matching(name):
            found = _walk(each, on_skip) if Path(each).is_dir() else _named(each)
            for file in found:
                whole = os.path.abspath(file.name)  # noqa: PTH100  a link is a name of its own
                if whole in seen:
                    continue
                seen.add(whole)
                if (shown := _shown(file.name)) == file.name:
                    yield file
                else:  # no text could say it
                    on_skip(Skipped(shown, "a name that is no UTF-8"))


def read_sources(
    names: Iterable[str], on_skip: OnSkip, on_read: Callable[[SourceFile], object] | None = None
) -> Iterator[Source]:
    """Yield the texts of the files that `find_files` finds, and say of the others why not."""
    for file in find_files(names, on_skip):
        try:
            source = read_source(file)
        except UnreadableError as error:
            on_skip(Skipped(file.name, error.reason))
            continue
        if on_read:
            on_read(file)
        yield source


def read_source(file: SourceFile) -> Source:
    """Return the text of a file. Raises UnreadableError.

    A file that changes meanwhile is read again, so that the text is one that it really had.
    """
    for _ in range(ATTEMPTS):
        try:
            data, is_steady = _read(file.name)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnreadableError(file.name, reason, is_lasting=False) from error
        if is_steady:
            return source_of(data, file.name)
    raise UnreadableError(
        file.name, "changes while it is read", hint="the same again in a moment", is_lasting=False
    )


def source_of(data: bytes, name: str = STDIN) -> Source:
    """Return the text of a document's bytes. Raises UnreadableError; the text is never blank."""
    if data.startswith(PDF) or (name.lower().endswith(".pdf") and PDF in data[:PDF_WITHIN]):
        from gptcli.documents.pdf import pdf_text

        return Source(name, pdf_text(data, name))
    decoded = decode(data)
    if decoded is None:
        raise UnreadableError(name, "binary")
    text = re.sub("[\ud800-\udfff]", "\ufffd", decoded.text)
    if detect_format(text, name) == "html":
        from gptcli.documents.html_text import visible_text

        text = visible_text(text)
    if not text.strip():
        raise UnreadableError(name, "empty")
    return Source(name, text)


def summary(skipped: Iterable[Skipped]) -> str:
    """Return one line on what was skipped, as "skipped 3 files: 2 binary, 1 empty (a.txt)"."""
    by_reason: dict[str, list[str]] = {}
    for each in skipped:
        by_reason.setdefault(each.reason, []).append(each.name)
    count = sum(map(len, by_reason.values()))
    parts = [
        f"{len(names):,} {reason}" + (f" ({names[0]})" if len(names) == 1 else "")
        for reason, names in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]
    return f"skipped {count:,} file{'' if count == 1 else 's'}: {', '.join(parts)}" if count else ""


# --------------------------------------------------------------------------------------------- files


def _matching(name: str) -> list[str]:
    if os.path.lexists(name):
        return [name]
    # Not Path.glob: a pattern may begin at the root, and hidden files are left out.
    found = glob.glob(name, recursive=True) if glob.has_magic(name) else []  # noqa: PTH207
    if not found:
        raise UsageError(f'cannot read "{name}": no such file or folder')
    return sorted(found, key=_by_number)


def _named(name: str) -> Iterator[SourceFile]:
    """Yield a file that was named itself, which may be a pipe."""
    try:
        status = Path(name).stat()
    except OSError as error:
        raise UsageError(f'cannot read "{name}": {error.strerror}') from error
    yield SourceFile(name, status.st_size, status.st_mtime_ns)


def _walk(folder: str, on_skip: OnSkip) -> Iterator[SourceFile]:
    """Yield the files below a folder. Folders may be nested deeper than calls may."""
    ignored = Ignored.at(folder)
    levels = [(ignored, iter(_entries(folder, on_skip)))]
    while levels:
        ignored, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        name = os.path.normpath(entry.path)
        if entry.name.startswith(".") or ignored.has(name, is_folder=is_folder):
            continue
        if is_folder:
            levels.append((ignored.below(name), iter(_entries(name, on_skip))))
        elif file := _regular(entry, name, on_skip):
            yield file


def _entries(folder: str, on_skip: OnSkip) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: _by_number(entry.name))
    except OSError as error:
        on_skip(Skipped(folder, error.strerror or str(error)))
        return []


def _regular(entry: os.DirEntry[str], name: str, on_skip: OnSkip) -> SourceFile | None:
    """Return a file of a folder; None for what is none, and for a link to a folder."""
    try:
        status = entry.stat()
    except OSError as error:
        on_skip(Skipped(name, error.strerror or str(error)))
        return None
    if stat.S_ISREG(status.st_mode):
        return SourceFile(name, status.st_size, status.st_mtime_ns)
    if not stat.S_ISDIR(status.st_mode):
        on_skip(Skipped(name, "no regular file"))
    return None


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return a key that puts chapter 2 before chapter 10, and a.md before a1.md."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122  faster by far, and there may be many
    parts = re.split(r"(\d+)", stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in (*parts, ending)]


def _read(name: str) -> tuple[bytes, bool]:
    """Return the bytes of a file, and whether it stayed the same meanwhile.

    Raises OSError, and UnreadableError for a binary file, of which only the beginning is read.
    """
    with Path(name).open("rb") as stream:
        before = os.fstat(stream.fileno())
        start = stream.read(SAMPLE_BYTES)
        if is_binary(start) and not start.startswith(PDF):
            raise UnreadableError(name, "binary")
        data = start + stream.read(MOST_BYTES + 1 - len(start))
        if len(data) > MOST_BYTES:
            raise UnreadableError(name, f"more than {MOST_BYTES / 1e6:.0f} MB")
        if not stat.S_ISREG(before.st_mode):
            return data, True
        after = Path(name).stat()  # by its name: another file may have taken its place
    states = [(each.st_ino, each.st_size, each.st_mtime_ns) for each in (before, after)]
    return data, states[0] == states[1] and len(data) == before.st_size
