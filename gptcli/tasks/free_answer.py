"""Written answers: each sentence names quotes that were shown, and is checked against them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from gptcli.documents.answers import Answer, Citation, Sentence
from gptcli.documents.passages import Passage
from gptcli.engine.api import Engine, Generate, complete
from gptcli.prompts.ask import form_for
from gptcli.sampling import OutputConstraint, SamplingParams
from gptcli.tasks.ask import LEAST_SCORE, cite
from gptcli.tasks.retrieval import query_terms
from gptcli.tasks.span_search import Hit, find_spans
from gptcli.tasks.spans import is_form_of
from gptcli.tasks.support import support

MOST_QUOTES = 4  # that are shown
MOST_SENTENCES = 3
MOST_TOKENS = 200
SUPPORTED_SHARE = 0.75  # of what a sentence adds to the question must be in its quotes; of numbers all

_CITED = re.compile(r"\s*((?:\[\d+\])+)[.。]?\s*")


def answer_freely(
    engine: Engine, question: str, passages: Sequence[Passage], *, least: float | None = None
) -> Answer:
    """Return a written answer; one without a supported sentence is not given.

    `least` and errors are those of `ask`.
    """
    hits = find_spans(engine, question, passages)
    nothing = Answer(question=question, text="", found=False, score=0.0)
    if not hits:
        return nothing
    score = support(engine, question, hits, passages)
    if score < (LEAST_SCORE if least is None else least):
        return replace(nothing, score=score)
    quotes = [cite(hit) for hit in _by_quote(hits)[:MOST_QUOTES]]
    form = form_for(quotes[0].text)
    written = complete(
        engine,
        Generate(
            prompt=form.prompt_for_text([quote.text for quote in quotes], question),
            constraint=cited_sentences(len(quotes)),
            sampling=SamplingParams(temperature=0, max_tokens=MOST_TOKENS),
        ),
    )
    sentences = tuple(_checked(written.text, quotes, question))
    if not any(sentence.supported for sentence in sentences):
        return replace(nothing, score=score)
    used = sorted({n for sentence in sentences for n in sentence.citations})
    return Answer(
        question=question,
        text=" ".join(_with_numbers(sentence, used) for sentence in sentences),
        found=True,
        score=score,
        citations=tuple(quotes[n] for n in used),
        verified=all(sentence.supported for sentence in sentences),
        sentences=tuple(
            replace(sentence, citations=tuple(used.index(n) for n in sentence.citations))
            for sentence in sentences
        ),
    )


def cited_sentences(quotes: int) -> OutputConstraint:
    """Return the grammar of sentences that end with the number of a quote that was shown."""
    numbers = " | ".join(f'"[{n}]"' for n in range(1, quotes + 1))
    return OutputConstraint(
        "grammar",
        f'root ::= sentence (" " sentence){{0,{MOST_SENTENCES - 1}}} "\\n"\n'
        'sentence ::= [^\\n\\x5b\\x5d ] [^\\n\\x5b\\x5d]{2,240} " " number number? "."\n'
        f"number ::= {numbers}\n",
    )


def _by_quote(hits: Sequence[Hit]) -> list[Hit]:
    found: dict[tuple[str, tuple[int, int]], Hit] = {}
    for hit in hits:
        found.setdefault((hit.passage.source.name, hit.sentence), hit)
    return list(found.values())


def _checked(text: str, quotes: Sequence[Citation], question: str) -> list[Sentence]:
    """Return the sentences of a text. What has no number at its end, cut short, is left out."""
    found = []
    at = 0
    for match in _CITED.finditer(text):
        words = text[at : match.start()].strip()
        numbers = dict.fromkeys(int(n) - 1 for n in re.findall(r"\d+", match[1]))
        named = tuple(n for n in numbers if 0 <= n < len(quotes))
        at = match.end()
        if words:
            supported = is_supported(words, [quotes[n].text for n in named], question)
            found.append(Sentence(text=words, citations=named, supported=supported))
    return found


def is_supported(sentence: str, quotes: Sequence[str], question: str) -> bool:
    """Tell whether what a sentence says beyond the question is in the quotes, word for word.

    All its numbers must be, and SUPPORTED_SHARE of its words, in whatever form. A sentence that says
    nothing beyond the question must repeat a quote's words.
    """
    shown = query_terms(" ".join(quotes))
    asked = query_terms(question)
    said = query_terms(sentence)
    new = [term for term in said if not _is_among(term, asked)] or said
    there = [term for term in new if _is_among(term, shown)]
    numbers = [term for term in new if term[0].isdigit()]
    return bool(new) and set(numbers) <= set(shown) and len(there) >= SUPPORTED_SHARE * len(new)


def _is_among(term: str, terms: Sequence[str]) -> bool:
    return any(is_form_of(term, other) for other in terms)


def _with_numbers(sentence: Sentence, used: Sequence[int]) -> str:
    numbers = "".join(f"[{used.index(n) + 1}]" for n in sentence.citations)
    return f"{sentence.text} {numbers}{'' if sentence.supported else ' (unsupported)'}."
