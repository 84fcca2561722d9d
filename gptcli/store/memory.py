"""The translation memory: what was translated, by all that a translation depends on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptcli.store.database import Database

MIGRATIONS = (
    (
        """
        CREATE TABLE translations (
            key TEXT PRIMARY KEY,
            source TEXT NOT NULL,
            translation TEXT NOT NULL,
            source_language TEXT NOT NULL,
            target_language TEXT NOT NULL,
            model TEXT NOT NULL,
            findings TEXT NOT NULL DEFAULT '[]',
            is_kept INTEGER NOT NULL DEFAULT 0,
            created REAL NOT NULL,
            used REAL NOT NULL,
            hits INTEGER NOT NULL DEFAULT 0
        ) WITHOUT ROWID
        """,
        "CREATE INDEX translations_by_languages ON translations (source_language, target_language)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One translation. `key` is a hash of all it depends on; `findings` say what is doubtful about it.

    `is_kept`: nothing better than the source was found.
    """

    key: str
    source: str
    translation: str
    source_language: str
    target_language: str
    model: str
    findings: tuple[tuple[str, str], ...] = ()
    is_kept: bool = False
    created: float = 0.0  # seconds since 1970


@dataclass(frozen=True, slots=True)
class Pair:
    """How much of two languages is remembered."""

    source_language: str
    target_language: str
    entries: int
    hits: int


class Memory:
    """The translations in one SQLite file. Threads may share it. All methods raise StorageError."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, migrations=MIGRATIONS)

    @property
    def notices(self) -> Sequence[str]:
        return self._database.notices

    def find(self, key: str) -> Entry | None:
        rows = self._database.rows("SELECT * FROM translations WHERE key = ?", (key,))
        return _entry(rows[0]) if rows else None

    def count_hits(self, keys: Sequence[str]) -> None:
        """Remember that these translations were of use again."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE translations SET hits = hits + 1, used = ? WHERE key = ?",
                ((time.time(), key) for key in keys),
            )

    def add(self, entry: Entry) -> None:
        """Keep a translation, in place of an earlier one of the same key."""
        now = time.time()
        values = (
            *(entry.key, entry.source, entry.translation, entry.source_language, entry.target_language),
            *(entry.model, json.dumps(entry.findings), entry.is_kept, now, now),
        )
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO translations (key, source, translation, source_language, "
                "target_language, model, findings, is_kept, created, used) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )

    def pairs(self) -> list[Pair]:
        """Return how much is remembered, by languages."""
        rows = self._database.rows(
            "SELECT source_language, target_language, count(*), sum(hits) FROM translations "
            "GROUP BY source_language, target_language ORDER BY count(*) DESC, 1, 2"
        )
        return [Pair(*row) for row in rows]

    def entries(self) -> Iterator[Entry]:
        """Yield all translations but those that are only the source, the oldest first."""
        with self._database.reading() as connection:
            for row in connection.execute(
                "SELECT * FROM translations WHERE NOT is_kept ORDER BY created"
            ):
                yield _entry(row)

    def clear(self, target_language: str | None = None) -> int:
        """Forget everything, or what was translated into one language; return how many."""
        with self._database.transaction() as connection:
            if target_language is None:
                count = connection.execute("DELETE FROM translations").rowcount
            else:
                count = connection.execute(
                    "DELETE FROM translations WHERE target_language = ?", (target_language,)
                ).rowcount
        self._database.shrink()
        return count

    def close(self) -> None:
        self._database.close()


def _entry(row: object) -> Entry:
    members = dict(row)  # type: ignore[call-overload]
    return Entry(
        key=members["key"],
        source=members["source"],
        translation=members["translation"],
        source_language=members["source_language"],
        target_language=members["target_language"],
        model=members["model"],
        findings=tuple((fault, detail) for fault, detail in json.loads(members["findings"])),
        is_kept=bool(members["is_kept"]),
        created=members["created"],
    )
