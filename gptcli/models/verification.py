"""Compares the files of models with the hashes that they were published with, without the network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptcli.models import records
from gptcli.models.cache import sha256_by_name
from gptcli.models.faults import not_found, unreadable
from gptcli.models.inventory import Entry, inventory
from gptcli.models.registry import load_registry
from gptcli.models.resolve import find_file
from gptcli.models.spec import parse_spec

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileToCheck:
    """A model's file, its size in bytes, and the SHA-256 that it should have; None: not known."""

    name: str
    path: Path
    size: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Checked:
    """What a file's SHA-256 turned out to be."""

    file: FileToCheck
    sha256: str

    @property
    def is_damaged(self) -> bool:
        return self.file.sha256 not in (None, self.sha256)

    @property
    def word(self) -> str:
        """Return ok, DAMAGED, or unknown where nothing says what the hash should be."""
        return "unknown" if self.file.sha256 is None else "DAMAGED" if self.is_damaged else "ok"


def files_to_check(specs: Sequence[str] | None) -> list[FileToCheck]:
    """Return the files of the named models, or of all complete ones on this machine.

    Raises ModelNotFoundError for a model that is not here.
    """
    entries = [entry for entry in inventory() if entry.state == "complete"]
    if specs:
        wanted = [find_file(parse_spec(spec)) for spec in specs]
        known = {entry.path: entry for entry in entries}
        files = []
        for spec, path in zip(specs, wanted, strict=True):
            if path in known:
                files += _of_entry(known[path])
            else:
                files.append(_file(spec, path, None))
        return files
    return [file for entry in entries for file in _of_entry(entry)]


def verified(file: FileToCheck, on_progress: Callable[[int], None]) -> Checked:
    """Return the file's hash. Raises ModelFileError when it cannot be read."""
    digest, done = hashlib.sha256(), 0
    try:
        with file.path.open("rb") as source:
            while block := source.read(BLOCK_BYTES):
                digest.update(block)
                done += len(block)
                on_progress(done)
    except OSError as error:
        raise unreadable(file.path, error) from error
    return Checked(file, digest.hexdigest())


def _of_entry(entry: Entry) -> list[FileToCheck]:
    if entry.source == "package":
        pinned = load_registry().models[entry.name].files[0].sha256
        return [_file(entry.name, entry.path, pinned)]
    if entry.source == "import":
        return [_file(entry.name, entry.path, sha256_by_name(entry.path))]
    snapshot = next(parent for parent in entry.path.parents if parent.name == entry.revision)
    locked = records.locked_files(entry.repo)
    files = []
    for path in entry.paths:
        known = locked.get(path.relative_to(snapshot).as_posix())
        pinned = known.sha256 if known is not None and known.commit == entry.revision else None
        files.append(_file(entry.name, path, pinned or sha256_by_name(path)))
    return files


def _file(name: str, path: Path, sha256: str | None) -> FileToCheck:
    try:
        return FileToCheck(name, path, path.stat().st_size, sha256)
    except OSError as error:
        raise not_found(path) from error
