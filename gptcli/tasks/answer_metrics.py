"""How good answers are: exact match and F1 as SQuAD has them, abstention, citations."""

from __future__ import annotations

import re
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gptcli.documents.passages import Passage, Source
from gptcli.engine.api import Engine
from gptcli.errors import GptcliError
from gptcli.tasks.ask import LEAST_SCORE, ask
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question: the best guess, and whether it was given as the answer."""

    question: Question
    guess: str
    is_given: bool
    quotes: int = 0
    verbatim: int = 0  # quotes that are where they are said to be
    is_failed: bool = False

    @property
    def exact(self) -> bool:
        return is_exact(self.guess, self.question.answers) if self._is_tried else self._is_silent

    @property
    def f1(self) -> float:
        return self.forced_f1 if self._is_tried else float(self._is_silent)

    @property
    def forced_f1(self) -> float:
        return best_f1(self.guess, self.question.answers)

    @property
    def _is_tried(self) -> bool:
        return self.is_given and bool(self.question.answers)

    @property
    def _is_silent(self) -> bool:
        """Whether nothing was said where there is nothing to say."""
        return not self.is_given and not self.question.answers


def evaluate_answers(
    engine: Engine,
    questions: Sequence[Question],
    least: float = LEAST_SCORE,
    on_progress: Report = lambda _: None,
) -> Evaluation:
    """Return how good a model's answers are. `least`: as `ask` has it. Failed questions count as wrong.

    EM and F1 count an abstention as right where there is no answer. `answerable_f1` is over questions
    that have one, an abstention being 0; `forced_f1` the same if the model never abstained.
    `no_answer_accuracy` is how often it is told right whether there is an answer; precision and recall
    are those of saying that there is none. `citations` is the share of quotes that are, character for
    character, where they are said to be.
    """
    started = time.perf_counter()
    outcomes = []
    for done, question in enumerate(questions, 1):
        outcomes.append(_outcome(engine, question, least))
        on_progress(done)
    seconds = time.perf_counter() - started
    figures = _figures(outcomes) | {"seconds_per_question": seconds / max(1, len(questions))}
    return Evaluation(
        figures=figures,
        details={name: round(value, 4) for name, value in figures.items()},
        records=len(outcomes),
        failed=sum(outcome.is_failed for outcome in outcomes),
        seconds=seconds,
    )


def _outcome(engine: Engine, question: Question, least: float) -> Outcome:
    try:
        answer = ask(engine, question.question, (_whole(question.context),), least=0.0)
    except GptcliError:
        return Outcome(question, "", is_given=False, is_failed=True)
    quotes = answer.citations
    return Outcome(
        question,
        answer.text,
        is_given=answer.found and (answer.score or 0.0) >= least,
        quotes=len(quotes),
        verbatim=sum(each.text == question.context[each.start : each.end] for each in quotes),
    )


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    answerable = [each for each in outcomes if each.question.answers]
    others = [each for each in outcomes if not each.question.answers]
    silent = [each for each in outcomes if not each.is_given]
    quotes = sum(each.quotes for each in outcomes)
    figures = {
        "em": 100 * _mean([each.exact and not each.is_failed for each in outcomes]),
        "f1": 100 * _mean([0.0 if each.is_failed else each.f1 for each in outcomes]),
        "forced_f1": 100 * _mean([each.forced_f1 for each in answerable]),
    }
    if others:
        right = [each.is_given == bool(each.question.answers) for each in outcomes]
        figures |= {
            "answerable_f1": 100 * _mean([each.f1 for each in answerable]),
            "no_answer_accuracy": _mean(right),
            "no_answer_precision": _mean([not each.question.answers for each in silent]),
            "no_answer_recall": _mean([not each.is_given for each in others]),
        }
    return figures | {"citations": sum(each.verbatim for each in outcomes) / quotes if quotes else 1.0}


def _whole(text: str) -> Passage:
    return Passage(Source("context", text), 0, len(text), 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
