"""Embeds passages and questions, so that near vectors are near in meaning."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterable, Iterator

from gptcli.engine.api import Embed, Embedded, Engine, Failed, stream
from gptcli.errors import ContextOverflowError, GptcliError
from gptcli.prompts.embedding import embedding_form

FORM = "1"  # raise it when texts are embedded otherwise


class Embedder:
    """An embedding model, which embeds texts in the form it was trained on.

    `key` is a name for its vectors: vectors of the same key can be compared. `fingerprint` tells its
    weights from others.
    """

    def __init__(self, engine: Engine, fingerprint: str) -> None:
        self._engine = engine
        self._form = embedding_form(engine.model.name)
        self.key = f"{fingerprint}-{FORM}"

    def passages(self, texts: Iterable[tuple[int, str]]) -> Iterator[tuple[int, array[float]]]:
        """Yield the vectors of numbered texts, in any order; an empty one for a text that is too long.

        Raises what a request raised.
        """
        requests = (Embed(text=self._form.passage + text, id=number) for number, text in texts)
        with contextlib.closing(self._engine.run(requests)) as events:
            for event in events:
                if isinstance(event, Embedded):
                    yield event.id, array("f", event.vector)
                elif isinstance(event, Failed):
                    if not isinstance(event.error, ContextOverflowError):
                        raise event.error
                    yield event.id, array("f")

    def question(self, text: str) -> array[float]:
        """Return the vector of a question. Raises what the request raised."""
        for event in stream(self._engine, Embed(text=self._form.question + text)):
            if isinstance(event, Embedded):
                return array("f", event.vector)
        raise GptcliError("the engine ended without finishing the request")
