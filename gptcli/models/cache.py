"""The models in the Hub's cache on this machine, read without the Hub's library (0.1 s to import).

The layout is huggingface_hub's, shared with `hf` and llama.cpp:
models--USER--NAME/{refs/main, blobs/<etag>, snapshots/<commit>/<path> -> ../../blobs/<etag>}.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptcli.models.quants import RepoFile, Variant, is_model_path, variants
from gptcli.models.registry import is_repo_id
from gptcli.paths import hub_cache_dir

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
PART_ENDING = ".gptcli.incomplete"  # `hf cache prune` removes what ends in .incomplete


@dataclass(frozen=True, slots=True)
class CachedModel:
    """A model of the cache: a variant of a repository at a commit. `last_used` is a POSIX time."""

    repo: str
    commit: str
    variant: Variant
    snapshot: Path
    last_used: float

    @property
    def path(self) -> Path:
        """The file to load: the first part of a split model."""
        return self.paths[0]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.snapshot / file.path for file in self.variant.files)

    @property
    def is_complete(self) -> bool:
        return not self.variant.missing


@dataclass(frozen=True, slots=True)
class PartialFile:
    """A download that was broken off, by the SHA-256 or git hash that the whole will have."""

    repo: str
    etag: str
    path: Path
    size: int


def repo_dir(repo: str) -> Path:
    return hub_cache_dir() / f"models--{repo.replace('/', '--')}"


def blob_path(repo: str, etag: str) -> Path:
    return repo_dir(repo) / "blobs" / etag


def part_path(repo: str, etag: str) -> Path:
    """Return where a file is kept while it is on its way."""
    return repo_dir(repo) / "blobs" / (etag + PART_ENDING)


def lock_path(repo: str, etag: str) -> Path:
    """Return the lock that a program holds while it brings the file; `hf` holds the same one."""
    return hub_cache_dir() / ".locks" / repo_dir(repo).name / f"{etag}.lock"


def cached_models(repo: str | None = None) -> Iterator[CachedModel]:
    """Yield the models in the cache, of one repository or of all."""
    for directory, name in _repo_dirs() if repo is None else [(repo_dir(repo), repo)]:
        for snapshot in _entries(directory / "snapshots"):
            if _COMMIT.fullmatch(snapshot.name):
                yield from _models_in(name, snapshot)


def find_cached(
    repo: str, revision: str | None = None, first: Collection[str] = ()
) -> dict[str, Sequence[CachedModel]]:
    """Return a repository's complete models by commit: of `revision` alone, or of all commits.

    The likeliest commit comes first: of `first`, then what refs/main names, then the latest.
    """
    directory = repo_dir(repo)
    snapshots = [each for each in _entries(directory / "snapshots") if _COMMIT.fullmatch(each.name)]
    snapshots.sort(key=lambda each: each.stat().st_mtime, reverse=True)
    if revision is not None:
        wanted = {revision, _ref(directory, revision)}
        snapshots = [each for each in snapshots if each.name in wanted]
    else:
        order = [name for name in (*first, _ref(directory, "main")) if name]
        snapshots.sort(key=lambda s: order.index(s.name) if s.name in order else len(order))
    found = {s.name: [m for m in _models_in(repo, s) if m.is_complete] for s in snapshots}
    return {commit: models for commit, models in found.items() if models}


def partial_files() -> Iterator[PartialFile]:
    """Yield the downloads that were broken off and will be continued."""
    for directory, repo in _repo_dirs():
        for entry in _entries(directory / "blobs"):
            if entry.name.endswith(PART_ENDING):
                yield PartialFile(
                    repo, entry.name.removesuffix(PART_ENDING), entry, entry.stat().st_size
                )


def sha256_by_name(path: Path) -> str | None:
    """Return the SHA-256 that a cached file's blob is named by; None if it is named otherwise."""
    name = path.resolve().name.removeprefix("sha256-")  # as Ollama names its blobs
    return name if _SHA256.fullmatch(name) else None


def _repo_dirs() -> Iterator[tuple[Path, str]]:
    for entry in _entries(hub_cache_dir()):
        kind, _, name = entry.name.partition("--")
        repo = name.replace("--", "/", 1)
        if kind == "models" and is_repo_id(repo):
            yield entry, repo


def _models_in(repo: str, snapshot: Path) -> Iterator[CachedModel]:
    files, used = [], {}
    for directory, _, names in os.walk(snapshot):
        for name in names:
            link = Path(directory, name)
            path = link.relative_to(snapshot).as_posix()
            if not is_model_path(path):
                continue
            try:
                status = link.stat()
            except OSError:
                continue  # a link to a blob that is gone
            files.append(RepoFile(path, status.st_size, sha256_by_name(link)))
            used[path] = max(status.st_atime, status.st_mtime)
    for variant in variants(files):
        last = max(used[file.path] for file in variant.files)
        yield CachedModel(repo, snapshot.name, variant, snapshot, last)


def _ref(directory: Path, name: str) -> str | None:
    try:
        return (directory / "refs" / name).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []
