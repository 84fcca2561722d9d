"""How the user is told what is wrong with a model file: in one line, whatever bytes it holds."""

from __future__ import annotations

import shlex
from pathlib import Path

from gptcli.errors import ModelFileError, ModelNotFoundError

DOWNLOAD_AGAIN = "download it again"
OTHER_FILE = "use another file: gptcli generate -m path/to/model.gguf …"
UPGRADE = "upgrade, then try again: pip install --upgrade gptcli"


def file_error(path: Path, fact: str, hint: str, **details: object) -> ModelFileError:
    """Return the error that says `fact` of the file: a verb, and what follows it."""
    return ModelFileError(f"{quoted(path.name or str(path))} {fact}", hint=_printable(hint), **details)


def damaged_header(path: Path, fact: str) -> ModelFileError:
    return file_error(path, f"{fact}: its header is damaged", DOWNLOAD_AGAIN)


def cut_header(path: Path, size: int) -> ModelFileError:
    return file_error(
        path, f"ends inside its header, after {size:,} bytes: it is cut off or damaged", DOWNLOAD_AGAIN
    )


def not_found(path: Path) -> ModelNotFoundError:
    if path.is_symlink():
        return ModelNotFoundError(
            f"{quoted(path.name)} is a link to a file that is gone", hint=DOWNLOAD_AGAIN
        )
    return ModelNotFoundError(
        f"there is no file {quoted(str(path), 200)}",
        hint="check the path, or: gptcli generate -m starter …",
    )


def unreadable(path: Path, error: OSError) -> ModelFileError:
    fact = f"cannot be read: {(error.strerror or 'unknown error').lower()}"
    if isinstance(error, PermissionError):
        return file_error(path, fact, f"chmod u+r {shlex.quote(str(path))}")
    return file_error(path, fact, f"ls -l {shlex.quote(str(path))}")


def quoted(text: str, limit: int = 80) -> str:
    """Return the text in quotes, on one line, without control characters: a file may hold anything."""
    return f'"{_printable(text if len(text) <= limit else text[: limit - 1] + "…")}"'


def _printable(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )
