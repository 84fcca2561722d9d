"""Opens the SQLite file: private, shared by processes, never overwritten when it is damaged.

Import this where it is used: sqlite3 costs commands that keep nothing some milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gptcli.errors import StorageError

BUSY_TIMEOUT_S = 10.0  # a transaction of ours takes milliseconds
RETRY_S = 0.02
COMPANIONS = ("", "-wal", "-shm")  # the files of one database
SETTINGS = (
    "foreign_keys = ON",
    "secure_delete = ON",  # what is deleted is overwritten, not only unlinked
    "synchronous = NORMAL",  # whole after a crash of ours; a power cut may take the last moments
)
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Database:
    """A connection that threads may share. Every error of SQLite becomes a StorageError.

    The file is created at need, with mode 0600. One that is damaged is set aside under another name,
    with its companions, and a fresh one takes its place; `notices` says so. `migrations` are the steps
    that make its tables; an older file takes those that it has not taken.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        migrations: Sequence[Sequence[str]],
    ) -> None:
        """Open the file. Raises StorageError; if `read_only`, also when there is none."""
        self.path = path
        self._migrations = migrations
        self.notices: list[str] = []
        self._read_only = read_only
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        try:
            self._connected()
        except StorageError:
            if not self.notices:
                raise
            self._connected()  # the fresh one

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield the connection; what was written is committed at the end, or none of it is.

        Raises StorageError. A file that proves damaged is set aside: the next use finds a fresh one.
        """
        with self._lock, self._typed_errors():
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return what a query finds. Raises StorageError as `transaction` does."""
        with self.reading() as connection:
            found: list[sqlite3.Row] = connection.execute(statement, values).fetchall()
            return found

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """Yield the connection for queries. Raises StorageError as `transaction` does."""
        with self._lock, self._typed_errors():
            yield self._connected()

    def shrink(self) -> None:
        """Give back the room of what was deleted, and empty the log of changes that still tells of it.

        Where another process is reading, that is left to a later time.
        """
        with contextlib.suppress(StorageError), self.reading() as connection:
            connection.executescript("PRAGMA incremental_vacuum")  # execute would free one page
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection; a later use opens the file again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def _connected(self) -> sqlite3.Connection:
        with self._lock, self._typed_errors():
            if self._connection is None:
                self._connection = self._opened()
            return self._connection

    def _opened(self) -> sqlite3.Connection:
        if not self._read_only:
            _create(self.path)
        connection = self._connect()
        try:
            connection.row_factory = sqlite3.Row
            for setting in SETTINGS:
                connection.execute(f"PRAGMA {setting}")
            if not self._read_only:
                _use_wal(connection)
            _migrate(connection, self.path, self._migrations, may_write=not self._read_only)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        # No isolation level: transactions are begun by name.
        options = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False}
        if not self._read_only:
            return sqlite3.connect(self.path, **options)  # type: ignore[call-overload,no-any-return]
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(address, uri=True, **options)  # type: ignore[call-overload]
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.OperationalError:
            # In a directory that cannot be written, WAL needs to hear that nobody writes.
            connection.close()
            connection = sqlite3.connect(f"{address}&immutable=1", uri=True, **options)  # type: ignore[call-overload]
        assert isinstance(connection, sqlite3.Connection)
        return connection

    @contextmanager
    def _typed_errors(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code == sqlite3.SQLITE_CORRUPT_VTAB:  # an index, which can be made anew
                raise _storage_error(self.path, "the index of words is damaged") from error
            code &= 0xFF
            if code not in DAMAGE:
                raise _storage_error(self.path, str(error), code) from error
            if self._read_only:
                raise _storage_error(self.path, "the file is damaged", code) from error
            self._set_aside()
            raise StorageError(self.notices[-1]) from error
        except OSError as error:
            raise _storage_error(self.path, error.strerror or str(error)) from error

    def _set_aside(self) -> None:
        """Give a damaged file and its companions another name, unless another process just did."""
        from filelock import FileLock

        self.close()
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            if _is_sound(self.path):
                self.notices.append(f"{self.path} was damaged; another process set it aside")
                return
            aside = _free_name(self.path)
            for ending in COMPANIONS:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{ending}").rename(f"{aside}{ending}")
        self.notices.append(f"{self.path} is damaged: it was set aside as {aside.name}")


def _create(path: Path) -> None:
    """Make an empty private file, if there is none; SQLite gives its companions the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at once. Where the file system cannot, the file works without."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file: it can be made smaller
    give_up = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:  # the change of mode does not wait for others by itself
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(RETRY_S)


def _migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]], *, may_write: bool
) -> None:
    """Take the steps that the file has not taken: all of them, or none."""
    newest = len(migrations)
    if _version(connection) == newest:
        return
    if _version(connection) > newest:
        raise StorageError(
            f"{path} was written by a newer gptcli", hint="gptcli --version, and upgrade this one"
        )
    if not may_write:
        raise StorageError(f"{path} was written by an older gptcli, and cannot be changed")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in migrations[_version(connection) :]:  # another process may have been first
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_sound(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
        try:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.DatabaseError:
            return False


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = [f"{path.name}.damaged-{stamp}", *(f"{path.name}.damaged-{stamp}.{n}" for n in range(2, 99))]
    return next(free for name in names if not (free := path.with_name(name)).exists())


def _storage_error(path: Path, fact: str, code: int = 0) -> StorageError:
    if code == sqlite3.SQLITE_FULL:
        fact = "the disk is full"
    return StorageError(f"cannot use {path}: {fact}", hint="GPTCLI_DATA_DIR=/another/place gptcli …")
