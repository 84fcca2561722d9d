"""What a grammar lets through is asked of llama.cpp itself, byte by byte, on a tiny vocabulary."""

from __future__ import annotations

import contextlib
import ctypes
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from gptcli.engine.grammar import to_gbnf
from gptcli.engine.llama.bindings import load_bindings
from gptcli.errors import UsageError
from gptcli.sampling import OutputConstraint

EOS = 2
FIRST_BYTE = 5  # tokens 5 to 260 are the bytes

quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
_log_callbacks: list[Any] = []  # llama.cpp keeps the pointer for as long as the process lives


class Matcher:
    """llama.cpp's grammar sampler over a vocabulary of single bytes."""

    def __init__(self, model: Path) -> None:
        self._lib = lib = load_bindings()
        _log_callbacks.append(lib.llama_log_callback(lambda *_: None))
        lib.llama_log_set(_log_callbacks[-1], None)
        params = lib.llama_model_default_params()
        params.vocab_only = True
        self._model = lib.llama_model_load_from_file(str(model).encode(), params)
        self._vocab = lib.llama_model_get_vocab(self._model)

    def close(self) -> None:
        self._lib.llama_model_free(self._model)

    def takes(self, grammar: str) -> bool:
        with self._sampler(grammar) as sampler:
            return sampler is not None

    def accepts(self, grammar: str, text: str) -> bool:
        """Tell whether the output may be exactly `text`."""
        with self._sampler(grammar) as sampler:
            assert sampler is not None, grammar
            for byte in text.encode():
                if not self._allowed(sampler, [FIRST_BYTE + byte]):
                    return False
                self._lib.llama_sampler_accept(sampler, FIRST_BYTE + byte)
            return bool(self._allowed(sampler, [EOS]))

    def write(self, grammar: str, chance: random.Random, most: int = 2000) -> str | None:
        """Return a random ASCII output, or None if it gets long."""
        every = [EOS, *range(FIRST_BYTE, FIRST_BYTE + 128)]
        written = bytearray()
        with self._sampler(grammar) as sampler:
            assert sampler is not None, grammar
            while len(written) < most:
                allowed = self._allowed(sampler, every)
                assert allowed, f"no way on after {written!r}"
                if EOS in allowed and (len(allowed) == 1 or chance.random() < 0.3):
                    return written.decode()
                allowed = [token for token in allowed if token != EOS]
                closing = [token for token in allowed if chr(token - FIRST_BYTE) in '"]}']
                token = chance.choice(closing if closing and chance.random() < 0.5 else allowed)
                self._lib.llama_sampler_accept(sampler, token)
                written.append(token - FIRST_BYTE)
        return None

    @contextlib.contextmanager
    def _sampler(self, grammar: str) -> Iterator[Any]:
        sampler = self._lib.llama_sampler_init_grammar(self._vocab, grammar.encode(), b"root")
        try:
            yield sampler
        finally:
            if sampler:
                self._lib.llama_sampler_free(sampler)

    def _allowed(self, sampler: Any, tokens: list[int]) -> list[int]:
        candidates = (self._lib.llama_token_data * len(tokens))()
        for candidate, token in zip(candidates, tokens, strict=True):
            candidate.id, candidate.logit = token, 1.0
        array = self._lib.llama_token_data_array(candidates, len(tokens), -1, False)
        self._lib.llama_sampler_apply(sampler, ctypes.byref(array))
        return [candidate.id for candidate in candidates if candidate.logit > 0]


def choices(*texts: str) -> str:
    return to_gbnf(OutputConstraint("choices", choices=texts))


def regex(pattern: str) -> str:
    return to_gbnf(OutputConstraint("regex", pattern))


def schema(value: Any) -> str:
    return to_gbnf(OutputConstraint("json_schema", json.dumps(value)))


def refused(make: Callable[[str], object], source: str) -> str:
    with pytest.raises(UsageError) as caught:
        make(source)
    assert "\n" not in caught.value.message
    return caught.value.message
