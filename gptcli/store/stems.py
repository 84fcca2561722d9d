"""What the forms of a word have in common, by the rules that the index of passages goes by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing

TOKENIZER = "porter unicode61"


def stems(words: Iterable[str]) -> Mapping[str, str]:
    """Return the stem of each word: FTS5's own tokenizer is asked for it."""
    listed = list(words)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE forms USING fts5(word, tokenize = '{TOKENIZER}')")
        connection.execute("CREATE VIRTUAL TABLE found USING fts5vocab(forms, 'instance')")
        connection.executemany("INSERT INTO forms (rowid, word) VALUES (?, ?)", enumerate(listed, 1))
        return {listed[row - 1]: stem for row, stem in connection.execute("SELECT doc, term FROM found")}
