"""Engines: what runs a model behind one seam (`gptcli.engine.api`)."""

from __future__ import annotations

from pathlib import Path

from gptcli.engine.api import Engine, EngineSettings

SCRIPTED_PREFIX = "scripted:"


def open_engine(
    settings: EngineSettings, *, crash_memory: str | None = None, show_logs: bool = False
) -> Engine:
    """Return an engine for these settings: the one place that knows the implementations.

    A model path `scripted:FILE` opens the scripted engine with the replies in that file.
    """
    if settings.model_path.startswith(SCRIPTED_PREFIX):
        from gptcli.engine.scripted import ScriptedEngine

        return ScriptedEngine.from_file(Path(settings.model_path.removeprefix(SCRIPTED_PREFIX)))
    from gptcli.engine.local import LocalEngine

    return LocalEngine(settings, crash_memory=crash_memory, show_logs=show_logs)
