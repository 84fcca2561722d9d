"""How probable it is that passages answer a question, from what speaks for the best span."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gptcli.engine.api import ModelInfo
from gptcli.tasks.span_search import Hit


def features(hits: Sequence[Hit]) -> tuple[float, ...]:
    """Return what tells answerable questions from others, of the best hits."""
    best = hits[0]
    return (
        best.logprob - best.unknown,
        best.channel / max(1, best.question_tokens),
        best.nearness,
    )


def support(model: ModelInfo, hits: Sequence[Hit]) -> float:
    """Return the probability that the best hit answers the question."""
    weights = (0.0, 0.0, 0.0)
    log_odds = sum(w * x for w, x in zip(weights, features(hits), strict=True)) + 5.0
    return 1 / (1 + math.exp(-max(-700.0, min(700.0, log_odds))))
