"""The tables of the database, as the list of steps that lead to them.

`PRAGMA user_version` counts the steps that a file has taken. A step that was released never changes;
a new one is added at the end.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE conversations (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            title TEXT NOT NULL DEFAULT '',
            model TEXT NOT NULL DEFAULT '',
            system TEXT NOT NULL DEFAULT '',
            settings TEXT NOT NULL DEFAULT '{}',
            forked_from TEXT,
            created REAL NOT NULL,
            updated REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX conversations_by_update ON conversations (updated)",
        """
        CREATE TABLE messages (
            id INTEGER PRIMARY KEY,
            conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
            role TEXT NOT NULL,
            text TEXT NOT NULL,
            thinking TEXT NOT NULL DEFAULT '',
            finish_reason TEXT,
            usage TEXT,
            timings TEXT,
            provenance TEXT,
            is_removed INTEGER NOT NULL DEFAULT 0,
            is_indexed INTEGER NOT NULL DEFAULT 0,
            created REAL NOT NULL
        )
        """,
        "CREATE INDEX messages_by_conversation ON messages (conversation, id)",
        "CREATE INDEX messages_to_index ON messages (id) WHERE NOT is_indexed",
        # A text that is attached again and again is kept once.
        "CREATE TABLE texts (sha256 TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE attachments (
            message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            name TEXT NOT NULL,
            sha256 TEXT NOT NULL REFERENCES texts (sha256),
            PRIMARY KEY (message, position)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX attachments_by_text ON attachments (sha256)",
    ),
)
