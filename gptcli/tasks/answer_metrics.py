"""How good answers are: exact match and F1 as SQuAD has them, abstention, citations."""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gptcli.documents.answers import Answer
from gptcli.documents.passages import Passage, Source
from gptcli.engine.api import Engine
from gptcli.errors import GptcliError
from gptcli.tasks.ask import ask
from gptcli.tasks.evaluation import Evaluation, Report

_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a text, and its right answers: none where the text does not answer it."""

    context: str
    question: str
    answers: tuple[str, ...]


def answer_tokens(text: str) -> list[str]:
    """Return what is compared: words in lower case without articles; of Chinese, characters.

    The normalization of the SQuAD script (Rajpurkar et al. 2016) with the segmentation of CMRC 2018's.
    """
    plain = "".join(
        "" if unicodedata.category(character).startswith("P") else character
        for character in text.lower()
    )
    return _TOKEN.findall(_ARTICLE.sub(" ", plain))


def f1(answer: str, reference: str) -> float:
    """Return the F1 of two answers' tokens, from 0 to 1."""
    said, right = answer_tokens(answer), answer_tokens(reference)
    common = (Counter(said) & Counter(right)).total()
    if not said or not right:
        return float(said == right)
    return 2 * common / (len(said) + len(right))


def best_f1(answer: str, references: Sequence[str]) -> float:
    return max((f1(answer, reference) for reference in references), default=0.0)


def is_exact(answer: str, references: Sequence[str]) -> bool:
    return any(answer_tokens(answer) == answer_tokens(reference) for reference in references)


def evaluate_answers(
    engine: Engine,
    questions: Sequence[Question],
    least: float | None = None,
    on_progress: Report = lambda _: None,
    answered: Callable[[Question, Answer], object] = lambda _question, _answer: None,
) -> Evaluation:
    """Return how good a model's answers are. `least`: as `ask` has it. Failed questions count as wrong.

    EM and F1 count an abstention as right where there is no answer. `answerable_f1` is over questions
    that have one, an abstention being 0; `no_answer_accuracy` is how often it is told right whether
    there is one, precision and recall those of saying that there is none. `citations` is the share of
    quotes that are, character for character, where they are said to be.
    """
    started = time.perf_counter()
    exact, scores, of_answerable, decided = [], [], [], []
    failed = quotes = verbatim = 0
    for done, item in enumerate(questions, 1):
        try:
            answer = ask(engine, item.question, (_whole(item.context),), least=least)
        except GptcliError:
            failed += 1
            answer = Answer(question=item.question, text="", found=False, score=0.0)
        answered(item, answer)
        for citation in answer.citations:
            quotes += 1
            verbatim += citation.text == item.context[citation.start : citation.end]
        text = answer.text if answer.found else ""
        if item.answers:
            exact.append(is_exact(text, item.answers))
            scores.append(best_f1(text, item.answers))
            of_answerable.append(scores[-1])
        else:
            exact.append(not answer.found)
            scores.append(float(not answer.found))
        decided.append((answer.found, bool(item.answers)))
        on_progress(done)
    silent = [has_answer for found, has_answer in decided if not found]
    unanswerable = [found for found, has_answer in decided if not has_answer]
    figures = {"em": _percent(exact), "f1": _percent(scores)}
    if unanswerable:
        figures |= {
            "answerable_f1": _percent(of_answerable),
            "no_answer_accuracy": _mean([found == has for found, has in decided]),
            "no_answer_precision": _mean([not has_answer for has_answer in silent]),
            "no_answer_recall": _mean([not found for found in unanswerable]),
        }
    seconds = time.perf_counter() - started
    figures |= {
        "citations": verbatim / quotes if quotes else 1.0,
        "seconds_per_question": seconds / max(1, len(questions)),
    }
    return Evaluation(
        figures=figures,
        details={name: round(value, 4) for name, value in figures.items()},
        records=len(questions),
        failed=failed,
        seconds=seconds,
    )


def _whole(text: str) -> Passage:
    return Passage(Source("context", text), 0, len(text), 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _percent(values: Sequence[float]) -> float:
    return 100 * _mean(values)
