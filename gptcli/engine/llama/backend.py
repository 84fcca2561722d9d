"""A model with its context: evaluation and KV cache of several sequences, sampling, embeddings."""

from __future__ import annotations

import ctypes
import math
import os
from array import array
from collections.abc import Sequence
from typing import Any

from gptcli.engine.api import EngineSettings, HiddenState, TokenLogprob
from gptcli.engine.backend import Aborted, Span
from gptcli.engine.embedding import EMBED_TOKENS, TEXTS_AT_ONCE
from gptcli.engine.llama.batch import decode
from gptcli.engine.llama.devices import kv_bytes_per_token
from gptcli.engine.llama.hidden_states import HiddenStates
from gptcli.engine.llama.model import LlamaModel
from gptcli.engine.llama.sampler import Logits, Sampler, log_sum_exp, logprobs
from gptcli.engine.llama.states import restored, saved, state_size
from gptcli.engine.llama.tiled_context import LlamaTiledContext
from gptcli.engine.machine import memory
from gptcli.errors import ContextOverflowError, GptcliError, MemoryFitError
from gptcli.sampling import OutputConstraint, SamplingParams

BATCH_TOKENS = 512  # tokens evaluated in one call: also how often a long prompt can be stopped on a GPU
SMALLEST_CACHE = 512  # tokens


