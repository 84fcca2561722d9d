"""Answers from passages, each with the quote that it is a part of, and the probability of support."""

from __future__ import annotations

from collections.abc import Sequence

from gptcli.documents.answers import Answer, Citation
from gptcli.documents.passages import Passage
from gptcli.engine.api import Engine, Generate, complete
from gptcli.prompts.ask import plain_prompt
from gptcli.sampling import SamplingParams
from gptcli.tasks.span_search import Hit, find_spans
from gptcli.tasks.support import support

UNVERIFIED_TOKENS = 128  # of an answer without documents, at most
# Of an answer that is given. The score is of a sample where half of the questions have no answer; of
# those that users ask, most have. 0.35 tells as many apart as 0.5, and silences fewer right answers.
LEAST_SCORE = 0.35
RIVAL_MARGIN = 2.0  # nats that another source's best span may be behind, to be cited too


def ask(
    engine: Engine, question: str, passages: Sequence[Passage], *, least: float | None = None
) -> Answer:
    """Return the span that answers a question best, and how probable it is that it does.

    It is not found where that is less than `least`; None: than LEAST_SCORE. Raises the error of a
    request that fails.
    """
    hits = find_spans(engine, question, passages)
    if not hits:
        return Answer(question=question, text="", found=False, score=0.0)
    score = support(engine, question, hits, passages)
    if score < (LEAST_SCORE if least is None else least):
        return Answer(question=question, text="", found=False, score=score)
    return Answer(
        question=question,
        text=hits[0].text,
        found=True,
        score=score,
        citations=tuple(cite(hit) for hit in _of_distinct_sources(hits)),
    )


def answer_unverified(engine: Engine, question: str) -> Answer:
    """Return what the model believes, which nothing supports. Raises the error of the request."""
    written = complete(
        engine,
        Generate(
            prompt=plain_prompt(question, is_chat=engine.model.is_chat),
            sampling=SamplingParams(temperature=0, max_tokens=UNVERIFIED_TOKENS),
            stop=() if engine.model.is_chat else ("\n",),
        ),
    )
    text = written.text.strip()
    return Answer(question=question, text=text, found=bool(text), score=None, verified=False)


def _of_distinct_sources(hits: Sequence[Hit]) -> list[Hit]:
    """Return the best hit, and of other sources those nearly as good: they may contradict it."""
    best = {hits[0].passage.source.name: hits[0]}
    for hit in hits[1:]:
        if hit.score > hits[0].score - RIVAL_MARGIN:
            best.setdefault(hit.passage.source.name, hit)
    return list(best.values())


def cite(hit: Hit) -> Citation:
    """Return the sentence that a hit is in, with its words marked."""
    start, end = hit.sentence
    return Citation(hit.passage.source, start, end, hit.quote, ((hit.start, hit.end),))
