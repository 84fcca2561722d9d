"""The vectors of an index's passages, of one embedding model or another."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import mul

from gptcli.documents.passages import Passage
from gptcli.store.database import Database

KEPT_TOGETHER = 32  # what is interrupted goes on from there

TABLE = """
    CREATE TABLE vectors (
        passage INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
        model TEXT NOT NULL,
        vector BLOB NOT NULL,
        PRIMARY KEY (passage, model)
    ) WITHOUT ROWID
"""


class PassageVectors:
    """The vectors of one model, by passage. All methods raise StorageError."""

    def __init__(self, database: Database, model: str) -> None:
        self._database, self._model = database, model

    def missing(self) -> list[int]:
        """Return the passages that have no vector."""
        rows = self._database.rows(
            "SELECT id FROM passages WHERE NOT EXISTS "
            "(SELECT 1 FROM vectors WHERE passage = passages.id AND model = ?) ORDER BY id",
            (self._model,),
        )
        return [row["id"] for row in rows]

    def keep(self, vectors: Iterable[tuple[int, array[float]]]) -> Iterator[int]:
        """Keep vectors as they come, and yield how many there are so far."""
        vectors, count = iter(vectors), 0
        while batch := list(islice(vectors, KEPT_TOGETHER)):
            with self._database.transaction() as connection:
                # A passage that another process replaced meanwhile is passed over.
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (passage, model, vector) "
                    "SELECT id, ?, ? FROM passages WHERE id = ?",
                    ((self._model, vector.tobytes(), passage) for passage, vector in batch),
                )
            count += len(batch)
            yield count

    def nearest(self, vector: array[float], count: int) -> list[tuple[int, float]]:
        """Return the passages whose vectors are nearest, and their cosine similarities."""
        found: list[tuple[float, int]] = []
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT passage, vector FROM vectors WHERE model = ?", (self._model,)
            )
            similarities = ((_product(vector, row["vector"]), row["passage"]) for row in rows)
            found = heapq.nlargest(count, similarities)
        return [(passage, similarity) for similarity, passage in found]


def passage_to_embed(passage: Passage) -> str:
    """Return a passage with the titles above it, which often say what it is about."""
    return f"{passage.heading}\n{passage.text}" if passage.heading else passage.text


def _product(vector: array[float], stored: bytes) -> float:
    other = array("f", stored)
    return sum(map(mul, vector, other)) if other else -1.0
