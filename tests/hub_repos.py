"""Model repositories as the Hub has them: commits with their files, and what its API tells of them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Self

LFS_MIN_BYTES = 1 << 20
FIRST_COMMIT = datetime(2026, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blob:
    """A file's content, by its hashes."""

    source: bytes | Path
    size: int
    sha256: str
    git_sha1: str

    @classmethod
    def of(cls, source: bytes | Path) -> Self:
        """Hash the content. A path is read again for every answer, so its file has to stay as it is."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
        with _opened(source) as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
                sha1.update(chunk)
        return cls(source, size, sha256.hexdigest(), sha1.hexdigest())

    def open(self) -> BinaryIO:
        return _opened(self.source)


def _opened(source: bytes | Path) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit with all files it has, by their paths."""

    sha: str
    parent: str
    date: str
    files: Mapping[str, Blob]


@dataclass
class Repository:
    """A model repository with its history; everything may be changed between requests."""

    id: str
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    """Name to commit hash."""
    card: Mapping[str, Any] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    lfs: bool = True
    """False: no file has an sha256, as with a mirror that knows only git."""
    downloads: int = 0

    def add_commit(self, changes: Mapping[str, bytes | Path | None], branch: str) -> str:
        """Add a commit to a branch and return its hash; None removes a file."""
        parent = self.branches.get(branch, "")
        files = dict(self.commits[parent].files) if parent else {}
        for path, source in changes.items():
            files.pop(path, None)
            if source is not None:
                files[path] = Blob.of(source)
        files = dict(sorted(files.items()))
        number = len(self.commits)
        listing = [(path, blob.git_sha1) for path, blob in files.items()]
        sha = hashlib.sha1(repr((self.id, number, parent, listing)).encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, _date(FIRST_COMMIT + timedelta(days=number)), files)
        self.branches[branch] = sha
        return sha

    def forget(self, sha: str) -> None:
        """Lose a commit; a branch that ends there goes back to the commit before, or away with it."""
        parent = self.commits.pop(sha).parent
        for branch in [name for name, head in self.branches.items() if head == sha]:
            del self.branches[branch]
            if parent in self.commits:
                self.branches[branch] = parent

    def find(self, revision: str) -> Commit | None:
        """Return the commit of a branch's name or a hash."""
        branch = "main" if revision == "HEAD" else revision
        return self.commits.get(self.branches.get(branch, revision))

    def has_lfs(self, path: str, blob: Blob) -> bool:
        return self.lfs and (path.endswith(".gguf") or blob.size >= LFS_MIN_BYTES)

    def entries(self, commit: Commit) -> list[Json]:
        """Return the commit's files as a listing of the whole tree has them."""
        return [
            tree_entry(
                path,
                blob.size,
                git_sha1=blob.git_sha1,
                sha256=blob.sha256 if self.has_lfs(path, blob) else None,
            )
            for path, blob in commit.files.items()
        ]

    def tags(self, commit: Commit) -> list[str]:
        languages = self.card.get("language", [])
        tags = ["gguf"] if any(path.endswith(".gguf") for path in commit.files) else []
        tags += [languages] if isinstance(languages, str) else languages
        return tags + ([f"license:{self.card['license']}"] if "license" in self.card else [])

    def info(self, commit: Commit) -> Json:
        """Return what the Hub says of the model, but for its files."""
        return {
            "_id": hashlib.sha256(self.id.encode()).hexdigest()[:24],
            "id": self.id,
            "modelId": self.id,
            "author": self.id.split("/")[0],
            "sha": commit.sha,
            "createdAt": _date(FIRST_COMMIT),
            "lastModified": commit.date,
            "private": self.private,
            "gated": "auto" if self.gated else False,
            "disabled": False,
            "downloads": self.downloads,
            "likes": 0,
            "tags": self.tags(commit),
            "cardData": dict(self.card),
        }


def tree_entry(path: str, size: int, *, git_sha1: str = "0" * 40, sha256: str | None = None) -> Json:
    """Return a file as the Hub lists it. With `sha256` it is in LFS, its git hash the pointer's."""
    entry: Json = {"type": "file", "path": path, "size": size, "oid": git_sha1}
    if sha256 is not None:
        version = "version https://git-lfs.github.com/spec/v1"
        pointer = f"{version}\noid sha256:{sha256}\nsize {size}\n".encode()
        entry["oid"] = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
        entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": len(pointer)}
    return entry


def siblings(entries: Iterable[Json], *, blobs: bool) -> list[Json]:
    """Return the files as the model's info lists them: names, and with `blobs` sizes and hashes."""
    listed = []
    for entry in entries:
        sibling: Json = {"rfilename": entry["path"]}
        if blobs:
            sibling |= {"size": entry["size"], "blobId": entry["oid"]}
            if lfs := entry.get("lfs"):
                sibling["lfs"] = {
                    "sha256": lfs["oid"],
                    "size": lfs["size"],
                    "pointerSize": lfs["pointerSize"],
                }
        listed.append(sibling)
    return listed


def folded(entries: Iterable[Json], prefix: str) -> list[Json]:
    """Return what is right below the prefix: deeper entries as the directories that they are in."""
    here, folders = [], set()
    for entry in entries:
        name, *deeper = entry["path"].removeprefix(prefix).split("/")
        if deeper:
            folders.add(prefix + name)
        else:
            here.append(entry)
    return [
        {"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)
    ] + here


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
