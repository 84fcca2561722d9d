"""Brings one file of a repository into the cache: continued where it broke off, and checked."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2

from gptcli.errors import GptcliError, NetworkError, StorageError
from gptcli.files import write_whole
from gptcli.models.cache import blob_path, lock_path, part_path, repo_dir
from gptcli.models.hub.client import MOST_PATIENCE_S, Hub, Location
from gptcli.models.hub.faults import (
    Attempt,
    is_passing,
    may_have_expired,
    mismatch,
    retry_after,
    status_of,
    translated,
)
from gptcli.models.hub.library import import_library
from gptcli.models.quants import RepoFile
from gptcli.paths import hub_cache_dir

MOST_FAILURES = 6  # in a row, without progress
MOST_REFUSALS = 3  # of these, 403: an address may expire, but not each one at once
PROGRESS_BYTES = 1 << 20  # and 1 % of the file; less than both is none: a server may drip for ever
SPARE_SHARE = 1.02  # of the bytes still to come must be free on the disk
HASH_BLOCK = 1 << 20


class Report(Protocol):
    """Is told how a file comes along."""

    def progress(self, done: int) -> None:
        """So many bytes of the file are here."""

    def checked(self, done: int) -> None:
        """So many bytes that were here already have been hashed."""

    def note(self, text: str) -> None:
        """Something happened that is worth a line."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file in the cache: its name there, its SHA-256, and the bytes that came over the network."""

    path: Path
    sha256: str
    received: int


def fetch(
    hub: Hub, repo: str, commit: str, file: RepoFile, report: Report, *, sha256: str | None = None
) -> Fetched:
    """Return the file in the cache, downloaded if it is not there; its hash is checked before it counts.

    `sha256` is the one that it must have; by default what the repository says. A git hash is checked
    where the server knows no other. Raises NetworkError, IntegrityError, ModelNotFoundError and
    StorageError.
    """
    location = hub.locate(repo, commit, file.path)
    wanted = _Wanted.agreed(repo, file, location, sha256)
    transfer = _Transfer(hub, repo, commit, file.path, location, wanted, report)
    try:
        with transfer.lock():
            digest = transfer.existing() or transfer.download()
        return Fetched(transfer.link(), digest, transfer.received)
    except OSError as error:
        raise _storage_error(error, file.path) from error


def mark_head(repo: str, commit: str) -> None:
    """Write down that the commit is the head of main, as `hf` does; llama.cpp looks there offline."""
    path = repo_dir(repo) / "refs" / "main"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, commit)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the whole file must be: its name among the blobs, its size, and its hash."""

    path: str
    etag: str
    size: int
    sha256: str | None

    @classmethod
    def agreed(cls, repo: str, file: RepoFile, location: Location, pin: str | None) -> _Wanted:
        served = location.etag if re.fullmatch(r"[0-9a-f]{64}", location.etag) else None
        said = [each for each in (pin, file.sha256, served) if each]
        hint = f"look at https://huggingface.co/{repo}; to trust it: gptcli models pull {repo} --update"
        if len(set(said)) > 1:
            fact = f"{file.path} of {repo} is not the file that was expected (SHA-256 differs)"
            raise mismatch(fact, said[0], said[-1], hint)
        size = location.size or file.size
        if file.size and size != file.size:
            fact = f"{file.path} of {repo} has {size:,} bytes, not {file.size:,}"
            raise mismatch(fact, str(file.size), str(size), hint)
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", location.etag):
            raise NetworkError(
                f"the server names no hash of {file.path}", hint="HF_ENDPOINT=https://huggingface.co …"
            )
        return cls(file.path, location.etag, size, said[0] if said else None)

    def digests(self) -> _Digests:
        return _Digests(self)

    def check(self, digests: _Digests) -> bool:
        if self.sha256 is not None:
            return digests.sha256 == self.sha256
        return digests.git == self.etag


class _Digests:
    """SHA-256, and git's hash of a file (SHA-1 with a header) where that is the only one to compare."""

    def __init__(self, wanted: _Wanted) -> None:
        self._sha256 = hashlib.sha256()
        self._git = None
        if wanted.sha256 is None:
            self._git = hashlib.sha1(b"blob %d\0" % wanted.size, usedforsecurity=False)

    def update(self, block: bytes) -> None:
        self._sha256.update(block)
        if self._git is not None:
            self._git.update(block)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def git(self) -> str:
        return self._git.hexdigest() if self._git is not None else ""


