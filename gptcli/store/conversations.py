"""Conversations in SQLite: each message is on the disk before anything is made of it.

Chats are conversations, and so are the runs of other commands, which differ by their kind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptcli.engine.api import FinishReason, Timings, Usage
from gptcli.errors import StorageError, UsageError
from gptcli.messages import Role
from gptcli.store import fulltext, schema
from gptcli.store.database import Database
from gptcli.store.growing import Draft, GrowingAnswers
from gptcli.store.records import (
    Attachment,
    ConversationSummary,
    Provenance,
    StoredConversation,
    read_conversation,
    read_message,
    read_summary,
)

# Crockford's base 32: in the order of ASCII, without letters that read like digits.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 8
ID_UNIT_S = 0.01
ID_EPOCH_S = 1577836800  # 2020-01-01; 8 digits of 10 ms last until 2368

CANDIDATES_NAMED = 5
SUMMARY = """
    SELECT c.*,
        (SELECT count(*) FROM messages WHERE conversation = c.id AND NOT is_removed) AS message_count,
        (SELECT substr(text, 1, 200) FROM messages
            WHERE conversation = c.id AND role = 'user' AND NOT is_removed
            ORDER BY id LIMIT 1) AS first_text
    FROM conversations AS c
"""
SUMMARIES = """
    WHERE EXISTS (SELECT 1 FROM messages WHERE conversation = c.id)
        AND (?1 IS NULL OR c.kind = ?1) AND (?2 IS NULL OR c.updated < ?2)
    ORDER BY c.updated DESC, c.id DESC LIMIT ?3
"""
NAMED = """
    WHERE c.title = ?1 OR substr(c.id, 1, length(?2)) = ?2
    ORDER BY c.id = ?2 DESC, c.updated DESC LIMIT ?3
