"""A model that loads while the user already types."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from gptcli.engine.api import Engine, ModelInfo
from gptcli.errors import GptcliError


class LoadingModel:
    """Waits for an engine's model in a thread of its own. `result` must be called before the engine
    runs anything, because an engine is for one thread at a time. `on_end` is called in that thread.
    """

    def __init__(self, engine: Engine, on_end: Callable[[], object]) -> None:
        self._engine = engine
        self._on_end = on_end
        self.model: ModelInfo | None = None
        self.error: GptcliError | None = None
        self._fingerprint: str | None = None
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self.model = self._engine.model
        except GptcliError as error:
            self.error = error
        self._on_end()

    def result(self) -> ModelInfo:
        """Return the model, once it is loaded. Raises what its loading raised; then tries again."""
        self._thread.join()
        if self.error is not None:
            self.error = None
            self.model = self._engine.model
        assert self.model is not None
        return self.model

    def fingerprint(self) -> str:
        """Return what tells the file of weights from others; "" where that is not known."""
        if self._fingerprint is None:
            from gptcli.engine.prompt_cache import model_fingerprint

            path = self.model.path if self.model is not None else ""
            try:
                self._fingerprint = model_fingerprint(Path(path)) if path else ""
            except OSError:
                self._fingerprint = ""
        return self._fingerprint
