"""How probable it is that a text answers a question, from what speaks for the best span of it.

Three things are measured: how much likelier the span is than "unknown", where the model sees nothing but
the sentences around it; whether half of the question's names and numbers are not in the passages; and
whether the question has a negation, and no sentence of a likely span. Their logistic regressions were
fitted on questions of SQuAD 2.0, of which half have an answer: on 60 for models with a chat template
(Qwen2.5-Coder 0.5B: accuracy 0.68 in ten-fold cross-validation), on 200 for base models (0.65). Small
models know little more: questions that a text nearly answers deceive them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from gptcli.documents.passages import Passage
from gptcli.engine.api import Engine, Score, Scored, score_all
from gptcli.prompts.ask import form_for
from gptcli.tasks.passages import flowing_sentences
from gptcli.tasks.span_search import Hit
from gptcli.tasks.spans import has_form

# Intercept, and weights of the log-odds against "unknown", of names and of a negation that are missing.
CHAT = (-0.1, 0.185, -2.4, -3.8)
BASE = (0.33, 0.0, -2.4, -3.8)  # Gemma 3 270M: its "unknown" tells nothing
MOST_LOG_ODDS = 20.0  # against "unknown": further ones say no more

_NAME = re.compile(r"\d+(?:[.,]\d+)*|(?<=\s)[^\W\d_][\w'’-]*")
_POSSESSIVE = re.compile(r"['’]s?\Z")
_NEGATION = re.compile(
    r"\b(?:not|never|without|no|none|neither|nor|except|cannot)\b|n['’]t\b"
    r"|没有|不是|不能|不会|从未|无法|除了",
    re.IGNORECASE,
)


def support(engine: Engine, question: str, hits: Sequence[Hit], passages: Sequence[Passage]) -> float:
    """Return the probability that the best hit answers the question. Raises the request's error."""
    weights = CHAT if engine.model.is_chat else BASE
    values = features(engine, question, hits, passages, asks=weights[1] != 0)
    log_odds = weights[0] + sum(w * value for w, value in zip(weights[1:], values, strict=True))
    return 1 / (1 + math.exp(-log_odds))


def features(
    engine: Engine,
    question: str,
    hits: Sequence[Hit],
    passages: Sequence[Passage],
    *,
    asks: bool = True,
) -> tuple[float, float, float]:
    """Return what tells questions that a text answers from others; without `asks` no model is asked."""
    against = _against_unknown(engine, question, hits[0]) if asks else 0.0
    text = " ".join(passage.text for passage in passages)
    quotes = {hit.quote for hit in hits}
    words = _NAME.findall(question)
    names = [
        _POSSESSIVE.sub("", word.lower()) for word in words if word[0].isupper() or word[0].isdigit()
    ]
    missing = sum(not has_form(text, name) for name in names)
    return (
        max(-MOST_LOG_ODDS, min(MOST_LOG_ODDS, against)),
        float(bool(names) and missing >= len(names) / 2),
        float(has_negation(question) and not any(map(has_negation, quotes))),
    )


def has_negation(text: str) -> bool:
    """Tell whether a text, in English or Chinese, says that something is not."""
    return _NEGATION.search(text) is not None


def _against_unknown(engine: Engine, question: str, hit: Hit) -> float:
    """Return by how much a span is likelier than "unknown" behind the sentences around it, in nats."""
    around = _around(hit)
    form = form_for(around)
    request = Score(
        prefix=form.doubtful_prompt(around, question),
        continuations=(form.continuation(hit.text), form.continuation(form.unknown)),
    )
    for result in score_all(engine, (request,)):
        if isinstance(result, Scored):
            span, unknown = result.logprobs
            return span - unknown
        raise result.error
    return 0.0


def _around(hit: Hit) -> str:
    """Return the hit's sentence with the one before and the one behind."""
    passage = hit.passage
    sentences = flowing_sentences(passage.text)
    own = next(n for n, each in enumerate(sentences) if passage.start + each.start == hit.sentence[0])
    shown = sentences[max(0, own - 1) : own + 2]
    return passage.text[shown[0].start : shown[-1].end]