"""


class Conversations:
    """The conversations of one database. Methods may be called from any thread.

    Every method raises StorageError when the disk refuses, or when another process deleted the
    conversation; a caller who can go on without being remembered makes a warning of it.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the database at `path` (`paths.logs_file()`); create it unless `read_only`."""
        self._database = Database(path, read_only=read_only, migrations=schema.MIGRATIONS)
        self._growing = GrowingAnswers(self._write_drafts)

    @property
    def notices(self) -> Sequence[str]:
        """What the user should hear: that a damaged file was set aside, and where it is."""
        return tuple(self._database.notices)

    # ------------------------------------------------------------------------------------- writing

    def begin(
        self, kind: str, model: str, *, system: str = "", settings: Mapping[str, Any] | None = None
    ) -> str:
        """Begin a conversation; return its id: short, unique, in the order of time.

        Begin it with its first message: one without messages is no conversation.
        """
        now = time.time()
        with self._database.transaction() as connection:
            cid = _next_id(connection, now)
            connection.execute(
                "INSERT INTO conversations (id, kind, model, system, settings, created, updated)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (cid, kind, _clean(model), _clean(system), _json(settings or {}), now, now),
            )
        return cid

    def add(
        self,
        cid: str,
        role: Role,
        text: str,
        attachments: Iterable[Attachment] = (),
        *,
        provenance: Provenance | None = None,
    ) -> int:
        """Add a message, committed when this returns; return its id.

        An answer is added empty before the model is asked; then it grows, and is finished.
        """
        origin = None if provenance is None else _json(asdict(provenance))
        with self._database.transaction() as connection:
            now = _touch(connection, cid)
            message_id = _next_message_id(connection, now)
            connection.execute(
                "INSERT INTO messages (id, conversation, role, text, provenance, created)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (message_id, cid, role, _clean(text), origin, now),
            )
            for position, attachment in enumerate(attachments):
                _attach(connection, message_id, position, attachment)
        return message_id

    def grow(self, message_id: int, text: str, *, thinking: str = "") -> None:
        """Note an answer so far: on the disk within half a second. Never blocks, never raises."""
        self._growing.note(message_id, Draft(text, thinking))

    def flush(self) -> None:
        """Write what `grow` noted, now; raise what went wrong with it in the meantime."""
        self._growing.flush()

    def finish(
        self,
        message_id: int,
        text: str,
        finish_reason: FinishReason,
        usage: Usage | None = None,
        timings: Timings | None = None,
        *,
        thinking: str = "",
    ) -> None:
        """Write a whole answer, and how it ended. If that fails, `flush` and `close` try its text."""
        values = (
            _clean(text),
            _clean(thinking),
            finish_reason,
            None if usage is None else _json(asdict(usage)),
            None if timings is None else _json(asdict(timings)),
            message_id,
        )
        self._growing.settle(message_id)
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE messages SET text = ?, thinking = ?, finish_reason = ?, usage = ?,"
                    " timings = ?, is_indexed = 0 WHERE id = ?",
                    values,
                )
                _touch_message(connection, message_id)
        except StorageError:
            self._growing.note(message_id, Draft(text, thinking))
            raise

    def reopen(self, message_id: int) -> None:
        """Make a finished answer an unfinished one, to be continued: it grows, and is finished again."""
        with self._database.transaction() as connection:
            _touch_message(connection, message_id)
            connection.execute("UPDATE messages SET finish_reason = NULL WHERE id = ?", (message_id,))

    def remove_after(self, cid: str, message_id: int) -> None:
        """Take back the messages after one (0: all): they are kept, and marked as removed."""
        with self._database.transaction() as connection:
            _touch(connection, cid)
            connection.execute(
                "UPDATE messages SET is_removed = 1 WHERE conversation = ? AND id > ?", (cid, message_id)
            )

    def fork(self, cid: str, upto: int | None = None) -> str:
        """Copy a conversation up to and with a message (None: all of it); return the copy's id.

        Raises UsageError if there is no such conversation.
        """
        now = time.time()
        with self._database.transaction() as connection:
            fork = _next_id(connection, now)
            made = connection.execute(
                "INSERT INTO conversations"
                " (id, kind, title, model, system, settings, forked_from, created, updated)"
                " SELECT ?, kind, title, model, system, settings, id, ?, ? FROM conversations"
                " WHERE id = ?",
                (fork, now, now, cid),
            )
            if not made.rowcount:
                raise _unknown(cid)
            copied = connection.execute(
                "SELECT id FROM messages WHERE conversation = ? AND NOT is_removed AND id <= ?"
                " ORDER BY id",
                (cid, 2**63 - 1 if upto is None else upto),
            ).fetchall()
            for row in copied:
                _copy_message(connection, row["id"], fork)
        return fork

    def rename(self, cid: str, title: str) -> None:
        """Give a conversation a title, which `resolve` finds too; an empty one takes it away."""
        self._set(cid, "title", _clean(title))

    def set_model(self, cid: str, model: str) -> None:
        """Say which model answers from now on."""
        self._set(cid, "model", _clean(model))

    def set_system(self, cid: str, system: str) -> None:
        """Replace the system prompt."""
        self._set(cid, "system", _clean(system))

    def set_settings(self, cid: str, settings: Mapping[str, Any]) -> None:
        """Replace what the command keeps with the conversation: any JSON."""
        self._set(cid, "settings", _json(settings))

    def delete(self, cids: Iterable[str]) -> int:
        """Delete conversations for good, their text overwritten; return how many there were."""
        count = 0
        with self._database.transaction() as connection:
            for cid in cids:
                fulltext.forget(connection, cid)
                count += connection.execute("DELETE FROM conversations WHERE id = ?", (cid,)).rowcount
            fulltext.merge(connection)
            connection.execute("DELETE FROM texts WHERE sha256 NOT IN (SELECT sha256 FROM attachments)")
        self._database.shrink()
        return count

    # ------------------------------------------------------------------------------------- reading

    def load(self, cid: str, *, with_removed: bool = False) -> StoredConversation:
        """Return a conversation, an unfinished answer included. Raises UsageError if there is none."""
        found = self._database.rows("SELECT * FROM conversations WHERE id = ?", (cid,))
        if not found:
            raise _unknown(cid)
        attachments: dict[int, list[Attachment]] = {}
        for row in self._database.rows(
            "SELECT a.message, a.name, t.text FROM attachments AS a JOIN texts AS t USING (sha256)"
            " JOIN messages AS m ON m.id = a.message WHERE m.conversation = ? ORDER BY a.position",
            (cid,),
        ):
            attachments.setdefault(row["message"], []).append(Attachment(row["name"], row["text"]))
        rows = self._database.rows(
            "SELECT * FROM messages WHERE conversation = ? AND is_removed <= ? ORDER BY id",
            (cid, with_removed),
        )
        messages = tuple(read_message(row, tuple(attachments.get(row["id"], ()))) for row in rows)
        return read_conversation(found[0], messages)

    def last(self, kind: str | None = "chat") -> str | None:
        """Return the conversation of a kind (None: any) that was last written to, if there is one."""
        found = self.summaries(kind, limit=1)
        return found[0].id if found else None

    def resolve(self, name: str) -> str:
        """Return the id that a title or the beginning of an id names.

        Raises UsageError for none, and for several: then it names them.
        """
        rows = self._database.rows(SUMMARY + NAMED, (name, name.lower(), CANDIDATES_NAMED + 1))
        found = [read_summary(row) for row in rows]
        if not name or not found:
            raise _unknown(name)
        if len(found) > 1 and found[0].id != name.lower():
            named = ", ".join(f"{each.id} ({each.title})" for each in found[:CANDIDATES_NAMED])
            more = " and more" if len(found) > CANDIDATES_NAMED else ""
            raise UsageError(f'"{name}" may be {named}{more}', hint="more characters of the id")
        return found[0].id

    def summaries(
        self, kind: str | None = None, *, limit: int | None = None, before: float | None = None
    ) -> list[ConversationSummary]:
        """Return conversations, the last written first; `before`: last written before a POSIX time."""
        rows = self._database.rows(SUMMARY + SUMMARIES, (kind, before, -1 if limit is None else limit))
        return [read_summary(row) for row in rows]

    def search(
        self, query: str, kind: str | None = None, *, limit: int | None = None
    ) -> list[tuple[ConversationSummary, str]]:
        """Return the conversations with a message that has all words, and the text around the first.

        The last written first. A "phrase in quotes" counts as a word; case does not count.
        """
        words = fulltext.words_of(query)
        if not words:
            raise UsageError("there is nothing to search for", hint="gptcli logs search WORD…")
        try:
            hits = self._find(words)
        except StorageError:  # the index is made anew: it holds nothing of its own
            with self._database.transaction() as connection:
                fulltext.drop_index(connection)
            hits = self._find(words)
        found = [each for each in self.summaries(kind) if each.id in hits][:limit]
        return [(each, fulltext.excerpt(hits[each.id], words)) for each in found]

    def close(self) -> None:
        """Write what is noted, and close the database."""
        try:
            self._growing.flush()
        finally:
            self._database.close()

    # ------------------------------------------------------------------------------------- helpers

    def _find(self, words: Sequence[str]) -> dict[str, str]:
        with contextlib.suppress(StorageError), self._database.transaction() as connection:
            fulltext.update_index(connection)
        with self._database.reading() as connection:
            return fulltext.find(connection, words)

    def _set(self, cid: str, column: str, value: str) -> None:
        with self._database.transaction() as connection:
            _touch(connection, cid)
            connection.execute(f"UPDATE conversations SET {column} = ? WHERE id = ?", (value, cid))  # noqa: S608

    def _write_drafts(self, drafts: Mapping[int, Draft]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE messages SET text = ?, thinking = ?, is_indexed = 0 WHERE id = ?",
                [(_clean(each.text), _clean(each.thinking), key) for key, each in drafts.items()],
            )


def _next_id(connection: sqlite3.Connection, now: float) -> str:
    """Return an id later than all others; the transaction keeps other processes from taking it."""
    number = int((now - ID_EPOCH_S) / ID_UNIT_S)
    last = connection.execute("SELECT max(id) FROM conversations").fetchone()[0]
    if last is not None:
        number = max(number, _number(last) + 1)
    digits = (ALPHABET[number >> 5 * place & 31] for place in reversed(range(ID_LENGTH)))
    return "".join(digits)


def _next_message_id(connection: sqlite3.Connection, now: float) -> int:
    """Return the time in microseconds, or one more than the last id.

    So an answer that still grows when its database is set aside has no namesake in the fresh one: no
    message takes so little time that ids would run ahead of the clock.
    """
    last = connection.execute("SELECT max(id) FROM messages").fetchone()[0]
    return max(int(now * 1_000_000), (last or 0) + 1)


def _number(cid: str) -> int:
    number = 0
    for digit in cid:
        number = number << 5 | ALPHABET.index(digit)
    return number


def _touch(connection: sqlite3.Connection, cid: str) -> float:
    """Say that a conversation is written to now; return the time. Raises StorageError if it is gone."""
    now = time.time()
    if not connection.execute("UPDATE conversations SET updated = ? WHERE id = ?", (now, cid)).rowcount:
        raise StorageError(f"the conversation {cid} is no longer there", hint="gptcli logs list")
    return now


def _touch_message(connection: sqlite3.Connection, message_id: int) -> None:
    rows = connection.execute("SELECT conversation FROM messages WHERE id = ?", (message_id,)).fetchall()
    if not rows:
        raise StorageError("the conversation is no longer there", hint="gptcli logs list")
    _touch(connection, rows[0]["conversation"])


def _attach(
    connection: sqlite3.Connection, message_id: int, position: int, attachment: Attachment
) -> None:
    text = _clean(attachment.text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    connection.execute("INSERT OR IGNORE INTO texts (sha256, text) VALUES (?, ?)", (sha256, text))
    connection.execute(
        "INSERT INTO attachments (message, position, name, sha256) VALUES (?, ?, ?, ?)",
        (message_id, position, _clean(attachment.name), sha256),
    )


def _copy_message(connection: sqlite3.Connection, message_id: int, cid: str) -> None:
    copy = _next_message_id(connection, time.time())
    columns = "role, text, thinking, finish_reason, usage, timings, provenance, created"
    connection.execute(
        f"INSERT INTO messages (id, conversation, {columns}) SELECT ?, ?, {columns} FROM messages"  # noqa: S608
        " WHERE id = ?",
        (copy, cid, message_id),
    )
    connection.execute(
        "INSERT INTO attachments (message, position, name, sha256)"
        " SELECT ?, position, name, sha256 FROM attachments WHERE message = ?",
        (copy, message_id),
    )


def _clean(text: str) -> str:
    """Return text that UTF-8 can hold: what an argument carried of broken bytes is replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=str)


def _unknown(name: str) -> UsageError:
    return UsageError(f'there is no conversation "{name}"', hint="gptcli logs list")
