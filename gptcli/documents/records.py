"""Records: texts by line, JSON Lines, CSV and TSV, each record as soon as its lines are there.

A record that cannot be read fails alone: it is handed on with its error. What concerns the whole
input, such as a header with two columns of one name, raises UsageError.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import PurePath
from typing import Any, Literal

from gptcli.documents.lines import Lines
from gptcli.errors import GptcliError, UsageError

RecordFormat = Literal["lines", "text", "jsonl", "csv", "tsv"]

TEXT_FIELD = "text"  # of a line, and of a whole text
DELIMITERS = {"csv": ",", "tsv": "\t"}
SUFFIXES: dict[str, RecordFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


class RecordError(GptcliError):
    """A record that cannot be read; the others can."""

    code = "record"


@dataclass(slots=True)
class Record:
    """One record. With an `error`, `fields` holds what could be read of it."""

    number: int  # from 1
    line: int  # where it begins, from 1
    end: int  # bytes of the input up to its end
    fields: dict[str, Any]
    error: GptcliError | None = None

    @property
    def place(self) -> str:
        return f"record {self.number:,} (line {self.line:,})"


class RecordReader(Iterator[Record]):
    """An iterator over the records of a stream.

    `format` is what was asked for or, with "auto", what the name's ending or else the first bytes
    say: `{` begins JSON Lines, anything else texts by line. That waits for a first line, and so does
    the header of CSV and TSV, whose `columns` are known from the start. Other formats have None.
    Raises UsageError for a header with an empty or a repeated name.
    """

    def __init__(
        self, stream: RawIOBase, format: RecordFormat | Literal["auto"] = "auto", *, name: str = "stdin"
    ) -> None:
        self._name = name
        self._lines = Lines(stream, name)
        self._number = 0
        self.format: RecordFormat = self._detected() if format == "auto" else format
        self.columns: tuple[str, ...] | None = None
        if self.format in DELIMITERS:
            self._rows = _Rows(self._lines, DELIMITERS[self.format])
            self.columns = self._header()
        elif self.format != "jsonl":
            self.columns = (TEXT_FIELD,)
        self._records = {"lines": self._texts, "text": self._whole, "jsonl": self._objects}.get(
            self.format, self._cells
        )()

    def __next__(self) -> Record:
        return next(self._records)

    def _detected(self) -> RecordFormat:
        suffix = PurePath(self._name).suffix.lower()
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
        first = self._lines.first_text()
        if suffix == ".json" and first.startswith(b"["):
            raise UsageError(
                f"{self._name} is one JSON array: records are one JSON object a line",
                hint=f"jq -c '.[]' {self._name} | gptcli …",
            )
        return "jsonl" if first.startswith(b"{") else "lines"

    def _record(self, fields: dict[str, Any], problem: str = "", *, line: int | None = None) -> Record:
        self._number += 1
        error = RecordError(problem) if problem else None
        lines = self._lines
        return Record(self._number, lines.number if line is None else line, lines.end, fields, error)

    # ------------------------------------------------------------------------------------- formats

    def _texts(self) -> Iterator[Record]:
        for line in self._lines:
            text, problem = _decoded(line)
            yield self._record({TEXT_FIELD: text.removesuffix("\n").removesuffix("\r")}, problem)

    def _whole(self) -> Iterator[Record]:
        data = b"".join(self._lines)
        if data:
            text, problem = _decoded(data)
            yield self._record({TEXT_FIELD: text}, problem, line=1)

    def _objects(self) -> Iterator[Record]:
        for line in self._lines:
            if not line.strip():
                continue
            text, problem = _decoded(line)
            if problem:
                yield self._record({}, problem)
                continue
            try:
                value = _DECODER.decode(text)
            except json.JSONDecodeError as error:
                yield self._record({}, f"not JSON: {error.msg} (column {error.colno})")
            except (ValueError, RecursionError) as error:
                yield self._record({}, f"not JSON: {error}")
            else:
                yield self._object(value, text)

    def _object(self, value: object, text: str) -> Record:
        if not isinstance(value, dict):
            return self._record({}, "not a JSON object")
        if "\\ud" in text or "\\uD" in text:  # perhaps one half of a surrogate pair alone
            clean = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            if (whole := json.loads(clean)) != value:
                return self._record(whole, r"not text: one half of a \u surrogate pair alone")
        return self._record(value)

    def _header(self) -> tuple[str, ...]:
        try:
            columns = tuple(next(self._rows, ()))
        except csv.Error as error:
            raise UsageError(f"{self._name} has a broken header: {error}") from error
        if self._rows.problem:
            raise UsageError(f"the header of {self._name} is {self._rows.problem}")
        for position, column in enumerate(columns, 1):
            if not column.strip():
                raise UsageError(f"{self._name} has no name for its column {position}")
            if columns.index(column) != position - 1:
                raise UsageError(f'{self._name} has two columns of the name "{column}"')
        return columns

    def _cells(self) -> Iterator[Record]:
        columns = self.columns or ()
        empty = dict.fromkeys(columns, "")
        rows = self._rows
        while True:
            try:
                cells = next(rows, None)
            except csv.Error as error:
                first = rows.give_back_all_but_first()
                yield self._record({**empty}, f"not {self.format.upper()}: {error} in {first!r}")
                continue
            if cells is None:
                return
            problem = rows.problem
            if len(cells) != len(columns):
                problem = problem or f"{len(cells)} cells for {len(columns)} columns"
                cells = cells[: len(columns)] + [""] * (len(columns) - len(cells))
            yield self._record(dict(zip(columns, cells, strict=True)), problem, line=rows.line)


class _Rows(Iterator[list[str]]):
    """Rows that are not empty. `line` is where the last one began; `problem` says what is not text.

    Raises csv.Error where a row's quotes are broken.
    """

    def __init__(self, lines: Lines, delimiter: str) -> None:
        csv.field_size_limit(2**31 - 1)  # of the whole process: csv knows no other
        self._lines = lines
        self._taken: list[bytes] = []  # of the row being read
        self._reader = csv.reader(_RowLines(self), delimiter=delimiter, strict=True)
        self.line = 0
        self.problem = ""

    def __next__(self) -> list[str]:
        while True:
            self._taken.clear()
            self.problem = ""
            self.line = self._lines.number + 1
            if row := next(self._reader):
                return row

    def take_line(self) -> str:
        line = next(self._lines)
        self._taken.append(line)
        text, problem = _decoded(line)
        self.problem = self.problem or problem
        return text

    def give_back_all_but_first(self) -> str:
        """After a csv.Error: go on behind the row's first line, whose quote was not closed."""
        first, *others = self._taken
        self._lines.push_back(others)
        return first.decode("utf-8", "replace").strip()[:40]


class _RowLines(Iterator[str]):
    """What csv.reader reads from."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    def __next__(self) -> str:
        return self._rows.take_line()


def _decoded(line: bytes) -> tuple[str, str]:
    """Return text, and what is wrong with it; bytes that are not UTF-8 are replaced by U+FFFD."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 text: byte 0x{line[error.start]:02x} at position {error.start + 1}"
        return line.decode("utf-8", "replace"), problem
    return text, "not text: it contains a NUL byte" if "\0" in text else ""


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON value")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_no_constant)
