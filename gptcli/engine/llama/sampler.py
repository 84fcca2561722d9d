"""llama.cpp's sampler chain for one request, and grammar-constrained sampling on top of it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

from gptcli.errors import GptcliError, UsageError
from gptcli.sampling import DRY_SEQUENCE_BREAKERS, OutputConstraint, SamplingParams, new_seed

MIROSTAT_M = 100  # tokens considered by Mirostat 1, as in llama.cpp's own programs


class Logits:
    """The logits of a context's last evaluation, by row. `context` is asked each time: it may be new."""

    def __init__(self, lib: Any, context: Callable[[], Any], vocab_size: int) -> None:
        self._lib = lib
        self.context = context
        self.vocab_size = vocab_size
        self._candidates: Any = None  # 3 MiB for 262,144 tokens: one for all samplers

    def row(self, row: int) -> Any:
        """Return a row as a float32 array of `vocab_size`.

        It is llama.cpp's own memory: valid until the next evaluation.
        """
        import numpy as np

        pointer = self._lib.llama_get_logits_ith(self.context(), row)
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        if address is None:
            raise GptcliError("llama.cpp has no logits for this position")
        memory: Any = (ctypes.c_float * self.vocab_size).from_address(address)
        return np.frombuffer(memory, np.float32)

    def candidates(self, row: int) -> Any:
        """Return a row as llama.cpp's array of candidates, valid until the next call."""
        import numpy as np

        if self._candidates is None:
            self._candidates = np.zeros(
                self.vocab_size, dtype=[("id", np.int32), ("logit", np.float32), ("p", np.float32)]
            )
        self._candidates["id"] = np.arange(self.vocab_size, dtype=np.int32)
        self._candidates["logit"] = self.row(row)
        data = self._candidates.ctypes.data_as(self._lib.llama_token_data_p)
        return self._lib.llama_token_data_array(data, self.vocab_size, -1, False)


def logprobs(logits: Any, tokens: Sequence[int]) -> list[float]:
    """Return log P of each token, in nats, from a row of logits."""
    log_total = log_sum_exp(logits)
    return [float(logits[token]) - log_total for token in tokens]


def log_sum_exp(logits: Any) -> float:
    import numpy as np

    highest = float(logits.max())
    # float32 sums of 262,144 terms lose digits; the accumulator is float64.
    return highest + math.log(float(np.exp(logits - highest).sum(dtype=np.float64)))


