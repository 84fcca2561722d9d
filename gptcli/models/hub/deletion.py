"""Deletes models from the Hub's cache by its library's own strategies: blobs may be shared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from gptcli.models.cache import CachedModel
from gptcli.models.hub.library import import_library
from gptcli.paths import hub_cache_dir


@dataclass(frozen=True, slots=True)
class Deletion:
    """What will be deleted, and the bytes that are freed by it."""

    freed: int
    strategies: tuple[Any, ...]

    def execute(self) -> None:
        for strategy in self.strategies:
            strategy.execute()


def plan_deletion(models: Collection[CachedModel]) -> Deletion:
    """Return how the models' files leave the cache: whole revisions where nothing else is in them."""
    cache = import_library().scan_cache_dir(hub_cache_dir())
    wanted = {(m.repo, m.commit, file.path) for m in models for file in m.variant.files}
    whole, single = [], []
    for repo in cache.repos:
        for revision in repo.revisions:
            names = {
                file: file.file_path.relative_to(revision.snapshot_path).as_posix()
                for file in revision.files
            }
            chosen = [
                f for f, name in names.items() if (repo.repo_id, revision.commit_hash, name) in wanted
            ]
            if chosen and len(chosen) == len(names):
                whole.append(revision.commit_hash)
            else:
                single += chosen
    strategies = []
    if whole:
        strategies.append(cache.delete_revisions(*whole))
    if single:
        strategies.append(cache.delete_files(*single))
    return Deletion(sum(s.expected_freed_size for s in strategies), tuple(strategies))
