"""An index of passages in one SQLite file: full text by BM25, brought up to date by time and hash.

Texts are kept too, so that a PDF is read once. The words are those of `tasks.retrieval.terms`, which
FTS5 stems as English by Porter's rules and ranks by its bm25 (k1 = 1.2, b = 0.75).
https://sqlite.org/fts5.html#the_bm25_function
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from gptcli.documents.passages import Passage, Source
from gptcli.documents.sources import OnSkip, Skipped, SourceFile, UnreadableError
from gptcli.errors import StorageError
from gptcli.store.database import DAMAGE, Database
from gptcli.store.passage_vectors import TABLE as VECTORS
from gptcli.store.passage_vectors import PassageVectors
from gptcli.store.stems import TOKENIZER
from gptcli.tasks.retrieval import Ranked, query_terms, terms
from gptcli.tasks.splitting import size_of, split

INDEX_FORM = "1"  # raise it when passages or their terms are made otherwise
BATCH_FILES = 64  # written together: what is interrupted goes on from there
HEADING_WEIGHT = 0.5  # of a word in the titles above a passage or the file's name, against one in it
UNSETTLED_NS = 2_000_000_000  # a file so young when it was read may change without a change of its time

MIGRATIONS = (
    (
        """
        CREATE TABLE files (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            place INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            modified_ns INTEGER NOT NULL,
            read_ns INTEGER NOT NULL,
            digest BLOB NOT NULL,
            reason TEXT,
            text TEXT NOT NULL,
            words INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE passages (
            id INTEGER PRIMARY KEY,
            file INTEGER NOT NULL REFERENCES files (id) ON DELETE CASCADE,
            start INTEGER NOT NULL,
            end INTEGER NOT NULL,
            line INTEGER NOT NULL,
            heading TEXT NOT NULL
        )
        """,
        "CREATE INDEX passages_by_file ON passages (file)",
        f"CREATE VIRTUAL TABLE passages_index USING fts5(text, heading, tokenize = '{TOKENIZER}')",
        VECTORS,
    ),
)
SEARCH = f"""
    SELECT rowid, bm25(passages_index, 1.0, {HEADING_WEIGHT}) AS score
    FROM passages_index WHERE passages_index MATCH ? ORDER BY score, rowid LIMIT ?
"""  # noqa: S608  the weight is ours


@dataclass(frozen=True, slots=True)
class Update:
    """What an update found: files that were read, that are as they were, and that are gone."""

    read: int = 0
    unchanged: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file as the index has it or shall have it. `reason`: why it has no text."""

    name: str
    place: int
    size_bytes: int
    modified_ns: int
    read_ns: int
    digest: bytes
    reason: str | None
    text: str = ""

    @property
    def content(self) -> tuple[bytes, str | None]:
        return self.digest, self.reason

    def is_current(self, file: SourceFile) -> bool:
        is_settled = self.read_ns - self.modified_ns > UNSETTLED_NS
        return is_settled and (self.size_bytes, self.modified_ns) == (file.size_bytes, file.modified_ns)


class PassageIndex:
    """The passages of a collection. All methods raise StorageError.

    The file is private, and may be deleted at any time. One that is damaged gives way to an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, migrations=MIGRATIONS)
        with contextlib.suppress(OSError):
            os.utime(path)  # it is used

    def update(
        self,
        files: Iterable[SourceFile],
        read: Callable[[SourceFile], Source],
        *,
        on_skip: OnSkip,
        on_file: Callable[[int, SourceFile], object] | None = None,
    ) -> Update:
        """Bring the index up to date with files, in their order: read what is new, drop what is gone.

        `read` gives a file's text, or raises UnreadableError, which is passed to `on_skip`. `on_file`
        hears of each file, and how many there were. What was read is kept if this is interrupted.
        """
        known = self._known()
        stale = set(known)
        batch: list[_Entry] = []
        read_count = unchanged = 0
        try:
            for place, file in enumerate(files):
                if on_file:
                    on_file(place + 1, file)
                entry = known.get(file.name)
                if entry is None or not entry.is_current(file):
                    read_count += 1
                    entry = _read(file, place, read, on_skip)
                else:
                    unchanged += 1
                    if entry.reason:
                        on_skip(Skipped(file.name, entry.reason))
                if entry is None:
                    continue
                stale.discard(file.name)
                if entry is not known.get(file.name) or entry.place != place:
                    batch.append(replace(entry, place=place))
                if len(batch) >= BATCH_FILES:
                    self._write(batch, known)
                    batch = []
        finally:
            self._write(batch, known)
        with self._database.transaction() as connection:
            for name in stale:
                _forget(connection, name)
        return Update(read_count, unchanged, len(stale))

    @property
    def size(self) -> int:
        return int(self._database.rows("SELECT total(words) FROM files")[0][0])

    def sources(self) -> Iterator[Source]:
        """Yield all sources, in their order."""
        rows = self._database.rows("SELECT id FROM files WHERE reason IS NULL ORDER BY place")
        for row in rows:
            if source := self._source(row["id"]):
                yield source

    def search(self, question: str, count: int) -> list[Ranked]:
        """Return the passages that share words with a question, the best first, by BM25."""
        query = " OR ".join(f'"{term}"' for term in query_terms(question))
        if not query:
            return []
        rows = self._database.rows(SEARCH, (query, count))
        scores = {row["rowid"]: -row["score"] for row in rows}
        return [Ranked(passage, scores[number]) for number, passage in self.passages(scores).items()]

    def vectors(self, model: str) -> PassageVectors:
        """Return the vectors of an embedding model, by its key."""
        return PassageVectors(self._database, model)

    def passages(self, numbers: Iterable[int]) -> dict[int, Passage]:
        """Return passages by their numbers, in the order of these; those that are gone are left out."""
        sources: dict[int, Source | None] = {}
        found = {}
        for number in numbers:
            for row in self._database.rows("SELECT * FROM passages WHERE id = ?", (number,)):
                if row["file"] not in sources:
                    sources[row["file"]] = self._source(row["file"])
                if source := sources[row["file"]]:
                    place = (row["start"], row["end"], row["line"], row["heading"])
                    found[number] = Passage(source, *place)
        return found

    def close(self) -> None:
        self._database.close()

    def _known(self) -> dict[str, _Entry]:
        rows = self._database.rows(
            "SELECT name, place, size_bytes, modified_ns, read_ns, digest, reason FROM files"
        )
        return {row["name"]: _Entry(*row) for row in rows}

    def _source(self, file: int) -> Source | None:
        """Return a source, unless another process took it out meanwhile."""
        rows = self._database.rows("SELECT name, text FROM files WHERE id = ?", (file,))
        return Source(rows[0]["name"], rows[0]["text"]) if rows else None

    def _write(self, batch: Sequence[_Entry], known: Mapping[str, _Entry]) -> None:
        if not batch:
            return
        same = {e.name for e in batch if e.name in known and known[e.name].content == e.content}
        cut = {e.name: split(Source(e.name, e.text)) for e in batch if e.name not in same}
        with self._database.transaction() as connection:
            for entry in batch:
                if entry.name in same:
                    connection.execute(
                        "UPDATE files SET place = ?, size_bytes = ?, modified_ns = ?, read_ns = ? "
                        "WHERE name = ?",
                        (entry.place, entry.size_bytes, entry.modified_ns, entry.read_ns, entry.name),
                    )
                else:
                    _forget(connection, entry.name)
                    _add(connection, entry, cut[entry.name])


def _read(
    file: SourceFile, place: int, read: Callable[[SourceFile], Source], on_skip: OnSkip
) -> _Entry | None:
    """Return a file as it is now; None for one that may be readable another time."""
    now = time.time_ns()
    state = (file.name, place, file.size_bytes, file.modified_ns, now)
    try:
        text = read(file).text
    except UnreadableError as error:
        on_skip(Skipped(file.name, error.reason))
        return _Entry(*state, b"", error.reason) if error.is_lasting else None
    return _Entry(*state, hashlib.blake2b(text.encode(), digest_size=16).digest(), None, text)


def _add(connection: sqlite3.Connection, entry: _Entry, passages: Sequence[Passage]) -> None:
    values = (
        *(entry.name, entry.place, entry.size_bytes, entry.modified_ns, entry.read_ns, entry.digest),
        *(entry.reason, entry.text, size_of(entry.text)),
    )
    file = connection.execute(
        "INSERT INTO files (name, place, size_bytes, modified_ns, read_ns, digest, reason, text, words) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    ).lastrowid
    about = PurePath(entry.name).stem
    for each in passages:
        row = connection.execute(
            "INSERT INTO passages (file, start, end, line, heading) VALUES (?, ?, ?, ?, ?)",
            (file, each.start, each.end, each.line, each.heading),
        ).lastrowid
        connection.execute(
            "INSERT INTO passages_index (rowid, text, heading) VALUES (?, ?, ?)",
            (row, " ".join(terms(each.text)), " ".join(terms(f"{about} {each.heading}"))),
        )


def _forget(connection: sqlite3.Connection, name: str) -> None:
    connection.execute(
        "DELETE FROM passages_index WHERE rowid IN "
        "(SELECT passages.id FROM passages JOIN files ON files.id = file WHERE name = ?)",
        (name,),
    )
    connection.execute("DELETE FROM files WHERE name = ?", (name,))


def is_damaged(error: StorageError) -> bool:
    """Tell whether an error means that the index must be made anew."""
    code = getattr(error.__cause__, "sqlite_errorcode", 0)
    return code & 0xFF in DAMAGE
