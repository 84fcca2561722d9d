"""What is remembered of pulls: the commit and hashes taken first, accepted licences, imported files.

Small JSON files in the data directory. A repository without a pin is trusted at its first pull; from
then on, the same commit and hashes are expected, until the user asks for newer ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptcli import paths
from gptcli.errors import StorageError, UsageError
from gptcli.files import write_whole


@dataclass(frozen=True, slots=True)
class LockedFile:
    """A file as it was pulled: the commit, its size in bytes, its SHA-256, the day."""

    commit: str
    size: int
    sha256: str
    date: str


def locked_files(key: str) -> dict[str, LockedFile]:
    """Return what was pulled of a repository (or of repository@revision), by path.

    Raises UsageError if the lock file is damaged.
    """
    files = _read(paths.models_lock_file()).get(key, {})
    try:
        found = {path: LockedFile(**facts) for path, facts in files.items()}
        for file in found.values():
            if [type(fact) for fact in asdict(file).values()] != [str, int, str, str]:
                raise TypeError("a fact of another type")
        return found
    except (AttributeError, TypeError) as error:
        raise _damaged(paths.models_lock_file()) from error


def lock_file(key: str, path: str, *, commit: str, size: int, sha256: str) -> None:
    """Remember a file that was pulled and checked. Raises StorageError."""
    with _changing(paths.models_lock_file()) as known:
        entry = LockedFile(commit, size, sha256, today())
        known.setdefault(key, {})[path] = asdict(entry)


def is_accepted(license_id: str, repo: str) -> bool:
    """Tell whether a licence was accepted; one without a name of its own, for this repository."""
    return _license_key(license_id, repo) in _read(paths.licenses_file())


def accept_license(license_id: str, repo: str) -> None:
    """Remember that the user accepted a licence, and when. Raises StorageError."""
    with _changing(paths.licenses_file()) as known:
        known[_license_key(license_id, repo)] = today()


def imported() -> dict[str, Path]:
    """Return the files that the user gave a name, by alias."""
    return {alias: Path(str(path)) for alias, path in _read(paths.imports_file()).items()}


def import_file(alias: str, path: Path) -> None:
    """Give a file a name. Raises StorageError."""
    with _changing(paths.imports_file()) as known:
        known[alias] = str(path)


def forget_import(alias: str) -> None:
    """Take a file's name away. Raises StorageError."""
    with _changing(paths.imports_file()) as known:
        known.pop(alias, None)


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def _license_key(license_id: str, repo: str) -> str:
    return repo if license_id in ("other", "unknown", "") else license_id


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _damaged(path: Path) -> UsageError:
    return UsageError(f"{path} is damaged", hint=f"look at it, or move it away: mv {path} {path}.old")


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's content to be changed; write it back whole. Two pulls may end at once."""
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            content = _read(path)
            yield content
            write_whole(path, _text(content))
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="GPTCLI_DATA_DIR=/another/place gptcli …"
        ) from error


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
