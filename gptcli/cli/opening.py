"""Opens the engine that a command's options ask for, and explains a model that cannot be opened."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptcli import paths
from gptcli.cli.options import engine_settings
from gptcli.engine import SCRIPTED_PREFIX, open_engine
from gptcli.engine.api import Engine
from gptcli.errors import EngineCrashedError, GptcliError, ModelError
from gptcli.models.resolve import resolve_model
from gptcli.output.console import Output
from gptcli.output.progress import Progress


@contextmanager
def opened_engine(params: dict[str, Any], output: Output) -> Generator[Engine, None, None]:
    """Yield the engine for a command's options; its model loads while the caller goes on.

    Raises what `resolve_model` raises, and when the model turns out not to load: the reason found
    in the file itself, if there is one, instead of the native library's.
    """
    with Progress(output, "joining the starter weights") as progress:
        model = resolve_model(params["model"], progress.update)
    if model.is_fallback:
        output.status(f"no model is configured: using {model.name} (Gemma 3 270M base)")
    settings = engine_settings(params, path=model.path, name=model.name)
    engine = open_engine(
        settings, crash_memory=str(paths.crash_memory_file()), show_logs=params["debug"]
    )
    try:
        yield engine
    except GptcliError as error:
        stage = error.details.pop("stage", None)
        is_about_file = isinstance(error, EngineCrashedError | ModelError)
        if stage == "load" and is_about_file and not model.path.startswith(SCRIPTED_PREFIX):
            _explain(Path(model.path), error)
        raise
    finally:
        for note in getattr(engine, "restarts", ()):
            output.note(note)
        engine.close()


def _explain(path: Path, error: GptcliError) -> None:
    from gptcli.models.diagnosis import diagnose

    try:
        diagnose(path)
    except ModelError as found:
        raise found from error
