"""An engine whose hidden states say which words a text has, so that a head has something to learn."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Generator, Iterable

from gptcli.engine.api import Embed, Embedded, Event, Failed, HiddenState, ModelInfo, Request, Usage
from gptcli.errors import GptcliError

SIZE = 24


class BagOfWords:
    """Reads the last text of a prompt: a word is a direction, stronger in higher layers."""

    def __init__(self, layer_count: int = 10, *, fails_on: str = "") -> None:
        self._model = ModelInfo(name="bag", embedding_size=SIZE, layer_count=layer_count)
        self._fails_on = fails_on
        self.requests: list[Embed] = []

    @property
    def model(self) -> ModelInfo:
        return self._model

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        for request in requests:
            if not isinstance(request, Embed):
                continue
            self.requests.append(request)
            text = request.text.rpartition("Text: ")[2].removesuffix("\nLabel:")
            if self._fails_on and self._fails_on in text:
                yield Failed(id=request.id, error=GptcliError("the model fails here"))
                continue
            states = tuple(self._state(text, state) for state in request.states)
            yield Embedded(id=request.id, states=states, usage=Usage(prompt_tokens=len(text.split())))

    def close(self) -> None:
        pass

    def _state(self, text: str, state: HiddenState) -> array[float]:
        values = array("f", [0.0] * SIZE)
        for word in text.split():
            values[zlib.crc32(word.encode()) % SIZE] += state.layer
        return values
