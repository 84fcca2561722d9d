"""CSV and TSV: the cells of chosen columns. Quoting and line ends of all others stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

from gptcli.documents.drafts import BrokenError, Draft
from gptcli.errors import UsageError

DELIMITERS = ",;\t|"
PROSE_SHARE = 0.5  # of a column's cells that must be prose to translate it unasked
PROSE_CELL = re.compile(r"[^\W\d_]+[^\w\s]?\s+[^\W\d_]")


class Cell(NamedTuple):
    """A cell of a row; `start` and `end` include its quotes."""

    start: int
    end: int
    value: str
    is_quoted: bool


def read(draft: Draft, format: Literal["csv", "tsv"], columns: Sequence[str]) -> None:
    """Make the cells of columns segments; the first row is the header.

    Raises BrokenError for a quote that is not closed, UsageError for a column that is not there.
    """
    delimiter = "\t" if format == "tsv" else _delimiter(draft.text)
    rows = list(_rows(draft, delimiter))
    if not rows:
        return
    names = [cell.value for cell in rows[0]]
    chosen = [_place(column, names) for column in columns] if columns else _prose_columns(rows)
    if not columns:
        said = ", ".join(names[place] for place in chosen) or "none"
        draft.notices.append(f"columns that hold prose: {said}")
    for row in rows[1:]:
        for place in chosen:
            if place < len(row):
                cell = row[place]
                encode = partial(_encoded, is_quoted=cell.is_quoted, delimiter=delimiter)
                draft.add_value(cell.start, cell.end, cell.value, "cell", encode, context=names[place])


def _delimiter(text: str) -> str:
    """Return the delimiter that the header has most of."""
    start = 1 if text.startswith("\ufeff") else 0
    header = re.sub(r'"[^"]*"', "", re.split(r"[\r\n]", text[start:], maxsplit=1)[0])
    return max(DELIMITERS, key=header.count) if any(char in header for char in DELIMITERS) else ","


def _rows(draft: Draft, delimiter: str) -> Iterator[list[Cell]]:
    text = draft.text
    cell = re.compile(
        rf'"([^"]*(?:""[^"]*)*)"(?={re.escape(delimiter)}|[\r\n]|\Z)|[^\r\n{re.escape(delimiter)}]*'
    )
    place = 1 if text.startswith("\ufeff") else 0
    row: list[Cell] = []
    while place <= len(text):
        found = cell.match(text, place)
        assert found is not None
        is_quoted = found[1] is not None
        if not is_quoted and found[0].startswith('"'):
            raise BrokenError("a quote is not closed, or something follows it", draft.line_of(place))
        value = found[1].replace('""', '"') if is_quoted else found[0]
        row.append(Cell(found.start(), found.end(), value, is_quoted))
        place = found.end()
        if text.startswith(delimiter, place):
            place += 1
            continue
        if len(row) > 1 or row[0].value or is_quoted:
            yield row
        row = []
        place += 2 if text.startswith("\r\n", place) else 1


def _place(column: str, names: Sequence[str]) -> int:
    if column in names:
        return names.index(column)
    if column.isdigit() and 1 <= int(column) <= len(names):
        return int(column) - 1
    raise UsageError(f'there is no column "{column}"', hint=f"columns: {', '.join(names)}")


def _prose_columns(rows: Sequence[Sequence[Cell]]) -> list[int]:
    chosen = []
    for place in range(len(rows[0])):
        values = [row[place].value for row in rows[1:] if place < len(row) and row[place].value.strip()]
        prose = sum(PROSE_CELL.search(value) is not None for value in values)
        if values and prose >= len(values) * PROSE_SHARE:
            chosen.append(place)
    return chosen


def _encoded(value: str, *, is_quoted: bool, delimiter: str) -> str:
    if is_quoted or value[:1] in (" ", '"') or any(char in value for char in f'"\r\n{delimiter}'):
        return '"' + value.replace('"', '""') + '"'
    return value
