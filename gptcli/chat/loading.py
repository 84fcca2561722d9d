"""A model that loads while the user already types."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gptcli.engine.api import Engine, ModelInfo
from gptcli.errors import GptcliError


class LoadingModel:
    """Opens an engine and waits for its model, in a thread of its own once that is begun.

    An engine is for one thread at a time: `engine` waits until this one is done with it. `on_end` is
    called in the thread.
    """

    def __init__(self, open_engine: Callable[[], Engine], on_end: Callable[[], object]) -> None:
        self._open = open_engine
        self._on_end = on_end
        self._engine: Engine | None = None
        self.model: ModelInfo | None = None
        self.error: GptcliError | None = None
        self._fingerprint: str | None = None
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Begin to load, if that is not begun yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        self.error = None
        try:
            self._engine = self._engine or self._open()
            self.model = self._engine.model
        except GptcliError as error:
            self.error = error
        self._on_end()

    def result(self) -> ModelInfo:
        """Return the model, once it is loaded. Raises what its loading raised; then tries again."""
        self.begin()
        assert self._thread is not None
        self._thread.join()
        if self.error is not None:
            self._thread = None
            raise self.error
        assert self.model is not None
        return self.model

    @property
    def engine(self) -> Engine:
        """The engine, once its model is loaded. Raises as `result` does."""
        self.result()
        assert self._engine is not None
        return self._engine

    def fingerprint(self) -> str:
        """Return what tells the file of weights from others; "" where that is not known."""
        if self._fingerprint is None:
            from gptcli.engine.prompt_cache import fingerprint_or

            self._fingerprint = fingerprint_or(self.model.path if self.model is not None else "", "")
        return self._fingerprint
