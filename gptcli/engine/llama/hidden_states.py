"""Hidden states of texts: what the layers of a model make of them, read while they are evaluated."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptcli.engine.api import HiddenState
from gptcli.engine.backend import Aborted, Span
from gptcli.engine.embedding import LEAST_SHARED, shared_prefix
from gptcli.engine.llama.batch import decode
from gptcli.errors import GptcliError

PREFIX = 0  # the sequence of what texts have in common


@dataclass(slots=True)
class _Text:
    """A text on a sequence: what is evaluated, and by layer the last state and the sum of states."""

    sequence: int
    tokens: Sequence[int]
    done: int = 0
    last: dict[int, Any] = field(default_factory=dict)
    sums: dict[int, Any] = field(default_factory=dict)

    def take(self, layer: int, rows: Any) -> None:
        """Take the states of the next tokens; the first token's is no part of the mean."""
        counted = rows[1:] if self.done == 0 and len(self.tokens) > 1 else rows
        self.sums[layer] = self.sums.get(layer, 0.0) + counted.sum(axis=0)
        self.last[layer] = rows[-1]

    def state(self, wanted: HiddenState) -> array[float]:
        values = self.last[wanted.layer]
        if wanted.pooling == "mean":
            values = self.sums[wanted.layer] / max(1, len(self.tokens) - 1)
        return array("f", values.astype("float32").tobytes())


class HiddenStates:
    """Reads layers in a context of its own, where evaluation stops at the highest that is wanted.

    `open_context(callback)` opens one for TEXTS_AT_ONCE + 1 sequences. What texts begin with in common
    is evaluated once, and kept for the next ones. `in_turn`: this model's memory does not keep the order
    of several sequences, so one is evaluated at a time.
    """

    def __init__(
        self,
        lib: Any,
        open_context: Callable[[Any], Any],
        *,
        batch_tokens: int,
        size: int,
        in_turn: bool,
    ) -> None:
        self._lib = lib
        self._batch_tokens, self._size, self._in_turn = batch_tokens, size, in_turn
        self._names: dict[bytes, int] = {}  # of the tensors that are wanted, by layer
        self._found: dict[int, Any] = {}
        self._prefix = _Text(PREFIX, ())
        self._ggml_name, self._ggml_count, self._ggml_get = _tensor_functions(lib)
        # Both are used by the library as long as the context is there.
        self._callback = lib.ggml_backend_sched_eval_callback(self._on_tensor)
        self._batch = lib.llama_batch_init(batch_tokens, 0, 1)
        self._context = open_context(self._callback)
        self._memory = lib.llama_get_memory(self._context)
        if not self._memory:
            raise GptcliError("hidden states of this model cannot be read: it has no memory of a text")

    def close(self) -> None:
        self._lib.llama_free(self._context)
        self._lib.llama_batch_free(self._batch)

    def read(
        self, texts: Sequence[Sequence[int]], states: Sequence[HiddenState]
    ) -> list[tuple[array[float], ...]]:
        """Return each text's states, in order. Raises Aborted, and GptcliError."""
        if self._in_turn and len(texts) > 1:
            return [self.read([text], states)[0] for text in texts]
        self._want({state.layer for state in states})
        self._share(texts)
        prefix = self._prefix
        read = [
            _Text(n, tokens, len(prefix.tokens), dict(prefix.last), dict(prefix.sums))
            for n, tokens in enumerate(texts, PREFIX + 1)
        ]
        for text in read if prefix.tokens else ():
            self._lib.llama_memory_seq_cp(self._memory, PREFIX, text.sequence, -1, -1)
        self._evaluate(read)
        for text in read:
            self._lib.llama_memory_seq_rm(self._memory, text.sequence, -1, -1)
        return [tuple(text.state(state) for state in states) for text in read]

    def _want(self, layers: set[int]) -> None:
        names = {f"l_out-{layer - 1}".encode(): layer for layer in sorted(layers)}
        if names != self._names:  # the kept prefix lacks what is above the layers that were read
            self._names = names
            self._clear()

    def _share(self, texts: Sequence[Sequence[int]]) -> None:
        """Have the prefix sequence hold what the texts begin with, nearly, or nothing."""
        kept, shared = self._prefix.tokens, shared_prefix(texts)
        fits = all(len(text) > len(kept) and text[: len(kept)] == kept for text in texts)
        if fits and len(kept) > shared - LEAST_SHARED:
            return
        self._clear()
        if shared:
            self._prefix = _Text(PREFIX, texts[0][:shared])
            self._evaluate([self._prefix])

    def _clear(self) -> None:
        self._lib.llama_memory_clear(self._memory, True)
        self._prefix = _Text(PREFIX, [])

    def _evaluate(self, texts: Sequence[_Text]) -> None:
        """Evaluate the texts to their ends, as many tokens at a time as a batch holds."""
        pending = list(texts)
        while pending:
            room, spans = self._batch_tokens, []
            for text in pending:
                if room:
                    tokens = text.tokens[text.done : text.done + room]
                    spans.append((text, Span(text.sequence, tokens, text.done, is_end=False)))
                    room -= len(tokens)
            self._decode([span for _, span in spans])
            for text, span in spans:
                for layer, rows in self._found.items():
                    text.take(layer, rows[span.row : span.last_row + 1])
                text.done += len(span.tokens)
            pending = [text for text in pending if text.done < len(text.tokens)]

    def _decode(self, spans: Sequence[Span]) -> None:
        self._found.clear()
        try:
            decode(self._lib, self._context, self._batch, spans)
            if len(self._found) != len(self._names):
                raise GptcliError("the layers of this model's architecture cannot be read")
        except (Aborted, GptcliError):
            self._clear()
            raise

    def _on_tensor(self, tensor: int, is_question: bool, _data: object) -> bool:
        """Say whether a tensor is wanted, then copy it; False there ends the evaluation."""
        import numpy as np

        layer = self._names.get(self._ggml_name(tensor))
        if layer is None or is_question:
            return layer is not None
        rows = np.empty((self._ggml_count(tensor) // self._size, self._size), dtype=np.float32)
        self._ggml_get(tensor, rows.ctypes.data, 0, rows.nbytes)
        self._found[layer] = rows
        return len(self._found) < len(self._names)


def _tensor_functions(lib: Any) -> tuple[Any, Any, Any]:
    """Return ggml's functions for a tensor's name, count of elements, and content."""
    from llama_cpp._ctypes_extensions import load_shared_library

    library = load_shared_library("ggml-base", Path(lib._lib._name).parent)
    name, count, get = library.ggml_get_name, library.ggml_nelements, library.ggml_backend_tensor_get
    name.argtypes, name.restype = [ctypes.c_void_p], ctypes.c_char_p
    count.argtypes, count.restype = [ctypes.c_void_p], ctypes.c_int64
    get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    get.restype = None
    return name, count, get