class _Transfer:
    """One file on its way."""

    def __init__(
        self,
        hub: Hub,
        repo: str,
        commit: str,
        path: str,
        location: Location,
        wanted: _Wanted,
        report: Report,
    ) -> None:
        self._hub, self._repo, self._commit, self._path = hub, repo, commit, path
        self._location: Location | None = location
        self._wanted, self._report = wanted, report
        self._blob, self._part = blob_path(repo, wanted.etag), part_path(repo, wanted.etag)
        self._digests = wanted.digests()
        self.received = 0

    def lock(self) -> Any:
        """Return a context in which no other program brings this file; `hf` takes the same lock."""
        path = lock_path(self._repo, self._wanted.etag)
        path.parent.mkdir(parents=True, exist_ok=True)
        return _PatientLock(path, self._part, self._report)

    def existing(self) -> str | None:
        """Return the hash of the file if it is in the cache already; a damaged one is removed."""
        if not self._blob.is_file():
            return None
        digests = self._wanted.digests()
        _hash_file(self._blob, digests, self._report.checked)
        if self._wanted.check(digests):
            return digests.sha256
        self._report.note(f"{self._path} in the cache is damaged: downloading it again")
        self._blob.unlink()
        return None

    def download(self) -> str:
        """Return the hash of the file, which is in the cache then."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        begun = self._part.stat().st_size if self._part.exists() else 0
        _check_room(self._part.parent, self._wanted.size - begun, self._path)
        try:
            with self._part.open("ab", buffering=0) as part:
                if begun > self._wanted.size:
                    self._start_over(part)
                elif begun:
                    _hash_file(self._part, self._digests, self._report.checked)
                    self._report.note(f"going on with {self._path} at {begun / 1e6:,.1f} MB")
                self._receive_all(part)
                os.fsync(part.fileno())
        except BaseException:
            if self._part.is_file() and not self._part.stat().st_size:
                self._part.unlink()
            raise
        if not self._wanted.check(self._digests):
            self._part.unlink()
            raise mismatch(
                f"{self._path} did not arrive as it was published (SHA-256 differs); nothing was kept",
                self._wanted.sha256 or self._wanted.etag,
                self._digests.sha256,
                "the same again; if it stays so, try another network or mirror",
            )
        self._part.replace(self._blob)
        return self._digests.sha256

    def link(self) -> Path:
        """Return the file's name in the snapshot: huggingface_hub makes it for a blob that is there."""
        library, hub = import_library(), self._hub
        return Path(
            hub.retrying(
                self._attempt(),
                lambda: library.hf_hub_download(
                    self._repo,
                    self._path,
                    revision=self._commit,
                    cache_dir=hub_cache_dir(),
                    endpoint=hub.endpoint,
                    token=hub.token or False,
                    library_name="gptcli",
                ),
            )
        )

    # ---------------------------------------------------------------------------------- receiving

    def _receive_all(self, part: Any) -> None:
        failures, counted = 0, part.tell()
        while (begun := part.tell()) < self._wanted.size:
            failure = self._receive_some(part, begun)
            if part.tell() == self._wanted.size:
                return
            if part.tell() - counted >= min(PROGRESS_BYTES, self._wanted.size // 100):
                failures, counted = 0, part.tell()
            else:
                failures += 1
            if failures > (MOST_REFUSALS if status_of(failure) == 403 else MOST_FAILURES):
                raise translated(failure, self._attempt()) from failure
            wait = retry_after(failure) or (0.5 * 2 ** (failures - 1) if failures else 0.1)
            self._report.note(f"connection lost at {part.tell() / 1e6:,.1f} MB: trying again")
            self._hub.sleep(min(wait, MOST_PATIENCE_S))

    def _receive_some(self, part: Any, begun: int) -> Exception:
        """Receive what one response brings; return what ended it early, if that may pass."""
        try:
            self._receive(part, begun)
        except (httpx2.HTTPError, ConnectionError, NetworkError) as error:
            self._location = None  # a signed address expires
            cause = error.__cause__ if isinstance(error, NetworkError) else error
            if not isinstance(cause, Exception):
                raise
            if not (is_passing(cause) or may_have_expired(cause)):
                raise translated(cause, self._attempt()) from cause
            return cause
        return httpx2.RemoteProtocolError("the server stops too early")

    def _receive(self, part: Any, begun: int) -> None:
        if self._location is None:
            self._location = self._hub.locate(self._repo, self._commit, self._path)
        with self._hub.stream(self._location, begun) as response:
            if begun and not _continues_at(response, begun, self._wanted.size):
                self._start_over(part)
                begun = 0
                if response.status_code != 200:
                    return
            for block in response.iter_raw():
                begun += len(block)
                if begun > self._wanted.size:
                    self._start_over(part)
                    raise mismatch(
                        f"the server sends more of {self._path} than there is; nothing was kept",
                        str(self._wanted.size),
                        f"more than {self._wanted.size}",
                        "the same again; if it stays so, try another network or mirror",
                    )
                part.write(block)
                self._digests.update(block)
                self.received += len(block)
                self._report.progress(begun)

    def _start_over(self, part: Any) -> None:
        part.truncate(0)
        part.seek(0)
        self._digests = self._wanted.digests()

    def _attempt(self) -> Attempt:
        return Attempt(self._hub.endpoint, bool(self._hub.token), self._repo, self._commit)


class _PatientLock:
    """A lock on a file that shows how the other's download comes along while it waits for it."""

    def __init__(self, path: Path, part: Path, report: Report) -> None:
        from filelock import FileLock

        self._lock = FileLock(path, mode=0o664)
        self._part, self._report = part, report

    def __enter__(self) -> None:
        from filelock import Timeout

        is_first = True
        while True:
            try:
                self._lock.acquire(timeout=0.25)
            except Timeout:
                if is_first:
                    self._report.note("another program is downloading this file: waiting for it")
                    is_first = False
                if self._part.is_file():
                    self._report.progress(self._part.stat().st_size)
            else:
                return

    def __exit__(self, *exc: object) -> None:
        self._lock.release()


def _continues_at(response: Any, begun: int, size: int) -> bool:
    if response.status_code != 206:
        return False
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return bool(found) and int(found[1]) == begun and found[2] in ("*", str(size))  # type: ignore[index]


def _hash_file(path: Path, digests: _Digests, on_progress: Callable[[int], None]) -> None:
    done = 0
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digests.update(block)
            done += len(block)
            on_progress(done)


def _check_room(directory: Path, needed: int, path: str) -> None:
    free = shutil.disk_usage(directory).free
    if needed * SPARE_SHARE > free:
        raise StorageError(
            f"no room for {path}: {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free in "
            f"{hub_cache_dir()}",
            hint="gptcli models rm …, or HF_HUB_CACHE=/another/place gptcli …",
        )


def _storage_error(error: OSError, path: str) -> GptcliError:
    if error.errno == errno.ENOSPC:
        return StorageError(
            f"the disk is full: {path} is not complete; the same again goes on from there",
            hint="gptcli models rm …, or HF_HUB_CACHE=/another/place gptcli …",
        )
    where = f" {error.filename}" if error.filename else ""
    return StorageError(
        f"cannot write{where}: {error.strerror or error}", hint="HF_HUB_CACHE=/another/place gptcli …"
    )