class Sampler:
    """Chooses tokens for one request. `params` has no gaps (`SamplingParams.with_defaults`).

    Raises UsageError for a constraint that is not a grammar. Call `close` when done: it holds C memory.
    """

    def __init__(
        self,
        lib: Any,
        vocab: Any,
        logits: Logits,
        window: int,
        params: SamplingParams,
        constraint: OutputConstraint | None,
    ) -> None:
        self._lib, self._vocab, self._logits = lib, vocab, logits
        self._vocab_size = logits.vocab_size
        self._window = window
        self.seed = new_seed() if params.seed is None else params.seed
        self._grammar = self._compile(constraint) if constraint is not None else None
        self._chain = self._build(params)
        self._is_plain_greedy = _is_greedy(params) and not (
            _has_penalties(params) or params.dry_multiplier or params.logit_bias
        )
        self._looks_back = self._penalty_window(params)

    def close(self) -> None:
        for sampler in (self._chain, self._grammar):
            if sampler is not None:
                self._lib.llama_sampler_free(sampler)
        self._chain = self._grammar = None

    def accept_prompt(self, tokens: Sequence[int]) -> None:
        """Show the penalties what the prompt ends with, as llama.cpp's own programs do."""
        for token in tokens[-self._looks_back :] if self._looks_back else ():
            self._lib.llama_sampler_accept(self._chain, token)

    def sample(self, row: int) -> int:
        """Return the next token, by the logits of a row of the last evaluation."""
        if self._grammar is not None:
            return self._sample_within_grammar(row)
        if self._is_plain_greedy:
            # llama.cpp's sampler copies the whole vocabulary first: 0.25 ms for 262,144 tokens, a
            # fortieth of the time of a token of a small model. This takes 0.015 ms.
            return int(self._logits.row(row).argmax())
        return int(self._lib.llama_sampler_sample(self._chain, self._logits.context(), row))

    # -------------------------------------------------------------------------------------- chain

    def _build(self, p: SamplingParams) -> Any:
        # The order is that of llama.cpp's common_sampler_init.
        lib, vocab = self._lib, self._vocab
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        add = self._adder(chain)
        if p.logit_bias:
            biases = self._biases(p.logit_bias)
            add(lib.llama_sampler_init_logit_bias(self._vocab_size, len(biases), biases))
        if p.mirostat:
            add(lib.llama_sampler_init_temp(p.temperature))
            if p.mirostat == 1:
                m = (self._vocab_size, self.seed, p.mirostat_ent, p.mirostat_lr, MIROSTAT_M)
                add(lib.llama_sampler_init_mirostat(*m))
            else:
                add(lib.llama_sampler_init_mirostat_v2(self.seed, p.mirostat_ent, p.mirostat_lr))
            return chain
        if _has_penalties(p):
            penalties = (p.repeat_penalty, p.frequency_penalty, p.presence_penalty)
            last_n = self._last_n(p.repeat_last_n)
            add(lib.llama_sampler_init_penalties(self._vocab_size, last_n, *penalties))
        if p.dry_multiplier:
            breakers = (ctypes.c_char_p * len(DRY_SEQUENCE_BREAKERS))(
                *(text.encode() for text in DRY_SEQUENCE_BREAKERS)
            )
            dry = (
                p.dry_multiplier,
                p.dry_base,
                p.dry_allowed_length,
                self._last_n(p.dry_penalty_last_n),
            )
            add(lib.llama_sampler_init_dry(vocab, *dry, breakers, len(breakers)))
        if _is_greedy(p):
            add(lib.llama_sampler_init_greedy())
            return chain
        add(lib.llama_sampler_init_top_n_sigma(p.top_n_sigma))
        add(lib.llama_sampler_init_top_k(p.top_k))
        add(lib.llama_sampler_init_typical(p.typical_p, 0))
        add(lib.llama_sampler_init_top_p(p.top_p, 0))
        add(lib.llama_sampler_init_min_p(p.min_p, 0))
        add(lib.llama_sampler_init_xtc(p.xtc_probability, p.xtc_threshold, 0, self.seed))
        add(lib.llama_sampler_init_temp_ext(p.temperature, p.dynatemp_range, p.dynatemp_exponent))
        add(lib.llama_sampler_init_dist(self.seed))
        return chain

    def _adder(self, chain: Any) -> Any:
        return lambda sampler: self._lib.llama_sampler_chain_add(chain, sampler)

    def _last_n(self, tokens: int | None) -> int:
        return self._window if tokens == -1 else tokens or 0

    def _penalty_window(self, p: SamplingParams) -> int:
        used = [self._last_n(p.dry_penalty_last_n)] if p.dry_multiplier else []
        if _has_penalties(p):
            used.append(self._last_n(p.repeat_last_n))
        return 0 if p.mirostat else max(used, default=0)

    def _biases(self, biases: Sequence[tuple[int | str, float]]) -> Any:
        by_token: dict[int, float] = {}
        for key, bias in biases:
            for token in self._tokens_of(key):
                by_token[token] = bias
        array = (self._lib.llama_logit_bias * len(by_token))()
        for n, (token, bias) in enumerate(by_token.items()):
            array[n].token, array[n].bias = token, bias
        return array

    def _tokens_of(self, key: int | str) -> Sequence[int]:
        if isinstance(key, int):
            if not 0 <= key < self._vocab_size:
                raise UsageError(
                    f"--logit-bias: no token {key}: this model's are 0 to {self._vocab_size - 1}"
                )
            return (key,)
        data = key.encode()
        tokens = (ctypes.c_int32 * (len(data) + 8))()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), tokens, len(tokens), False, False)
        return tokens[: max(count, 0)]

    # ------------------------------------------------------------------------------------ grammar

    def _compile(self, constraint: OutputConstraint) -> Any:
        from gptcli.engine.grammar import to_gbnf  # 16 ms, and rarely needed

        grammar = self._lib.llama_sampler_init_grammar(
            self._vocab, to_gbnf(constraint).encode(), b"root"
        )
        if not grammar:
            raise UsageError(f"llama.cpp does not accept this {constraint.kind.replace('_', ' ')}")
        return grammar

    def _sample_within_grammar(self, row: int) -> int:
        # Testing a whole vocabulary against a grammar takes tens of milliseconds, testing the one
        # token that the chain chose takes microseconds, and most of the time it is allowed
        # (the same order as in llama.cpp's common_sampler_sample).
        if self._is_plain_greedy:
            token = int(self._logits.row(row).argmax())
        else:
            token, _ = self._choose(self._logits.candidates(row))
        if not self._is_allowed(token):
            array = self._logits.candidates(row)
            self._lib.llama_sampler_apply(self._grammar, ctypes.byref(array))
            token, logit = self._choose(array)
            if math.isinf(logit) and logit < 0:
                raise GptcliError("the grammar leaves the model no token to go on with")
        self._lib.llama_sampler_accept(self._grammar, token)
        self._lib.llama_sampler_accept(self._chain, token)
        return token

    def _choose(self, array: Any) -> tuple[int, float]:
        self._lib.llama_sampler_apply(self._chain, ctypes.byref(array))
        chosen = array.data[array.selected]
        return int(chosen.id), float(chosen.logit)

    def _is_allowed(self, token: int) -> bool:
        one = (self._lib.llama_token_data * 1)()
        one[0].id, one[0].logit = token, 1.0
        array = self._lib.llama_token_data_array(one, 1, -1, False)
        self._lib.llama_sampler_apply(self._grammar, ctypes.byref(array))
        return not math.isinf(one[0].logit)


def _has_penalties(p: SamplingParams) -> bool:
    return p.repeat_penalty != 1 or bool(p.frequency_penalty or p.presence_penalty)


def _is_greedy(p: SamplingParams) -> bool:
    """Tell whether the most likely token is always taken. XTC and typical sampling may remove it,
    and a dynamic temperature of 0 +- range is none of 0.
    """
    removes_best = p.xtc_probability or p.typical_p != 1
    return p.temperature == 0 and not (removes_best or p.dynatemp_range or p.mirostat)
