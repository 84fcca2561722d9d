"""Removes models from this machine: from the Hub's cache, the data directory, the list of imports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gptcli.errors import ModelNotFoundError, StorageError, UsageError
from gptcli.models import records, starter
from gptcli.models.cache import CachedModel, PartialFile, cached_models, lock_path, partial_files
from gptcli.models.faults import quoted
from gptcli.models.quants import matches
from gptcli.models.registry import ModelSpec, load_registry
from gptcli.models.resolve import target_of
from gptcli.models.spec import AliasRef, FileRef, HubRef, parse_spec


@dataclass(slots=True)
class Removal:
    """What will be removed. `lines` say it for the user; `freed` is in bytes."""

    names: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    freed: int = 0
    _steps: list[Callable[[], object]] = field(default_factory=list)

    def add(self, name: str, line: str, freed: int, step: Callable[[], object]) -> None:
        self.names.append(name)
        self.lines.append(line)
        self.freed += freed
        self._steps.append(step)

    def execute(self) -> None:
        """Remove it. Raises StorageError."""
        try:
            for step in self._steps:
                step()
        except OSError as error:
            raise StorageError(f"cannot remove {error.filename}: {error.strerror}") from error


def plan_removal(specs: Sequence[str], *, incomplete: bool = False) -> Removal:
    """Return what removing the models, and with `incomplete` all broken-off downloads, will do.

    Raises ModelNotFoundError for a model that is not here, UsageError for a file that is not ours.
    """
    removal = Removal()
    from_hub: dict[Path, CachedModel] = {}
    for spec in specs:
        for model in _plan_one(spec, removal):
            from_hub[model.path] = model
    if from_hub:
        from gptcli.models.hub.deletion import plan_deletion

        deletion = plan_deletion(from_hub.values())
        for model in from_hub.values():
            removal.names.append(f"{model.repo}:{model.variant.name}")
            removal.lines.append(f"{removal.names[-1]} ({model.commit[:7]})")
        removal.freed += deletion.freed
        removal._steps.append(deletion.execute)
    if incomplete:
        for part in partial_files():
            line = f"what came of {part.repo}"
            removal.add(part.repo, line, part.size, lambda part=part: _remove_part(part))  # type: ignore[misc]
    return removal


def _plan_one(spec: str, removal: Removal) -> list[CachedModel]:
    """Return the cached models that the spec names; plan what is not in the Hub's cache."""
    ref = parse_spec(spec)
    if isinstance(ref, FileRef):
        own = quoted(str(ref))
        raise UsageError(f"{own} is a file of yours: gptcli does not delete it", hint=f"rm {own}")
    if isinstance(ref, HubRef):
        return _cached(ref, None, spec)
    imported = records.imported()
    if ref.alias in imported:
        line = f"the name {ref.alias}; its file stays: {imported[ref.alias]}"
        removal.add(ref.alias, line, 0, lambda: records.forget_import(ref.alias))
        return []
    registry = load_registry()
    found = registry.find(ref.alias)
    if found.package:
        path = starter.joined_path(found)
        if not path.is_file():
            raise _not_here(spec)
        line = f"{path}; its packages stay: pip uninstall {found.package}"
        removal.add(ref.alias, line, path.stat().st_size, path.unlink)
        return []
    return _cached(*target_of(AliasRef(ref.alias, ref.quantization), registry), spec)


def _cached(ref: HubRef, entry: ModelSpec | None, spec: str) -> list[CachedModel]:
    paths = {file.path for file in entry.files} if entry is not None else None
    found = [
        model
        for model in cached_models(ref.repo)
        if (ref.revision is None or entry is not None or model.commit == ref.revision)
        and (paths is None or {file.path for file in model.variant.files} == paths)
        and (ref.quantization is None or matches(model.variant, ref.quantization))
    ]
    if not found:
        raise _not_here(spec)
    return found


def _not_here(spec: str) -> ModelNotFoundError:
    return ModelNotFoundError(f'model "{spec}" is not here', hint="gptcli models list", model=spec)


def _remove_part(part: PartialFile) -> None:
    from filelock import FileLock, Timeout

    path = lock_path(part.repo, part.etag)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path, timeout=0):
            Path(part.path).unlink(missing_ok=True)
    except Timeout as error:
        raise UsageError(f"{part.repo} is being downloaded by another program") from error
