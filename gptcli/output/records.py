"""Writes records as JSON Lines, a JSON array, CSV, TSV or plain lines, and reads back what it wrote.

A record out is a record in with what was added to it, or with an error. Each is written in one piece,
so that of a run that was killed at any byte only the last record can be broken.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gptcli.errors import GptcliError

WriteFormat = Literal["jsonl", "csv", "tsv", "plain", "json"]
Fields = Mapping[str, Any]

ERROR_FIELD = "error"
DELIMITERS = {"csv": ",", "tsv": "\t"}
# Line ends as a terminal, str.splitlines and other readers of lines see them, with what is around.
_LINE_BREAKS = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*")


@dataclass(frozen=True, slots=True)
class Written:
    """A record found in an output. `cells` is its content as the format has it; None: the header."""

    end: int  # bytes of the output up to its end
    cells: Any
    is_failed: bool


class RecordWriter(Protocol):
    """A format.

    `can_resume`: an output that broke off can be continued. `dropped` names fields of records that
    had no place in the output.
    """

    can_resume: bool
    dropped: Collection[str]

    def head(self) -> str:
        """Return what comes before the first record, as far as it is known."""
        ...

    def record(self, fields: Fields, added: Fields, /) -> str:
        """Return a record as text, to be written in one piece."""
        ...

    def failed(self, fields: Fields, error: GptcliError, /) -> str: ...

    def tail(self) -> str: ...

    def read_back(self, lines: Iterable[bytes]) -> Iterator[Written]:
        """Yield the complete records of an output. Raises ValueError where it is not our own.

        The writer then goes on as if it had written them.
        """
        ...

    def belongs(self, written: Written, fields: Fields, /) -> bool:
        """Tell whether a record of the output can be that of these input fields."""
        ...


def record_writer(
    format: WriteFormat, added: Sequence[str], columns: Sequence[str] | None = None
) -> RecordWriter:
    """Return the writer of a format.

    `added` names the fields that answers have; `columns` the input's own, if they are known before
    the first record. Plain lines show the first added field alone.
    """
    if format == "jsonl":
        return JsonLines(added)
    if format == "json":
        return JsonArray(added)
    if format == "plain":
        return PlainLines(added)
    return Table(added, columns, DELIMITERS[format])


class JsonLines:
    """One JSON object a line: the input's fields, then those added, or an error."""

    can_resume = True
    dropped: Collection[str] = ()

    def __init__(self, added: Sequence[str]) -> None:
        self._added = frozenset(added)

    def head(self) -> str:
        return ""

    def record(self, fields: Fields, added: Fields) -> str:
        return _json({**fields, **added}) + "\n"

    def failed(self, fields: Fields, error: GptcliError) -> str:
        members = {"code": error.code, "message": error.message}
        return _json({**fields, ERROR_FIELD: members}) + "\n"

    def tail(self) -> str:
        return ""

    def read_back(self, lines: Iterable[bytes]) -> Iterator[Written]:
        end = 0
        for line in lines:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            members = json.loads(line)
            if not isinstance(members, dict):
                raise ValueError("not a JSON object")
            yield Written(end, members, ERROR_FIELD in members)

    def belongs(self, written: Written, fields: Fields) -> bool:
        members = written.cells
        # The input may have had a field of the name "error": then the record failed, and lost it.
        own = (members.keys() - fields.keys()) | (members.keys() & {ERROR_FIELD})
        return own in ({ERROR_FIELD}, self._added) and all(
            key in members and (members[key] == value or key == ERROR_FIELD)
            for key, value in fields.items()
        )


class JsonArray(JsonLines):
    """All records in one JSON array, one a line. It is whole only at its end: no resuming."""

    can_resume = False

    def __init__(self, added: Sequence[str]) -> None:
        super().__init__(added)
        self._is_begun = False

    def head(self) -> str:
        return "["

    def record(self, fields: Fields, added: Fields) -> str:
        return self._member(super().record(fields, added))

    def failed(self, fields: Fields, error: GptcliError) -> str:
        return self._member(super().failed(fields, error))

    def tail(self) -> str:
        return "\n]\n" if self._is_begun else "]\n"

    def _member(self, line: str) -> str:
        separator = ",\n" if self._is_begun else "\n"
        self._is_begun = True
        return separator + line.removesuffix("\n")


class PlainLines:
    """The first added field alone: a record in is a line out, an empty one if it failed."""

    can_resume = True
    dropped: Collection[str] = ()

    def __init__(self, added: Sequence[str]) -> None:
        self._field = added[0]

    def head(self) -> str:
        return ""

    def record(self, _fields: Fields, added: Fields, /) -> str:
        return one_line(cell(added[self._field])) + "\n"

    def failed(self, _fields: Fields, _error: GptcliError, /) -> str:
        return "\n"

    def tail(self) -> str:
        return ""

    def read_back(self, lines: Iterable[bytes]) -> Iterator[Written]:
        end = 0
        for line in lines:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield Written(end, line, is_failed=False)  # an empty line may be an empty answer

    def belongs(self, _written: Written, _fields: Fields, /) -> bool:
        return True  # the input's fields are not in the output


