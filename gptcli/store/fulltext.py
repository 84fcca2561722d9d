"""Full-text search in any script: every three characters are indexed, shorter words are looked for.

The index is brought up to date by a search, not by what writes: writing stays cheap, and a SQLite
without FTS5 can write to a database that has an index. Where there is none, all texts are read.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence

LEAST_INDEXED = 3  # characters of a trigram
EXCERPT_BEFORE, EXCERPT_LENGTH = 40, 160


def words_of(query: str) -> list[str]:
    """Return a query's words and its "phrases in quotes", case-folded."""
    found = re.findall(r'"([^"]+)"|(\S+)', query)
    words = (" ".join((phrase or word.strip('"')).split()).casefold() for phrase, word in found)
    return [word for word in words if word]


def update_index(connection: sqlite3.Connection) -> None:
    """Index what was written since the last search, within the caller's transaction.

    Does nothing where SQLite has no FTS5 with trigrams (from 3.34).
    """
    try:
        connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS messages_index USING fts5(text, tokenize = 'trigram')"
        )
    except sqlite3.OperationalError:
        return
    connection.execute(
        "DELETE FROM messages_index WHERE rowid IN (SELECT id FROM messages WHERE NOT is_indexed)"
    )
    connection.execute(
        "INSERT INTO messages_index (rowid, text) SELECT id, text FROM messages WHERE NOT is_indexed"
    )
    connection.execute("UPDATE messages SET is_indexed = 1 WHERE NOT is_indexed")


def drop_index(connection: sqlite3.Connection) -> None:
    """Drop the index, because it is damaged; the next search makes it anew."""
    connection.execute("DROP TABLE IF EXISTS messages_index")
    connection.execute("UPDATE messages SET is_indexed = 0")


def find(connection: sqlite3.Connection, words: Sequence[str]) -> dict[str, str]:
    """Return the conversations with a message that has all words, and the text of the last such one."""
    connection.create_function("contains", 2, _contains, deterministic=True)
    looked_for, values = _all_in_text(words), list(words)
    indexed = [word for word in words if len(word) >= LEAST_INDEXED]
    if indexed and _has_index(connection):
        phrases = " AND ".join('"{}"'.format(word.replace('"', '""')) for word in indexed)
        short = [word for word in words if len(word) < LEAST_INDEXED]
        in_index = "id IN (SELECT rowid FROM messages_index WHERE messages_index MATCH ?)"
        in_both = f"{in_index} AND {_all_in_text(short)}" if short else in_index
        looked_for = f"(is_indexed AND {in_both} OR NOT is_indexed AND {looked_for})"
        values = [phrases, *short, *words]
    rows = connection.execute(
        f"SELECT conversation, text, max(id) FROM messages WHERE {looked_for} GROUP BY conversation",  # noqa: S608
        values,
    )
    return {row["conversation"]: row["text"] for row in rows}


def forget(connection: sqlite3.Connection, cid: str) -> None:
    """Take a conversation out of the index."""
    if _has_index(connection):
        connection.execute(
            "DELETE FROM messages_index WHERE rowid IN (SELECT id FROM messages WHERE conversation = ?)",
            (cid,),
        )


def merge(connection: sqlite3.Connection) -> None:
    """Take the words of what was forgotten out of the file, where FTS5 would leave them for a while."""
    if _has_index(connection):
        connection.execute("INSERT INTO messages_index (messages_index) VALUES ('optimize')")


def excerpt(text: str, words: Iterable[str]) -> str:
    """Return the text around the first of the words, on one line."""
    line = " ".join(text.split())
    places = (line.casefold().find(word) for word in words)
    first = min((place for place in places if place >= 0), default=0)
    start = max(0, first - EXCERPT_BEFORE)
    end = start + EXCERPT_LENGTH
    return ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")


def _has_index(connection: sqlite3.Connection) -> bool:
    """Tell whether there is an index that this SQLite can use."""
    try:
        connection.execute("SELECT rowid FROM messages_index LIMIT 0")
    except sqlite3.OperationalError:
        return False
    return True


def _all_in_text(words: Sequence[str]) -> str:
    return " AND ".join("contains(text, ?)" for _ in words)


def _contains(text: str, word: str) -> bool:
    return word in text.casefold()
