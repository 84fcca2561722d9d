"""Files that appear whole or not at all: a draft beside them takes their place once it is complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a draft to be written; at the end it takes the place of the file. Raises OSError.

    On any exception the draft goes, and what was there stays. A link stays one, and a file keeps its
    permissions, unless `private`: then it is its owner's alone. What is no file, such as a terminal or
    a pipe, is written to as it is. `durable`: a loss of power leaves the old file or the new one, which
    takes the disk some milliseconds; what can be made again does without.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    target = path.resolve()
    mode = 0o600 if private else _mode(target)
    draft = target.with_name(f".{target.name}.{os.urandom(4).hex()}")
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, mode or 0o666)) as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        if mode is not None:
            draft.chmod(mode)
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


def write_whole(path: Path, data: str | bytes, *, private: bool = False, durable: bool = True) -> None:
    """Write a file in one piece, text as UTF-8. Raises OSError; see `replacing`."""
    with replacing(path, private=private, durable=durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def _mode(path: Path) -> int | None:
    """Return a file's permissions, None if there is no file."""
    try:
        return path.stat().st_mode & 0o7777
    except FileNotFoundError:
        return None
