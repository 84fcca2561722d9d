"""What is to be translated: documents of segments, from an argument, files, or lines of a pipe."""

from __future__ import annotations

import os
import stat
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gptcli.documents.document import Document
from gptcli.documents.formats import DocumentOptions, detect_format, open_document
from gptcli.documents.lines import Lines
from gptcli.documents.segments import Segment
from gptcli.errors import UsageError
from gptcli.languages import Language, find_language
from gptcli.output.console import Output
from gptcli.tasks.detect import UNKNOWN, UNSURE, Detection, detect
from gptcli.tasks.translation_text import Protected

Params = dict[str, Any]

SAMPLE = 200  # segments of a document by which its language is detected
LINE_BY_LINE = ("lines", "csv", "tsv")  # formats whose segments have little to do with each other
OWN_LANGUAGE = 0.9  # probability at which a segment has another language than its document
OWN_LETTERS = 20  # letters that this takes


@dataclass(slots=True)
class Input:
    """One thing to translate. `name` is that of its file, "" for an argument, "-" for stdin."""

    name: str
    document: Document
    target: Language
    line: int = 0  # of stdin, for documents that are one line

    @property
    def shown(self) -> str:
        return {"": "the text", "-": "stdin"}.get(self.name, self.name)


class SegmentUnit:
    """A segment, as a translator sees it; `segment` is None for a line without words."""

    def __init__(
        self, origin: Input, segment: Segment | None, source: Language, context: str = ""
    ) -> None:
        self.origin, self.segment, self.source, self.context = origin, segment, source, context
        self.target = origin.target

    @property
    def text(self) -> str:
        return self.segment.text if self.segment else ""

    @cached_property
    def protected(self) -> Sequence[Protected]:
        placeholders = self.segment.placeholders if self.segment else ()
        return tuple(Protected(each.shown, each.role) for each in placeholders)

    def check(self, translation: str) -> str:
        return str(self.origin.document.check(self.segment.index, translation)) if self.segment else ""

    @property
    def line(self) -> int:
        return self.origin.line or (self.segment.line if self.segment else 1)

    @property
    def place(self) -> str:
        return f"{self.origin.shown}, line {self.line:,}"


@dataclass(slots=True)
class SourceLanguages:
    """The source language of each text: what the user said, or what is detected."""

    output: Output
    given: Language | None
    _last: Language | None = None
    _has_warned: bool = False
    _own_language: float = OWN_LANGUAGE
    _found: dict[str, Language] = field(default_factory=dict)

    def of_document(self, texts: Sequence[str], place: str) -> Language:
        """Return the language of a text as a whole; warn if it is not sure."""
        if self.given is not None:
            return self.given
        tag, probability = _of_most(texts)
        if tag == UNKNOWN:
            return self._last or self._language("en")
        language = self._language(tag)
        # In a text of several languages, each segment tells its own.
        self._own_language = OWN_LANGUAGE if probability >= UNSURE else UNSURE
        if probability >= UNSURE:
            self.output.note(f"{place}: {language.name} ({probability:.0%})")
        else:
            self._warn(f"{place} seems to be {language.name} ({probability:.0%})")
        self._last = language
        return language

    def of_line(self, text: str, place: str) -> Language:
        """Return the language of a line; where that is not sure, that of the lines before."""
        if self.given is not None:
            return self.given
        found = detect(text)
        if found.language != UNKNOWN and (found.is_sure or self._last is None):
            if not found.is_sure:
                name = self._language(found.language).name
                self._warn(f"{place} seems to be {name} ({found.probability:.0%})")
            self._last = self._language(found.language)
        return self._last or self._language("en")

    def of_segment(self, text: str, document: Language) -> Language:
        """Return the language of a segment: its document's, unless it surely has another."""
        if self.given is not None or sum(map(str.isalpha, text)) < OWN_LETTERS:
            return document
        found: Detection = detect(text)
        if found.language in (UNKNOWN, document.primary) or found.probability < self._own_language:
            return document
        return self._language(found.language)

    def _language(self, tag: str) -> Language:
        if tag not in self._found:
            self._found[tag] = find_language(tag)
        return self._found[tag]

    def _warn(self, text: str) -> None:
        if not self._has_warned:
            self.output.warning(f"{text}: --from LANG says it")
        self._has_warned = True


def _of_most(texts: Sequence[str]) -> tuple[str, float]:
    """Return the language of most of a document, by letters, and the mean probability that it is so."""
    step = max(1, len(texts) // SAMPLE)
    shares: dict[str, float] = defaultdict(float)
    for text in texts[::step]:
        letters = sum(map(str.isalpha, text))
        found = detect(text)
        shares[found.language] += letters * found.probability
        for tag, probability in found.others:
            shares[tag] += letters * probability
    letters = sum(map(str.isalpha, "".join(texts[::step])))
    tag, share = max(shares.items(), key=lambda item: item[1], default=(UNKNOWN, 0.0))
    return tag, share / letters if letters else 0.0


def options_of(params: Params, target: Language) -> DocumentOptions:
    return DocumentOptions(
        target_language=target.tag,
        all_entries=params["all_entries"],
        columns=tuple(params["field"] or ()),
    )


def is_streamed(params: Params) -> bool:
    """Tell whether lines are translated as they come: those of a pipe, if nothing else is said."""
    if params["text"] is not None or params["input"] or params["output"] or params["dry_run"]:
        return False
    return params["format"] in ("auto", "lines")


def read_inputs(params: Params, target: Language, piped: bytes) -> list[Input]:
    """Return the documents of the argument, the files, or stdin. Raises UsageError, DocumentError."""
    options = options_of(params, target)
    if params["text"] is not None:
        format: Any = "text" if params["format"] == "auto" else params["format"]
        data = params["text"].encode("utf-8", "surrogateescape")
        return [Input("", open_document(data, format, options=options), target)]
    found = []
    for name in params["input"] or ("-",):
        data = piped if name == "-" else _read(name)
        format = params["format"]
        if (
            format == "auto"
            and name == "-"
            and detect_format(data[:4096].decode("utf-8", "replace")) == "text"
        ):
            format = "lines"
        shown = "stdin" if name == "-" else name
        found.append(Input(name, open_document(data, format, name=shown, options=options), target))
    return found


def stdin_lines() -> tuple[Lines, bool]:
    """Return the lines of stdin, and whether they begin like a document of another format."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is nothing to translate", hint='gptcli translate "Good morning" --to fr')
    lines = Lines(open(sys.stdin.fileno(), "rb", buffering=0, closefd=False), "stdin")  # noqa: SIM115
    first = lines.first_text()
    return lines, detect_format(first.decode("utf-8", "replace") + "\n") != "text"


def stdin_data(params: Params) -> bytes:
    """Return all of stdin, if it is to be translated. Raises UsageError on a terminal."""
    if params["text"] is not None:
        if params["input"]:
            raise UsageError("a text and --input exclude each other")
        return b""
    if params["input"] and "-" not in params["input"]:
        return b""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is nothing to translate", hint='gptcli translate "Good morning" --to fr')
    return sys.stdin.buffer.read()


def _read(name: str) -> bytes:
    try:
        if stat.S_ISDIR(os.stat(name).st_mode):  # noqa: PTH116
            raise UsageError(f'"{name}" is a directory', hint="-i FILE, once for each")
        return Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f'cannot read "{name}": {error.strerror}') from error


def document_units(
    inputs: Sequence[Input], languages: SourceLanguages, context: int
) -> Iterator[SegmentUnit]:
    """Yield the segments of documents, with `context` segments before and after each."""
    for each in inputs:
        segments = each.document.segments
        texts = [segment.text for segment in segments]
        language = languages.of_document(texts, each.shown)
        for at, segment in enumerate(segments):
            around = (*texts[max(0, at - context) : at], *texts[at + 1 : at + 1 + context])
            if each.document.format in LINE_BY_LINE:
                source = languages.of_line(segment.text, f"{each.shown}, line {segment.line:,}")
            else:
                source = languages.of_segment(segment.text, language)
            yield SegmentUnit(each, segment, source, " ".join(around) if context else "")


def line_units(
    lines: Lines, targets: Sequence[Language], languages: SourceLanguages
) -> Iterator[SegmentUnit]:
    """Yield a unit for each line and target, at once; a line without words has no segment."""
    for number, line in enumerate(lines, 1):
        document = open_document(line, "lines", name=f"line {number:,} of stdin")
        segment = document.segments[0] if document.segments else None
        source = languages.of_line(segment.text if segment else "", f"line {number:,}")
        for target in targets:
            yield SegmentUnit(Input("-", document, target, line=number), segment, source)