class LlamaBackend(LlamaModel):
    """A model that can be run (`gptcli.engine.backend.Backend`)."""

    def __init__(self, settings: EngineSettings, *, extra_buffers: bool = True) -> None:
        super().__init__(settings, extra_buffers=extra_buffers)
        self.window_asked = settings.ctx_size
        self._context: Any = None
        self._memory: Any = None
        self._embedder: Any = None
        self._hidden_states: HiddenStates | None = None
        self.window = 0
        self.batch_tokens = BATCH_TOKENS
        self._batch = self._lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._sliding = self._lib.llama_model_n_swa(self._model)
        # A recurrent state holds all tokens before it at once: a part of them cannot be taken away.
        self.copies_parts = not (
            self._lib.llama_model_is_recurrent(self._model)
            or self._lib.llama_model_is_hybrid(self._model)
        )
        # The state that llama.cpp saves of a sliding window is that of the last tokens alone.
        self.restores_parts = self.copies_parts and self._sliding <= 0
        self._logits = Logits(self._lib, lambda: self._context, self.vocab_size)
        self._init_abort()
        self.tiled = None
        if self.copies_parts and not self._gpu_layers:
            self.tiled = LlamaTiledContext(
                self._lib,
                lambda cells, sequences: self._open_context(cells, sequences=sequences),
                batch_tokens=BATCH_TOKENS,
                vocab_size=self.vocab_size,
                restores_parts=self.restores_parts,
            )

    def close(self) -> None:
        if self.tiled is not None:
            self.tiled.close()
        for context in (self._context, self._embedder):
            if context is not None:
                self._lib.llama_free(context)
        self._context = self._embedder = None
        if self._hidden_states is not None:
            self._hidden_states.close()
        super().close()

    # ------------------------------------------------------------------------------------ context

    def open(self, sequences: int, cells: int) -> int:
        """Open a context for so many sequences that share so many cells; return how many there are.

        Raises MemoryFitError when the KV cache does not fit.
        """
        if self._context is not None:
            self._lib.llama_free(self._context)
            self._context = None
        self._context = self._open_context(cells, sequences=sequences)
        self._memory = self._lib.llama_get_memory(self._context)
        self.window = min(cells, self._lib.llama_n_ctx(self._context))
        return self.window

    def most_cells(self) -> int:
        """Return the tokens that half of the free memory holds."""
        per_token, found = kv_bytes_per_token(self._lib, self._model), memory()
        free = found.available if found is not None else 1 << 33
        return max(SMALLEST_CACHE, free // 2 // max(1, per_token))

    def _open_context(
        self, window: int, *, sequences: int = 1, embeddings: bool = False, on_tensor: Any = None
    ) -> Any:
        lib = self._lib
        self._check_memory(window)
        params = lib.llama_context_default_params()
        params.n_ctx = window
        params.n_batch = params.n_ubatch = window if embeddings else BATCH_TOKENS
        params.n_seq_max = sequences
        params.kv_unified = True  # a prefix is shared, and a long text may have what others leave
        params.swa_full = False
        params.n_threads = params.n_threads_batch = self._threads
        params.abort_callback = self._abort_callback
        params.abort_callback_data = ctypes.addressof(self._abort_flag)
        if on_tensor is not None:
            params.cb_eval = on_tensor
        if embeddings:
            params.embeddings = True
            if self.metadata(f"{self.info.architecture}.pooling_type") is None:
                params.pooling_type = 1  # LLAMA_POOLING_TYPE_MEAN, for models that name none
        context = lib.llama_init_from_model(self._model, params)
        if not context:
            raise MemoryFitError(
                f"llama.cpp cannot open a context window of {window} tokens: "
                f"{self._last_log('no reason given')}",
                hint=f"--ctx-size {max(512, window // 2)}",
            )
        return context

    def _check_memory(self, window: int) -> None:
        per_token = kv_bytes_per_token(self._lib, self._model)
        found = memory()
        if self._gpu_layers or found is None or per_token * window <= found.available:
            return
        fitting = 1 << (found.available // 2 // per_token).bit_length() - 1
        raise MemoryFitError(
            f"a context window of {window} tokens needs {per_token * window / 2**30:.1f} GiB "
            f"for its KV cache, and {found.available / 2**30:.1f} GiB are free",
            hint=f"--ctx-size {fitting}",
        )

    def _init_abort(self) -> None:
        # The callback is asked at every node of the graph. In Python it would need the GIL hundreds
        # of times per token; strlen of a two-byte buffer answers the same question in C: 0 or 1.
        libc = ctypes.CDLL(None if os.name == "posix" else "msvcrt")
        self._abort_flag = ctypes.create_string_buffer(2)
        self._abort_callback = ctypes.cast(libc.strlen, self._lib.ggml_abort_callback)

    def abort(self) -> None:
        """Stop the evaluation in progress, from any thread: it raises Aborted."""
        self._abort_flag[0] = b"\x01"

    def resume(self) -> None:
        """Allow evaluations again after `abort`."""
        self._abort_flag[0] = b"\x00"

    # ------------------------------------------------------------------------------------- memory

    def evaluate(self, spans: Sequence[Span]) -> None:
        """Evaluate the spans in one call, at most `batch_tokens` in all, and set their rows.

        Raises Aborted, or GptcliError; the cache is empty then.
        """
        try:
            decode(self._lib, self._context, self._batch, spans)
        except (Aborted, GptcliError):
            self._lib.llama_memory_clear(self._memory, True)
            raise

    def copy(self, source: int, target: int, length: int, held: int) -> bool:
        """Give the empty sequence `target` the first `length` of the `held` tokens of `source`.

        False if this model's memory cannot: a recurrent state is copied only whole, and a sliding window
        may have forgotten what the tokens behind `length` still look at.
        """
        if length != held and not (self.copies_parts and self._reaches_back(source, length)):
            return False
        end = -1 if length == held else length
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0 if end >= 0 else -1, end)
        return True

    def truncate(self, sequence: int, length: int) -> bool:
        """Drop what a sequence holds behind `length` tokens; False if this model's memory cannot."""
        if not (self.copies_parts and self._reaches_back(sequence, length)):
            return False
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def clear(self, sequence: int) -> None:
        """Drop all that a sequence holds."""
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def save_state(self, sequence: int) -> memoryview | None:
        """Return what the memory holds of a sequence, to be restored into this model and build.

        None if that is more than an eighth of the weights: its copy would show in the peak of memory.
        """
        if state_size(self._lib, self._context, sequence) > self.info.size_bytes // 8:
            return None
        return saved(self._lib, self._context, sequence)

    def restore_state(self, sequence: int, state: bytearray | memoryview) -> bool:
        """Fill an empty sequence with a saved state; False if it does not fit."""
        return restored(self._lib, self._context, sequence, state)

    def _reaches_back(self, sequence: int, length: int) -> bool:
        """Tell whether the sequence's memory has all that a token at `length` looks at."""
        if self._sliding <= 0 or not length:
            return True
        oldest = self._lib.llama_memory_seq_pos_min(self._memory, sequence)
        return bool(0 <= oldest <= max(0, length - self._sliding))

    # ----------------------------------------------------------------------------------- sampling

    def sampler(self, sampling: SamplingParams, constraint: OutputConstraint | None) -> Sampler:
        """Return llama.cpp's sampler chain for these parameters, in llama.cpp's order."""
        filled = sampling.with_defaults(self.info.sampling)
        window = min(self.info.context_limit, self.window or self.info.context_limit)
        return Sampler(self._lib, self._vocab, self._logits, window, filled, constraint)

    def logprobs(self, row: int, tokens: Sequence[int]) -> list[float]:
        """Return log P of each token, in nats, at an output row."""
        return logprobs(self._logits.row(row), tokens)

    def token_logprob(self, token: int, alternatives: int, row: int) -> TokenLogprob:
        """Return log P(token) at a row, before any sampler, with the most likely others."""
        import numpy as np

        logits = self._logits.row(row)
        log_total = log_sum_exp(logits)
        count = min(alternatives, self.vocab_size)
        best = np.argpartition(logits, -count)[-count:] if count else np.array([], dtype=int)
        best = best[np.argsort(-logits[best])]
        top = tuple((self._token_text(int(n)), float(logits[n] - log_total)) for n in best)
        return TokenLogprob(self._token_text(token), float(logits[token] - log_total), top)

    def _token_text(self, token: int) -> str:
        return self.special_piece(token).decode("utf-8", "replace")

    # --------------------------------------------------------------------------------- embeddings

    def embed(self, tokens: Sequence[int]) -> tuple[float, ...]:
        """Return the text's embedding, pooled as the model says (else the mean), of length 1.

        Raises Aborted, and GptcliError when the model gives none or the text is too long.
        """
        lib, size = self._lib, min(self.info.context_limit, EMBED_TOKENS)
        if len(tokens) > size:
            raise ContextOverflowError(
                f"a text of {len(tokens)} tokens is too long to embed: at most {size}",
                prompt_tokens=len(tokens),
                context_size=size,
            )
        if self._embedder is None:
            self._embedder = self._open_context(size, embeddings=True)
        memory = lib.llama_get_memory(self._embedder)
        if memory:
            lib.llama_memory_clear(memory, True)
        batch = lib.llama_batch_init(max(1, len(tokens)), 0, 1)
        try:
            decode(lib, self._embedder, batch, [Span(0, tokens, 0, all_rows=True)])
        finally:
            lib.llama_batch_free(batch)
        pointer = lib.llama_get_embeddings_seq(self._embedder, 0)
        if not pointer:
            raise GptcliError("this model gives no embeddings")
        vector = pointer[: self.info.embedding_size]
        norm = math.sqrt(sum(value * value for value in vector)) or 1.0
        return tuple(value / norm for value in vector)

    def hidden_states(
        self, texts: Sequence[Sequence[int]], states: Sequence[HiddenState]
    ) -> list[tuple[array[float], ...]]:
        """Return each text's hidden states. Raises Aborted, and GptcliError."""
        if self._hidden_states is None:
            cells, sequences = EMBED_TOKENS + BATCH_TOKENS, TEXTS_AT_ONCE + 1
            self._hidden_states = HiddenStates(
                self._lib,
                lambda callback: self._open_context(cells, sequences=sequences, on_tensor=callback),
                batch_tokens=BATCH_TOKENS,
                size=self.info.embedding_size,
                in_turn=not self.copies_parts,
            )
        return self._hidden_states.read(texts, states)
