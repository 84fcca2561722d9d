"""From what the user typed after -m to a file on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gptcli.errors import ModelNotFoundError
from gptcli.models import starter
from gptcli.models.registry import DEFAULT_ALIAS, load_registry
from gptcli.models.starter import Report

SCRIPTED_PREFIX = "scripted:"  # the engine that ships for tests; not a file of weights


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model file on this machine. `is_fallback`: nothing was asked for, so it is the default."""

    path: str
    name: str
    is_fallback: bool = False


def resolve_model(spec: str | None, on_progress: Report | None = None) -> ResolvedModel:
    """Return the file that `spec` names: an alias, a repository on the Hub, or a path.

    Raises ModelNotFoundError, ModelFileError (see diagnosis.quick_check), StorageError.
    """
    if spec is None:
        path = starter.join(load_registry().find(DEFAULT_ALIAS), on_progress)
        return ResolvedModel(str(path), DEFAULT_ALIAS, is_fallback=True)
    if spec.startswith(SCRIPTED_PREFIX):
        return ResolvedModel(spec, spec)
    if is_path(spec):
        from gptcli.models.diagnosis import quick_check

        path = Path(spec).expanduser()
        quick_check(path)
        return ResolvedModel(str(path), path.name)
    if "/" in spec:
        raise ModelNotFoundError(
            f'model "{spec}" is not downloaded',
            hint="download its .gguf file, then: gptcli generate -m path/to/model.gguf …",
            model=spec,
        )
    path = starter.join(load_registry().find(spec), on_progress)
    return ResolvedModel(str(path), spec)


def is_path(spec: str) -> bool:
    """Tell a path from an alias and from `user/repo[:QUANT]`."""
    looks_like_path = spec.startswith((".", "~", os.sep)) or spec.lower().endswith(".gguf")
    return looks_like_path or Path(spec).exists()
