"""Embed requests: a text's embedding, or hidden states of several texts in one evaluation."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gptcli.engine.api import Embed, Embedded, Failed, HiddenState, ModelInfo, Request, Usage
from gptcli.engine.cells import common_prefix
from gptcli.engine.together import taken_together
from gptcli.errors import ContextOverflowError, GptcliError, UsageError

EMBED_TOKENS = 2048  # the longest text to embed
TEXTS_AT_ONCE = 32
LEAST_SHARED = 16  # tokens: sharing a shorter prefix would cost more than it saves


class EmbedBackend(Protocol):
    """The part of a backend that embeds; both methods raise GptcliError, and Aborted."""

    batch_tokens: int
    info: ModelInfo

    def tokenize(self, text: str, *, add_bos: bool, parse_special: bool) -> list[int]: ...
    def embed(self, tokens: Sequence[int]) -> tuple[float, ...]: ...
    def hidden_states(
        self, texts: Sequence[Sequence[int]], states: Sequence[HiddenState]
    ) -> list[tuple[array[float], ...]]: ...


@dataclass(frozen=True, slots=True)
class EmbedText:
    """A request and its tokens."""

    request: Embed
    tokens: list[int]


class Embedder:
    """Answers Embed requests, as many together as fit one evaluation."""

    def __init__(self, backend: EmbedBackend) -> None:
        self._backend = backend

    def take(self, first: Embed, waiting: deque[Request]) -> list[EmbedText]:
        """Return the text with those in the queue that want the same states, if it wants any.

        Raises UsageError for a layer that there is not, or for no text.
        """

        def encode(request: Request) -> EmbedText | None:
            if isinstance(request, Embed) and first.states and request.states == first.states:
                return self._encoded(request)
            return None

        return taken_together(self._encoded(first), waiting, encode, self._fits)

    def embed(self, batch: Sequence[EmbedText]) -> list[Embedded | Failed]:
        """Return each text's result; a failure is that of all. Raises what stopped the evaluation."""
        requests = [text.request for text in batch]
        try:
            if states := requests[0].states:
                found = self._backend.hidden_states([text.tokens for text in batch], states)
                return [
                    Embedded(
                        id=text.request.id, states=each, usage=Usage(prompt_tokens=len(text.tokens))
                    )
                    for text, each in zip(batch, found, strict=True)
                ]
            (text,) = batch
            vector = self._backend.embed(text.tokens)
            usage = Usage(prompt_tokens=len(text.tokens))
            return [Embedded(id=text.request.id, vector=vector, usage=usage)]
        except GptcliError as error:
            return [Failed(id=request.id, error=error) for request in requests]

    def _encoded(self, request: Embed) -> EmbedText:
        tokens = self._backend.tokenize(request.text, add_bos=True, parse_special=False)
        if request.states:
            self._check(request.states, tokens)
        return EmbedText(request, tokens)

    def _check(self, states: Sequence[HiddenState], tokens: Sequence[int]) -> None:
        info = self._backend.info
        for state in states:
            if not 1 <= state.layer < info.layer_count:
                raise UsageError(
                    f"layer {state.layer} cannot be read: from 1 to {info.layer_count - 1} of this model"
                )
        if not tokens:
            raise UsageError("there is no text to embed")
        most = min(EMBED_TOKENS, info.context_limit)
        if len(tokens) > most:
            raise ContextOverflowError(
                f"a text of {len(tokens):,} tokens is too long to embed: at most {most:,}",
                prompt_tokens=len(tokens),
                context_size=most,
            )

    def _fits(self, batch: Sequence[EmbedText]) -> bool:
        if len(batch) > TEXTS_AT_ONCE:
            return False
        texts = [text.tokens for text in batch]
        shared = shared_prefix(texts)
        own = sum(len(text) - shared for text in texts)
        return own <= self._backend.batch_tokens and shared + own <= EMBED_TOKENS


def shared_prefix(texts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens texts begin with that pay to be evaluated once: fewer than any has."""
    if len(texts) < 2:
        return 0
    ordered = sorted(texts, key=list)
    least, most = ordered[0], ordered[-1]  # what these have in common, all have
    shared = min(common_prefix(least, most), min(map(len, texts)) - 1)
    return shared if shared >= LEAST_SHARED else 0
