"""Reads a glossary: terms and their translations, in two columns of a TSV or CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

from gptcli.errors import UsageError

HEADERS = ({"source", "target"}, {"term", "translation"}, {"source", "translation"}, {"src", "tgt"})


def read_glossary(path: str) -> tuple[tuple[str, str], ...]:
    """Return the terms with their translations, the longest terms first.

    A line that begins with # is a comment; a first line of column names is left out. Raises UsageError.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f'cannot read "{path}": {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise UsageError(f'"{path}" is not UTF-8 text (byte {error.start:,})') from error
    delimiter = "\t" if "\t" in text else ";" if ";" in text and "," not in text else ","
    terms: dict[str, str] = {}
    lines = text.splitlines()
    for number, row in enumerate(csv.reader(lines, delimiter=delimiter), 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if number == 1 and {cell.lower() for cell in cells[:2]} in HEADERS:
            continue
        if len(cells) < 2 or not cells[0] or not cells[1]:
            raise UsageError(f'"{path}", line {number:,}: a term and its translation are needed')
        terms.setdefault(cells[0], cells[1])
    return tuple(sorted(terms.items(), key=lambda term: -len(term[0])))
