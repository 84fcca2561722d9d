"""What is on this machine: the Hub's cache, imported files, joined packages, broken-off downloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptcli.models import records, starter
from gptcli.models.cache import CachedModel, cached_models, partial_files
from gptcli.models.quants import quantization_of
from gptcli.models.registry import Registry, load_registry

State = Literal["complete", "incomplete", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model on this machine. `name` is what -m takes, `aliases` what it takes as well.

    `size` is in bytes, of an incomplete one what is here; `last_used` a POSIX time, None if not known.
    """

    name: str
    source: Literal["hub", "package", "import"]
    paths: tuple[Path, ...]
    size: int
    quantization: str
    state: State
    aliases: tuple[str, ...] = ()
    last_used: float | None = None
    repo: str = ""
    revision: str = ""

    @property
    def path(self) -> Path:
        """The file to load: the first part of a split model."""
        return self.paths[0]


def inventory() -> list[Entry]:
    """Return the models on this machine, the last used first."""
    registry = load_registry()
    found = [*_cached(registry), *_partial(), *_packages(registry), *_imports()]
    return sorted(found, key=lambda entry: -(entry.last_used or 0))


def known_names() -> list[str]:
    """Return what -m takes: aliases, imported names, and what is in the cache."""
    names = {*load_registry().models, *records.imported()}
    names |= {_name(model) for model in cached_models() if model.is_complete}
    return sorted(names)


def _cached(registry: Registry) -> Iterator[Entry]:
    for model in cached_models():
        paths = {file.path for file in model.variant.files}
        aliases = (
            alias
            for alias, spec in registry.models.items()
            if spec.repo == model.repo and {file.path for file in spec.files} == paths
        )
        yield Entry(
            name=_name(model),
            source="hub",
            paths=model.paths,
            size=model.variant.size,
            quantization=model.variant.quantization,
            state="complete" if model.is_complete else "incomplete",
            aliases=tuple(aliases),
            last_used=model.last_used,
            repo=model.repo,
            revision=model.commit,
        )


def _partial() -> Iterator[Entry]:
    for part in partial_files():
        yield Entry(
            name=part.repo,
            source="hub",
            paths=(part.path,),
            size=part.size,
            quantization="",
            state="incomplete",
            last_used=part.path.stat().st_mtime,
            repo=part.repo,
        )


def _packages(registry: Registry) -> Iterator[Entry]:
    for alias, spec in registry.models.items():
        path = starter.joined_path(spec)
        if spec.package and starter.is_joined(spec):
            status = path.stat()
            yield Entry(
                name=alias,
                source="package",
                paths=(path,),
                size=status.st_size,
                quantization=spec.quantization,
                state="complete",
                last_used=max(status.st_atime, status.st_mtime),
            )


def _imports() -> Iterator[Entry]:
    for alias, path in records.imported().items():
        try:
            status = path.stat()
        except OSError:
            status = None
        yield Entry(
            name=alias,
            source="import",
            paths=(path,),
            size=status.st_size if status else 0,
            quantization=quantization_of(path.name),
            state="complete" if status else "missing",
            last_used=max(status.st_atime, status.st_mtime) if status else None,
        )


def _name(model: CachedModel) -> str:
    return f"{model.repo}:{model.variant.name}"