class Table:
    """CSV or TSV: the input's columns, those added, and an error column, empty where all went well.

    Quoting is that of RFC 4180, for both; lines end with a newline alone. Without `columns`, the
    first record that has fields gives them; `dropped` collects fields of later ones that have no
    column. What is not text is written as JSON.
    """

    can_resume = True

    def __init__(self, added: Sequence[str], columns: Sequence[str] | None, delimiter: str) -> None:
        self._added = tuple(added)
        self._columns: tuple[str, ...] | None = None if columns is None else tuple(columns)
        self._is_begun = False
        self._held: list[str] = []  # errors of records without fields, before the columns are known
        # It ends lines with \r\n so that it quotes both characters; the row then loses its \r.
        self._row: list[str] = []
        self._csv = csv.writer(_Appender(self._row), delimiter=delimiter, lineterminator="\r\n")
        self._delimiter = delimiter
        self.dropped: Collection[str] = ()

    def head(self) -> str:
        if self._columns is None or self._is_begun:
            return ""
        self._is_begun = True
        return self._text((*self._columns, *self._added, ERROR_FIELD)) if self._columns else ""

    def record(self, fields: Fields, added: Fields) -> str:
        return self._line(fields, [cell(added[name]) for name in self._added], "")

    def failed(self, fields: Fields, error: GptcliError) -> str:
        if self._columns is None and not fields:
            self._held.append(error.message)
            return ""
        return self._line(fields, [""] * len(self._added), error.message)

    def tail(self) -> str:
        if not self._held:
            return ""
        self._columns = ()
        head = self._text((*self._added, ERROR_FIELD))
        return head + self._held_lines()

    def read_back(self, lines: Iterable[bytes]) -> Iterator[Written]:
        rows = self._whole_rows(lines)
        end, header = next(rows, (0, None))
        if header is None:
            return
        own = (*self._added, ERROR_FIELD)
        if tuple(header[-len(own) :]) != own:
            raise ValueError(f"its last columns are not {', '.join(own)}")
        columns = tuple(header[: -len(own)])
        if self._columns is not None and columns != self._columns:
            raise ValueError("its columns are not those of the input")
        self._columns, self._is_begun = columns, True
        yield Written(end, None, is_failed=False)
        for end, cells in rows:
            if len(cells) != len(header):
                raise ValueError(f"a row of {len(cells)} cells under {len(header)} columns")
            yield Written(end, cells, is_failed=bool(cells[-1]))

    def belongs(self, written: Written, fields: Fields) -> bool:
        assert self._columns is not None
        own: list[str] = written.cells[: len(self._columns)]
        return own == [cell(fields.get(name)) for name in self._columns]

    def _line(self, fields: Fields, added: list[str], error: str) -> str:
        begin = ""
        if self._columns is None:
            self._columns = tuple(fields)
        if not self._is_begun:
            begin = self.head() + self._held_lines()
        if len(fields) != len(self._columns) or self._columns != tuple(fields):
            self.dropped = fields.keys() - set(self._columns) | set(self.dropped)
        cells = [cell(fields.get(name)) for name in self._columns]
        return begin + self._text((*cells, *added, error))

    def _held_lines(self) -> str:
        assert self._columns is not None
        blank = [""] * (len(self._columns) + len(self._added))
        held = "".join(self._text((*blank, message)) for message in self._held)
        self._held.clear()
        return held

    def _text(self, cells: Sequence[str]) -> str:
        self._csv.writerow(cells)
        return self._row.pop()[:-2] + "\n"

    def _whole_rows(self, lines: Iterable[bytes]) -> Iterator[tuple[int, list[str]]]:
        """Yield each row with where it ends, but for a last one that broke off."""
        csv.field_size_limit(2**31 - 1)
        end, quotes = 0, 0
        row: list[bytes] = []
        for line in lines:
            row.append(line)
            quotes += line.count(b'"')
            # Within a quoted cell, the quotes so far are odd: those that are part of it are doubled.
            if quotes % 2 or not line.endswith(b"\n"):
                continue
            end += sum(map(len, row))
            text = b"".join(row).decode()
            reader = csv.reader((text,), delimiter=self._delimiter, strict=True)
            try:
                (cells,) = reader
            except csv.Error as error:
                raise ValueError(str(error)) from error
            yield end, cells
            row.clear()


class _Appender:
    """What csv.writer writes to: a row a call."""

    def __init__(self, rows: list[str]) -> None:
        self.write = rows.append


def cell(value: object) -> str:
    """Return a value as the text of a cell: text as it is, nothing for None, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else _json(value)


def one_line(text: str) -> str:
    """Return a text without line ends: each, with the white space around it, becomes a space."""
    return _LINE_BREAKS.sub(" ", text.strip())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
