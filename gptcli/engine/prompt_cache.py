"""Evaluated prompts on disk: a long document asked again, in a new process, is not read again.

A file holds the tokens of one prompt and the state of the model behind them. It serves every prompt
that begins as it does. The longest unused files go when the directory outgrows its limit; files appear
whole or not at all, and a damaged one counts for nothing.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
import os
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gptcli.engine.cells import common_prefix
from gptcli.files import replacing

MAGIC = b"gptcli prompt 1\n"
ENDING = ".prompt"
LEAST_TOKENS = 256  # a shorter prompt is as quickly evaluated as it is read from the disk
MOST_BYTES = 2 << 30
MOST_HEADER_BYTES = 1 << 16
SAMPLE_BYTES = 1 << 20
STALE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the cache. `used` is a POSIX time, `size` in bytes."""

    path: Path
    model: str
    tokens: int
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds of a prompt: its first `length` tokens are the prompt's."""

    tokens: list[int]
    length: int
    state: bytearray


def model_fingerprint(path: Path) -> str:
    """Return what tells one file of weights from another without reading it all.

    That is the hash in its name if it lies in the Hub's cache; else a hash of its size, its start, its
    end and samples between them.
    """
    real = path.resolve()
    if len(real.name) == 64 and set(real.name) <= set("0123456789abcdef"):
        return real.name
    digest = hashlib.sha256()
    with real.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        for at in sorted({max(0, size * n // 16 - SAMPLE_BYTES) for n in range(17)}):
            file.seek(at)
            is_end = at in (0, size - SAMPLE_BYTES)
            digest.update(file.read(SAMPLE_BYTES if is_end else SAMPLE_BYTES // 16))
    return digest.hexdigest()


def fingerprint_or(path: str, fallback: str) -> str:
    """Return the fingerprint of the weights at a path, or the fallback where no file can be read."""
    try:
        return model_fingerprint(Path(path))
    except OSError:
        return fallback


class PromptCache:
    """The files of one model with one build and one set of settings, which make up `key`."""

    def __init__(self, directory: Path, key: str, model: str, *, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._key = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._model = model
        self._most_bytes = most_bytes
        self._writer: threading.Thread | None = None

    def find(
        self, tokens: Sequence[int], least: int = 0, *, only_whole: bool = False, kind: str = ""
    ) -> Found | None:
        """Return the file that holds most of a prompt, if that is more than `least` tokens.

        `only_whole`: the state cannot be cut, so that all of the file must begin the prompt. `kind`: how
        it was evaluated; only what was saved as such is found.
        """
        best: tuple[int, Path] | None = None
        for path in self._directory.glob(f"{self._key}{kind}-*{ENDING}"):
            with contextlib.suppress(OSError, ValueError):
                held = _read_head(path).tokens
                length = common_prefix(held, tokens)
                if only_whole and length < len(held):
                    continue
                if length >= max(LEAST_TOKENS, least + 1) and (best is None or length > best[0]):
                    best = length, path
        if best is None:
            return None
        length, path = best
        try:
            head = _read_head(path)
            with path.open("rb") as file:
                # One copy, which the model reads from: two would show in the peak of memory.
                state = bytearray(max(0, os.fstat(file.fileno()).st_size - head.offset))
                file.seek(head.offset)
                file.readinto(state)
            packed = array.array("i", head.tokens).tobytes()
            if zlib.crc32(state, zlib.crc32(packed)) != head.crc:
                raise ValueError("damaged")
            os.utime(path)
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return Found(head.tokens, length, state)

    def save(self, tokens: Sequence[int], state: bytes | memoryview, *, kind: str = "") -> None:
        """Write a file in the background; what fails is left."""
        if len(tokens) < LEAST_TOKENS or len(state) > self._most_bytes // 4:
            return
        self.finish()
        self._writer = threading.Thread(
            target=self._write, args=(list(tokens), state, kind), daemon=True
        )
        self._writer.start()

    def finish(self, timeout_s: float | None = None) -> None:
        """Wait until what is being written is there."""
        if self._writer is not None:
            self._writer.join(timeout_s)

    def _write(self, tokens: list[int], state: bytes | memoryview, kind: str) -> None:
        packed = array.array("i", tokens).tobytes()
        name = f"{self._key}{kind}-{hashlib.sha256(packed).hexdigest()[:24]}{ENDING}"
        head = {
            "key": self._key,
            "model": self._model,
            "tokens": len(tokens),
            "crc": zlib.crc32(state, zlib.crc32(packed)),
        }
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(self._directory / name, private=True, durable=False) as file:
                file.write(MAGIC + json.dumps(head).encode() + b"\n" + packed)
                file.write(state)
            prune(self._directory, self._most_bytes)


def entries(directory: Path) -> list[Entry]:
    """Return the files of a cache, the last used first."""
    found = []
    for path in directory.glob(f"*{ENDING}"):
        with contextlib.suppress(OSError, ValueError):
            head, status = _read_head(path), path.stat()
            found.append(Entry(path, head.model, len(head.tokens), status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def prune(directory: Path, most_bytes: int) -> int:
    """Delete the longest unused files until the rest fits; return the bytes that were freed.

    Files that are none, and drafts that were left behind, go as well.
    """
    known = entries(directory)
    freed, kept = 0, 0
    for entry in known:
        kept += entry.size
        if kept > most_bytes:
            freed += _delete(entry.path)
            kept -= entry.size
    whole = {entry.path for entry in known}
    for path in _files(directory):
        if path not in whole and time.time() - path.stat().st_mtime > STALE_S:
            freed += _delete(path)
    return freed


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if ENDING in path.name and path.is_file():
            yield path


def _delete(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except OSError:
        return 0
    return size


class _Head(NamedTuple):
    """What a file says before its state, which begins at byte `offset`."""

    key: str
    model: str
    crc: int
    tokens: list[int]
    offset: int


def _read_head(path: Path) -> _Head:
    """Return what a file says of itself. Raises ValueError for a damaged one, and OSError."""
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError("not one of ours")
        head = json.loads(file.readline(MOST_HEADER_BYTES))
        try:
            key, model = str(head["key"]), str(head["model"])
            crc, count = int(head["crc"]), int(head["tokens"])
        except (KeyError, TypeError) as error:
            raise ValueError("damaged") from error
        tokens = array.array("i")
        tokens.frombytes(file.read(4 * count))
        if len(tokens) != count:
            raise ValueError("damaged")
        return _Head(key, model, crc, tokens.tolist(), file.tell())
