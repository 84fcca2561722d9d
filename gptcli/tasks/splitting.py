"""Cuts a source into passages by its structure: headings, paragraphs, sentences, lines, words."""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from pathlib import PurePath

from gptcli.documents.passages import Passage, Source
from gptcli.tasks.passages import SENTENCE
from gptcli.tasks.prose import count_words, ends_sentence

MOST_WORDS = 160  # of a passage
OVERLAP_WORDS = 32  # of the passage before, where a paragraph is cut in two
CHARACTERS_A_WORD = 8  # at least: code and tables have few spaces

# The endings of texts whose lines are records: a line is cut last.
BY_LINE = frozenset(
    (
        *(".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".srt", ".vtt", ".log", ".po", ".json", ".xml"),
        *(".yaml", ".yml", ".toml", ".ini", ".cfg", ".css", ".sql", ".sh", ".bat", ".ps1", ".py", ".rb"),
        *(
            ".js",
            ".ts",
            ".c",
            ".h",
            ".cpp",
            ".cc",
            ".hpp",
            ".cs",
            ".rs",
            ".go",
            ".java",
            ".kt",
            ".scala",
        ),
        *(".swift", ".php", ".lua", ".pl", ".r"),
    )
)
PAGE_BREAK = "\f"

_HEADING = re.compile(
    r"^ {0,3}(#{1,6})[ \t]+([^\r\n]*?)[ \t#]*$"  # Markdown's, and those of extracted HTML
    r"|^([^\s#>*+|-][^\r\n]*)\r?\n(=+|-{3,})[ \t]*$"  # underlined
    r"|^[ \t]*(```|~~~)",  # code, where # begins a comment
    re.MULTILINE,
)
_PARAGRAPH = re.compile(r"(?:[^\r\n]*\S[^\r\n]*(?:\r\n?|\n|\Z))+")
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|\Z)")
_WITH_SPACE = re.compile(r"\S+\s*|\s+")


def split(
    source: Source, *, most_words: int = MOST_WORDS, overlap_words: int = OVERLAP_WORDS
) -> list[Passage]:
    """Return the passages of a source in order; together they hold all of it but white space.

    A passage has at most `most_words`, as `size_of` counts them, and ends with a section or paragraph
    where it can. One that begins within a paragraph repeats up to `overlap_words` of the one before.
    """
    text = source.text
    headings = _headings(source)
    starts = [start for start, _ in headings]
    atoms = list(_atoms(source, starts, most_words))
    line_starts = [0, *(found.end() for found in re.finditer("\n", text))]
    passages = []
    for start, end in _packed(atoms, most_words, overlap_words):
        at = bisect_right(starts, start) - 1
        heading = headings[at][1] if at >= 0 else ""
        passages.append(Passage(source, start, end, bisect_right(line_starts, start), heading))
    return passages


def size_of(text: str) -> int:
    """Return how long a text is in words: Chinese characters count as one, and every eight others."""
    return max(count_words(text), math.ceil(len(text) / CHARACTERS_A_WORD))


# ------------------------------------------------------------------------------------------ headings


def _headings(source: Source) -> list[tuple[int, str]]:
    """Return where sections begin, and the titles on the way to each: "Install > From source"."""
    if PAGE_BREAK in source.text:
        pages = [0, *(found.end() for found in re.finditer(PAGE_BREAK, source.text))]
        return [(start, f"page {number}") for number, start in enumerate(pages, 1)]
    if _suffix(source) in BY_LINE:
        return []
    found: list[tuple[int, str]] = []
    path: list[tuple[int, str]] = []
    fence = ""
    for match in _HEADING.finditer(source.text):
        if match[5]:
            fence = "" if fence == match[5] else fence or match[5]
            continue
        if fence:
            continue
        level = len(match[1]) if match[1] else 1 if match[4][0] == "=" else 2
        title = " ".join((match[2] or match[3] or "").split())
        path = [step for step in path if step[0] < level] + [(level, title)]
        found.append((match.start(), " > ".join(title for _, title in path if title)))
    return found


def _suffix(source: Source) -> str:
    return PurePath(source.name).suffix.lower()


# --------------------------------------------------------------------------------------------- atoms


class _Begins(IntEnum):
    """What begins with an atom, which says how well a passage ends before it."""

    SENTENCE = 0
    PARAGRAPH = 1
    SECTION = 2


@dataclass(frozen=True, slots=True)
class _Atom:
    """What stays together: a sentence or a line, or as much of one as a passage may have."""

    start: int
    end: int
    size: int
    begins: _Begins


def _atoms(source: Source, sections: Sequence[int], most_words: int) -> Iterator[_Atom]:
    text, section_starts = source.text, frozenset(sections)
    levels = _RECORDS if _suffix(source) in BY_LINE else _PROSE
    for found in _PARAGRAPH.finditer(text):
        inner = sections[bisect_right(sections, found.start()) : bisect_left(sections, found.end())]
        for start, end in pairwise((found.start(), *inner, found.end())):
            begins = _Begins.SECTION if start in section_starts else _Begins.PARAGRAPH
            for piece in _pieces(text, start, end, levels, most_words):
                atom_start, atom_end = _stripped(text, *piece)
                if atom_start < atom_end:
                    yield _Atom(atom_start, atom_end, size_of(text[atom_start:atom_end]), begins)
                    begins = _Begins.SENTENCE


Cut = Callable[[str, int, int], Iterator[tuple[int, int]]]


def _pieces(
    text: str, start: int, end: int, levels: Sequence[Cut], most_words: int
) -> Iterator[tuple[int, int]]:
    """Yield the parts that the first level cuts; those that are too long are cut by the next."""
    for piece_start, piece_end in levels[0](text, start, end):
        if size_of(text[piece_start:piece_end].strip()) <= most_words:
            yield piece_start, piece_end
        elif len(levels) > 1:
            yield from _pieces(text, piece_start, piece_end, levels[1:], most_words)
        else:
            for at in range(piece_start, piece_end, most_words):
                yield at, min(at + most_words, piece_end)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the sentences; unlike the pattern's, they go on over line ends."""
    for found in SENTENCE.finditer(text, start, end):
        if found.end() > start and ends_sentence(found[0]):
            yield start, found.end()
            start = found.end()
    if start < end:
        yield start, end


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (found.span() for found in _LINE.finditer(text, start, end) if found[0])


def _words(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (found.span() for found in _WITH_SPACE.finditer(text, start, end))


_PROSE: Sequence[Cut] = (_sentences, _lines, _words)
_RECORDS: Sequence[Cut] = (_lines, _sentences, _words)


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())


# ----------------------------------------------------------------------------------------- passages


def _packed(atoms: Sequence[_Atom], most_words: int, overlap_words: int) -> Iterator[tuple[int, int]]:
    """Yield where passages begin and end, each with as many atoms as it may have."""
    first = 0
    while first < len(atoms):
        end = _end(atoms, first, most_words)
        yield atoms[first].start, atoms[end - 1].end
        first = end - _repeated(atoms, first, end, most_words, overlap_words)


def _end(atoms: Sequence[_Atom], first: int, most_words: int) -> int:
    """Return where a passage ends that begins with the first atom.

    It ends before a section, unless it is short as a title alone, or where it is full: then before
    the paragraph that would be cut, if it is half full by then.
    """
    size, paragraph = atoms[first].size, 0
    for at in range(first + 1, len(atoms)):
        atom = atoms[at]
        if atom.begins is _Begins.SECTION and size > most_words / 8:
            return at
        if atom.begins is not _Begins.SENTENCE and size >= most_words / 2:
            paragraph = at
        if size + atom.size > most_words:
            return at if atom.begins is not _Begins.SENTENCE else paragraph or at
        size += atom.size
    return len(atoms)


def _repeated(atoms: Sequence[_Atom], first: int, end: int, most_words: int, overlap_words: int) -> int:
    """Return how many atoms before `end` the next passage repeats: only of a paragraph cut in two."""
    if end == len(atoms) or atoms[end].begins is not _Begins.SENTENCE:
        return 0
    room = min(overlap_words, most_words - atoms[end].size)
    count = 0
    for at in range(end - 1, first, -1):
        room -= atoms[at].size
        if room < 0 or atoms[at + 1].begins is not _Begins.SENTENCE:
            break
        count += 1
    return count
