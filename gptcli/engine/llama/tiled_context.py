"""The context of exact scores (`gptcli.engine.exact_scores`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gptcli.engine.backend import Aborted, Span
from gptcli.engine.exact_scores import TILE
from gptcli.engine.llama.batch import decode
from gptcli.engine.llama.sampler import Logits, logprobs
from gptcli.engine.llama.states import restored, saved
from gptcli.errors import GptcliError

TOKENS_MULTIPLE, ROWS_MULTIPLE = 16, 4  # rows of activations that are multiplied together


class LlamaTiledContext:
    """A context of its own. `open_context(cells, sequences)` opens one with a unified cache."""

    def __init__(
        self,
        lib: Any,
        open_context: Callable[[int, int], Any],
        *,
        batch_tokens: int,
        vocab_size: int,
        restores_parts: bool,
    ) -> None:
        self._lib, self._open_context = lib, open_context
        self.batch_tokens, self.restores_parts = batch_tokens, restores_parts
        self._batch = lib.llama_batch_init(batch_tokens, 0, 1)
        self._context: Any = None
        self._memory: Any = None
        self._logits = Logits(lib, lambda: self._context, vocab_size)

    def close(self) -> None:
        self._lib.llama_batch_free(self._batch)
        if self._context is not None:
            self._lib.llama_free(self._context)

    def open(self, sequences: int, cells: int) -> None:
        """Open a context in place of the last. Raises MemoryFitError."""
        if self._context is not None:
            self._lib.llama_free(self._context)
            self._context = None
        self._context = self._open_context(cells, sequences)
        self._memory = self._lib.llama_get_memory(self._context)

    def evaluate(self, spans: Sequence[Span]) -> None:
        try:
            added = decode(
                self._lib,
                self._context,
                self._batch,
                spans,
                least=TILE,
                multiple=TOKENS_MULTIPLE,
                rows_multiple=ROWS_MULTIPLE,
            )
        except (Aborted, GptcliError):
            self.clear()
            raise
        if added:
            last = spans[-1]
            self.drop(last.sequence, last.start + len(last.tokens))

    def logprobs(self, row: int, tokens: Sequence[int]) -> list[float]:
        return logprobs(self._logits.row(row), tokens)

    def share(self, source: int, target: int, start: int, end: int) -> None:
        self._lib.llama_memory_seq_cp(self._memory, source, target, start, end)

    def drop(self, sequence: int, start: int = 0, end: int = -1) -> None:
        self._lib.llama_memory_seq_rm(self._memory, sequence, start, end)

    def save(self, sequence: int) -> memoryview:
        return saved(self._lib, self._context, sequence)

    def restore(self, sequence: int, state: memoryview | bytearray) -> bool:
        return restored(self._lib, self._context, sequence, state)

    def clear(self) -> None:
        self._lib.llama_memory_clear(self._memory, True)
