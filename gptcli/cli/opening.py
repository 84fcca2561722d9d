"""Opens the engine that a command's options ask for."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from gptcli import paths
from gptcli.cli.options import engine_settings
from gptcli.engine import open_engine
from gptcli.engine.api import Engine
from gptcli.errors import GptcliError
from gptcli.models.resolve import ResolvedModel, resolve_model
from gptcli.output.console import Output
from gptcli.output.progress import Progress


@contextmanager
def opened_engine(
    params: dict[str, Any], output: Output, *, task: str = "generate"
) -> Generator[Engine, None, None]:
    """Yield the engine for a command's options; its model loads while the caller goes on.

    Where no model is named, it is the one that models.toml has for the task.

    Raises what `resolve_model` raises, and ModelError for a file whose header is wrong.
    """
    with opened_model(find_model(params["model"], output, task=task), params, output) as engine:
        yield engine


def find_model(spec: str | None, output: Output, *, task: str = "generate") -> ResolvedModel:
    """Return the model that `-m` names, else the task's default, and say so.

    Raises what `resolve_model` raises.
    """
    with Progress(output, "joining the starter weights") as progress:
        model = resolve_model(spec, progress.update, task=task)
    if model.is_fallback:
        output.status(f"no model is configured: using {model.name} ({model.title})")
    return model


@contextmanager
def opened_model(
    model: ResolvedModel, params: dict[str, Any], output: Output
) -> Generator[Engine, None, None]:
    """Yield the engine of a model that was found; it loads while the caller goes on."""
    settings = engine_settings(params, path=model.path, name=model.name)
    engine = open_engine(
        settings,
        crash_memory=str(paths.crash_memory_file()),
        prompt_cache=None if params.get("no_log") else str(paths.prompt_cache_dir()),
        before_load=partial(check_file, Path(model.path)),
        show_logs=params["debug"],
    )
    try:
        yield engine
    except GptcliError as error:
        error.details.pop("stage", None)
        raise
    finally:
        for note in getattr(engine, "restarts", ()):
            output.note(note)
        engine.close()


def check_file(path: Path) -> None:
    """Raise what is wrong with a model file, before native code reads it."""
    from gptcli.models.diagnosis import diagnose

    diagnose(path)
