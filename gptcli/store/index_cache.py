"""Where the indexes of passages are kept: in the cache, one for each set of names."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptcli import paths
from gptcli.errors import StorageError
from gptcli.store.database import COMPANIONS, Database
from gptcli.store.passage_index import INDEX_FORM, MIGRATIONS

ENDING = ".passages"
MOST_BYTES = 1 << 30  # of all indexes


def index_path(names: Sequence[str]) -> Path:
    """Return where the index of what somebody named is kept: for the same names, the same file."""
    whole = (os.path.abspath(name) for name in names)  # noqa: PTH100  links are kept
    key = "\0".join((INDEX_FORM, *names, *whole))
    digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return paths.indexes_dir() / (digest + ENDING)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An index of so many files. `first` names one, `size` is in bytes, `used` a POSIX time."""

    path: Path
    files: int
    first: str
    size: int
    used: float


def entries(directory: Path) -> list[IndexEntry]:
    """Return the indexes of a directory, the last used first."""
    found = []
    for used, size, path in _by_use(directory):
        files, first = 0, ""
        with contextlib.suppress(StorageError):
            database = Database(path, read_only=True, migrations=MIGRATIONS)
            (row,) = database.rows("SELECT count(*), coalesce(min(name), '') FROM files")
            files, first = row
            database.close()
        found.append(IndexEntry(path, files, first, size, used))
    return found


def prune(directory: Path, most_bytes: int = MOST_BYTES, *, keep: Path | None = None) -> int:
    """Delete the longest unused indexes until the rest fits; return the bytes that were freed."""
    freed = left = 0
    for _, size, path in _by_use(directory):
        left += size
        if left > most_bytes and path != keep:
            discard(path)
            freed += size
            left -= size
    return freed


def discard(path: Path) -> None:
    """Delete an index."""
    for each in _files(path):
        with contextlib.suppress(OSError):
            each.unlink()


def _by_use(directory: Path) -> list[tuple[float, int, Path]]:
    """Return when each index was used, its size and its path, the last used first."""
    found = []
    for path in directory.glob(f"*{ENDING}"):
        with contextlib.suppress(FileNotFoundError):  # another process deletes as well
            size = sum(each.stat().st_size for each in _files(path))
            found.append((path.stat().st_mtime, size, path))
    return sorted(found, reverse=True)


def _files(path: Path) -> list[Path]:
    """Return the files of an index, those that were set aside as damaged included."""
    named = (Path(f"{path}{ending}") for ending in COMPANIONS)
    return [*(each for each in named if each.exists()), *path.parent.glob(f"{path.name}.damaged-*")]
