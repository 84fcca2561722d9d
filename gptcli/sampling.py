"""How the next token is chosen (llama.cpp's samplers by their llama.cpp names) and what it may be."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields
from typing import Any, Literal

from gptcli.errors import UsageError

DRY_SEQUENCE_BREAKERS = ("\n", ":", '"', "*")
MAX_SEED = 2**32 - 2  # 2**32 - 1 is llama.cpp's LLAMA_DEFAULT_SEED, "choose one at random"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. Field names and meanings are those of llama.cpp.

    None means: not given, take the model's own default (`general.sampling.*` in its GGUF),
    and then llama.cpp's (`DEFAULTS`).
    Raises UsageError when a value is out of range.
    """

    temperature: float | None = None  # 0: greedy, always the most likely token
    top_k: int | None = None  # 0: off
    top_p: float | None = None  # 1: off
    min_p: float | None = None  # 0: off
    typical_p: float | None = None  # 1: off
    top_n_sigma: float | None = None  # -1: off
    xtc_probability: float | None = None  # 0: off
    xtc_threshold: float | None = None  # > 0.5: off
    dynatemp_range: float | None = None  # 0: off
    dynatemp_exponent: float | None = None
    dry_multiplier: float | None = None  # 0: off
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None  # tokens; 0: off, -1: the context window
    repeat_penalty: float | None = None  # 1: off
    repeat_last_n: int | None = None  # tokens; 0: off, -1: the context window
    presence_penalty: float | None = None  # 0: off
    frequency_penalty: float | None = None  # 0: off
    mirostat: int | None = None  # 0: off, 1, 2: Mirostat versions
    mirostat_ent: float | None = None  # tau, target entropy (nats)
    mirostat_lr: float | None = None  # eta, learning rate
    seed: int | None = None  # None: a new one each time
    logit_bias: tuple[tuple[int | str, float], ...] = ()  # (token id or text, added logit)
    max_tokens: int | None = None  # None: until the context window is full

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and math.isfinite(value)):
                raise UsageError(f"{option_name(name)} must be {_range_text(low, high)}, not {value}")

    def with_defaults(self, model_defaults: SamplingParams | None = None) -> SamplingParams:
        """Return the same parameters with every gap filled: the model's default, then llama.cpp's."""
        filled: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and model_defaults is not None:
                value = getattr(model_defaults, field.name)
            filled[field.name] = DEFAULTS.get(field.name) if value is None else value
        return SamplingParams(**filled)


# llama.cpp's own defaults: struct common_params_sampling in common/common.h.
DEFAULTS: dict[str, float | int] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "xtc_probability": 0.0,
    "xtc_threshold": 0.1,
    "dynatemp_range": 0.0,
    "dynatemp_exponent": 1.0,
    "dry_multiplier": 0.0,
    "dry_base": 1.75,
    "dry_allowed_length": 2,
    "dry_penalty_last_n": 64,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "mirostat": 0,
    "mirostat_ent": 5.0,
    "mirostat_lr": 0.1,
}

RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 10),
    "top_k": (0, 2**31 - 1),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "top_n_sigma": (-1, 100),
    "xtc_probability": (0, 1),
    "xtc_threshold": (0, 1),
    "dynatemp_range": (0, 10),
    "dynatemp_exponent": (0, 100),
    "dry_multiplier": (0, 100),
    "dry_base": (1, 100),
    "dry_allowed_length": (1, 2**31 - 1),
    "dry_penalty_last_n": (-1, 2**31 - 1),
    "repeat_penalty": (0.01, 100),
    "repeat_last_n": (-1, 2**31 - 1),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "mirostat": (0, 2),
    "mirostat_ent": (0, 100),
    "mirostat_lr": (0, 1),
    "seed": (0, MAX_SEED),
    "max_tokens": (0, 2**31 - 1),
}


def new_seed() -> int:
    """Return a random seed."""
    return int.from_bytes(os.urandom(4), "little") % (MAX_SEED + 1)


def option_name(field_name: str) -> str:
    """Return the command-line option that sets a field: top_k -> --top-k."""
    return "--" + field_name.replace("_", "-")


def _range_text(low: float, high: float) -> str:
    return f"between {low:g} and {high:g}" if high < 2**31 - 1 else f"at least {low:g}"


ConstraintKind = Literal["grammar", "json_schema", "choices", "regex"]


@dataclass(frozen=True, slots=True)
class OutputConstraint:
    """What the output must look like; the engine compiles it to a grammar and samples within it.

    kind `grammar`: `source` is GBNF. `json_schema`: a JSON Schema as JSON text. `regex`: a regular
    expression the whole output matches. `choices`: `choices` lists the outputs allowed.
    """

    kind: ConstraintKind
    source: str = ""
    choices: tuple[str, ...] = ()
