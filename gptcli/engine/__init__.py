"""Engines: what runs a model behind one seam (`gptcli.engine.api`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gptcli.engine.api import Engine, EngineSettings

SCRIPTED_PREFIX = "scripted:"


def open_engine(
    settings: EngineSettings,
    *,
    crash_memory: str | None = None,
    prompt_cache: str | None = None,
    before_load: Callable[[], None] | None = None,
    show_logs: bool = False,
) -> Engine:
    """Return an engine for these settings: the one place that knows the implementations.

    A model path `scripted:FILE` opens the scripted engine with the replies in that file; else
    `before_load` runs before the file is opened, and raises what is wrong with it.
    """
    if settings.model_path.startswith(SCRIPTED_PREFIX):
        from gptcli.engine.scripted import ScriptedEngine

        return ScriptedEngine.from_file(Path(settings.model_path.removeprefix(SCRIPTED_PREFIX)))
    from gptcli.engine.local import LocalEngine

    return LocalEngine(
        settings,
        crash_memory=crash_memory,
        prompt_cache=prompt_cache,
        before_load=before_load,
        show_logs=show_logs,
    )
