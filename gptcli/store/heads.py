"""Heads on disk: a JSON file each, with a checksum; nothing of a file is ever run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptcli import paths
from gptcli.errors import GptcliError, StorageError, UsageError
from gptcli.files import write_whole
from gptcli.tasks.heads import Head

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class HeadFileError(GptcliError):
    """A file that is no head, or not as it was written."""

    code = "head_file"


def head_path(name: str) -> Path:
    """Return the file of a head. Raises UsageError for what cannot be a name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a head's name", hint="letters, digits, dots, hyphens, underscores"
        )
    return paths.heads_dir() / f"{name}.json"


def head_names() -> list[str]:
    """Return the names of the heads that there are."""
    return sorted(path.stem for path in paths.heads_dir().glob("*.json") if NAME.fullmatch(path.stem))


def keep_head(name: str, head: Head) -> Path:
    """Write a head, whole or not at all; return its file. Raises UsageError and StorageError."""
    path = head_path(name)
    members = head.members()
    text = json.dumps({"sha256": _checksum(members), "head": members}, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="GPTCLI_DATA_DIR=/another/place gptcli …"
        ) from error
    return path


def find_head(name: str) -> Head:
    """Return a head. Raises UsageError where there is none, HeadFileError for a damaged one."""
    path = head_path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        known = head_names()
        raise UsageError(
            f'there is no head "{name}"',
            hint="gptcli heads list" if known else f"gptcli fit DATA --text COL --label COL -o {name}",
        ) from error
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _refused(path, name, "it is no text") from error
    try:
        content = json.loads(text)
        members = content["head"]
        if content["sha256"] != _checksum(members):
            raise _refused(path, name, "it was changed after it was written")
        return Head.from_members(members)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(path, name, "it is not what gptcli fit writes") from error


def remove_head(name: str) -> None:
    """Delete a head. Raises UsageError where there is none, and StorageError."""
    path = head_path(name)
    try:
        path.unlink()
    except FileNotFoundError as error:
        raise UsageError(f'there is no head "{name}"', hint="gptcli heads list") from error
    except OSError as error:
        raise StorageError(f"cannot delete {path}: {error.strerror}") from error


def _checksum(members: Mapping[str, Any]) -> str:
    text = json.dumps(members, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _refused(path: Path, name: str, why: str) -> HeadFileError:
    return HeadFileError(
        f"the head in {path} is refused: {why}", hint=f"gptcli heads rm {name}, then gptcli fit again"
    )
