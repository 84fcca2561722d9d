"""A model with its context: evaluation, KV cache, sampling, scores and embeddings of one sequence."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from typing import Any

from gptcli.engine.api import EngineSettings, TokenLogprob
from gptcli.engine.llama.devices import kv_bytes_per_token
from gptcli.engine.llama.model import DEFAULT_WINDOW, LlamaModel
from gptcli.engine.llama.sampler import Sampler, logits_row
from gptcli.engine.machine import memory
from gptcli.engine.scheduler import Aborted
from gptcli.errors import ContextOverflowError, GptcliError, MemoryFitError
from gptcli.sampling import OutputConstraint, SamplingParams

BATCH_TOKENS = 512  # tokens evaluated in one call: also how often a long prompt can be stopped on a GPU
EMBED_TOKENS = 2048  # the longest text to embed: pooling wants it in one batch


class LlamaBackend(LlamaModel):
    """A model that can be run (`gptcli.engine.scheduler.Backend`)."""

    def __init__(self, settings: EngineSettings, *, extra_buffers: bool = True) -> None:
        super().__init__(settings, extra_buffers=extra_buffers)
        self._window_asked = settings.ctx_size
        self._context: Any = None
        self._memory: Any = None
        self._embedder: Any = None
        self.window = 0
        self._tokens: list[int] = []  # what the KV cache holds
        self._batch = self._lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._prefix: tuple[int, ...] = ()
        self._prefix_logits: Any = None
        self._init_abort()

    def close(self) -> None:
        for context in (self._context, self._embedder):
            if context is not None:
                self._lib.llama_free(context)
        self._context = self._embedder = None
        super().close()

    # ------------------------------------------------------------------------------------ context

    def reserve(self, tokens: int) -> int:
        """Make the context window hold `tokens`, if the model can; return the window's size.

        Raises MemoryFitError when the KV cache does not fit.
        """
        limit = self.info.context_limit
        wanted = min(limit, self._window_asked or max(DEFAULT_WINDOW, 1 << (tokens - 1).bit_length()))
        if self._context is not None and self.window >= wanted:
            return self.window
        if self._context is not None:
            self._lib.llama_free(self._context)
            self._context = None
        self._context = self._open_context(wanted)
        self._memory = self._lib.llama_get_memory(self._context)
        self.window = min(limit, self._lib.llama_n_ctx(self._context))
        self._tokens = []
        return self.window

    def _open_context(self, window: int, *, embeddings: bool = False) -> Any:
        lib = self._lib
        self._check_memory(window)
        params = lib.llama_context_default_params()
        params.n_ctx = window
        params.n_batch = params.n_ubatch = window if embeddings else BATCH_TOKENS
        params.n_seq_max = 1
        params.swa_full = False
        params.n_threads = params.n_threads_batch = self._threads
        params.abort_callback = self._abort_callback
        params.abort_callback_data = ctypes.addressof(self._abort_flag)
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

    def prefill(self, tokens: Sequence[int]) -> int:
        """Bring the KV cache to hold exactly `tokens`, with logits of the last; return how many it
        held already. Raises Aborted.
        """
        cached = self._reuse(tokens)
        for start in range(cached, len(tokens), BATCH_TOKENS):
            chunk = tokens[start : start + BATCH_TOKENS]
            is_last = start + len(chunk) == len(tokens)
            self._decode(chunk, output=[is_last and n == len(chunk) - 1 for n in range(len(chunk))])
        return cached

    def extend(self, token: int) -> None:
        """Evaluate one more token. Raises Aborted."""
        self._decode((token,), output=(True,))

    def _reuse(self, tokens: Sequence[int]) -> int:
        common = 0
        # The last token is always evaluated: its logits are wanted.
        for held, wanted in zip(self._tokens, tokens[:-1], strict=False):
            if held != wanted:
                break
            common += 1
        if common == len(self._tokens) or self._truncate(common):
            return common
        self._lib.llama_memory_clear(self._memory, True)
        self._tokens = []
        return 0

    def _truncate(self, length: int) -> bool:
        """Drop the KV cache behind `length` tokens; False if this model's memory cannot."""
        if not self._lib.llama_memory_seq_rm(self._memory, 0, length, -1):
            return False
        # A sliding-window cache may have forgotten what the tokens before `length` still look at.
        sliding = self._lib.llama_model_n_swa(self._model)
        if sliding > 0 and length > 0:
            oldest = self._lib.llama_memory_seq_pos_min(self._memory, 0)
            if oldest < 0 or oldest > max(0, length - sliding):
                return False
        del self._tokens[length:]
        return True

    def _decode(self, tokens: Sequence[int], output: Sequence[bool]) -> None:
        _fill(self._batch, tokens, len(self._tokens), output)
        status = self._lib.llama_decode(self._context, self._batch)
        if status != 0:
            self._lib.llama_memory_clear(self._memory, True)
            self._tokens = []
            if status == 2:
                raise Aborted
            raise GptcliError(f"llama.cpp could not evaluate the text (llama_decode: {status})")
        self._tokens.extend(tokens)

    # ----------------------------------------------------------------------------------- sampling

    def sampler(self, sampling: SamplingParams, constraint: OutputConstraint | None) -> Sampler:
        """Return llama.cpp's sampler chain for these parameters, in llama.cpp's order."""
        filled = sampling.with_defaults(self.info.sampling)
        return Sampler(self._lib, self._vocab, self._context, self.window, filled, constraint)

    def logits(self, output: int = -1) -> Any:
        """Return an output row's logits, float32 x vocab_size, valid until the next evaluation."""
        return logits_row(self._lib, self._context, output, self.vocab_size)

    def token_logprob(self, token: int, alternatives: int) -> TokenLogprob:
        """Return log P(token) at the last position, before any sampler, with the most likely others."""
        import numpy as np

        logits = self.logits()
        log_total = _log_sum_exp(logits)
        count = min(alternatives, self.vocab_size)
        best = np.argpartition(logits, -count)[-count:] if count else np.array([], dtype=int)
        best = best[np.argsort(-logits[best])]
        top = tuple((self._token_text(int(n)), float(logits[n] - log_total)) for n in best)
        return TokenLogprob(self._token_text(token), float(logits[token] - log_total), top)

    def _token_text(self, token: int) -> str:
        return self.special_piece(token).decode("utf-8", "replace")

    # -------------------------------------------------------------------------- scores, embeddings

    def continuation_logprob(self, prefix: Sequence[int], continuation: Sequence[int]) -> float:
        """Return log P(continuation | prefix) in nats, summed over the continuation's tokens.

        Raises Aborted.
        """
        self._rewind_to(prefix)
        total = self._logprob(self._prefix_logits, continuation[0])
        for start in range(0, len(continuation) - 1, BATCH_TOKENS):
            chunk = continuation[:-1][start : start + BATCH_TOKENS]
            self._decode(chunk, output=[True] * len(chunk))
            for row, token in enumerate(continuation[1 + start : 1 + start + len(chunk)]):
                total += self._logprob(self.logits(row), token)
        return total

    def _rewind_to(self, prefix: Sequence[int]) -> None:
        """Bring the KV cache to hold the prefix, and `_prefix_logits` to be what follows it."""
        known = self._prefix == tuple(prefix)
        held = known and self._tokens[: len(prefix)] == list(prefix)
        if held and (len(self._tokens) == len(prefix) or self._truncate(len(prefix))):
            return
        self.prefill(prefix)
        self._prefix, self._prefix_logits = tuple(prefix), self.logits().copy()

    @staticmethod
    def _logprob(logits: Any, token: int) -> float:
        return float(logits[token] - _log_sum_exp(logits))

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
            _fill(batch, tokens, 0, [True] * len(tokens))
            status = lib.llama_decode(self._embedder, batch)
        finally:
            lib.llama_batch_free(batch)
        if status == 2:
            raise Aborted
        if status != 0:
            raise GptcliError(f"llama.cpp could not embed the text (llama_decode: {status})")
        pointer = lib.llama_get_embeddings_seq(self._embedder, 0)
        if not pointer:
            raise GptcliError("this model gives no embeddings")
        vector = pointer[: self.info.embedding_size]
        norm = math.sqrt(sum(value * value for value in vector)) or 1.0
        return tuple(value / norm for value in vector)


def _fill(batch: Any, tokens: Sequence[int], start: int, output: Sequence[bool]) -> None:
    batch.n_tokens = len(tokens)
    for n, token in enumerate(tokens):
        batch.token[n] = token
        batch.pos[n] = start + n
        batch.n_seq_id[n] = 1
        batch.seq_id[n][0] = 0
        batch.logits[n] = output[n]


def _log_sum_exp(logits: Any) -> float:
    import numpy as np

    highest = float(logits.max())
    # float32 sums of 262,144 terms lose digits; the accumulator is float64.
    return highest + math.log(float(np.exp(logits - highest).sum(dtype=np.float64)))
