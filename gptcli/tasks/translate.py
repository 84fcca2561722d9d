"""Translation by segments: sentence by sentence, many at a time, with what is doubtful about each."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gptcli.engine.api import Completion, Engine, Generate, ModelInfo
from gptcli.errors import GptcliError
from gptcli.languages import Language
from gptcli.prompts.translation import Form, forms_of
from gptcli.tasks.jobs import Job, run_jobs
from gptcli.tasks.ordered import Result
from gptcli.tasks.translation_checks import Fault, Finding, missing_terms
from gptcli.tasks.translation_sentence import Draft, Sentence, Settings, Term, terms_in, together
from gptcli.tasks.translation_text import (
    Protected,
    is_translatable,
    joined,
    peel,
    sentences,
    split_parts,
)

V = TypeVar("V")


class Unit(Protocol):
    """What is asked of a segment of a document, or a line: its text, and what may be known of it."""

    @property
    def text(self) -> str: ...

    @property
    def protected(self) -> Sequence[Protected]: ...

    @property
    def source(self) -> Language: ...

    @property
    def target(self) -> Language: ...

    @property
    def context(self) -> str: ...

    def check(self, translation: str, /) -> str:
        """Return what keeps a translation from taking the segment's place; "" if nothing does."""
        ...


U = TypeVar("U", bound=Unit)
W = TypeVar("W", bound=Unit, contravariant=True)
FORMS_VERSION = 4  # of prompts, checks and retries: translations of another one are not used again


@dataclass(frozen=True, slots=True, kw_only=True)
class TranslateTask:
    """How to translate.

    `best`: so many candidates a sentence, of which the one is taken that agrees most with the others.
    `forms`: of the prompt; None: those of the model.
    """

    best: int = 1
    terms: tuple[Term, ...] = ()
    seed: int = 0
    forms: tuple[Form, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """A segment's translation. `is_kept`: some or all of it is still the source, as all attempts failed.

    `terms` counts the glossary's that occur in the source; `tokens` counts all attempts.
    """

    text: str
    source: Language
    target: Language
    findings: tuple[Finding, ...] = ()
    is_kept: bool = False
    is_remembered: bool = False
    tokens: int = 0
    terms: int = 0
    terms_missing: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        said = tuple(str(each) for each in self.findings)
        return (f"left in the source language ({'; '.join(said)})",) if self.is_kept else said


class Recall(Protocol[W]):
    """A translation memory. It may be asked in another thread than the one that takes the results."""

    def find(self, unit: W, /) -> Translation | None: ...

    def keep(self, unit: W, translation: Translation, /) -> None: ...


def translate(
    engine: Engine,
    task: TranslateTask,
    units: Iterable[U],
    memory: Recall[U] | None = None,
) -> Generator[tuple[U, Translation | GptcliError], None, None]:
    """Yield each unit with its translation or its error, in their order, as soon as it is there.

    What is in the target language already, or has no words, comes back as it is. What `memory` has
    needs no model; it gets what is new at once, before its turn has come. Raises as `run_jobs`. Closing
    the generator cancels.
    """

    def job(unit: U) -> Job[Translation | GptcliError]:
        if memory is not None and (found := memory.find(unit)) is not None:
            return found
        result = yield from translation_job(engine.model, task, unit)
        if memory is not None and isinstance(result, Translation):
            memory.keep(unit, result)
        return result

    return run_jobs(engine, units, job)


def translation_job(model: ModelInfo, task: TranslateTask, unit: Unit) -> Job[Translation | GptcliError]:
    """Translate one unit."""
    tokens = [0]
    try:
        draft = yield from _counting(_segment(model, task, unit), tokens)
    except GptcliError as error:
        return error
    terms = terms_in(unit.text, task.terms)
    return Translation(
        text=draft.text,
        source=unit.source,
        target=unit.target,
        findings=draft.findings,
        is_kept=draft.is_kept,
        tokens=tokens[0],
        terms=len(terms),
        terms_missing=len(missing_terms(terms, draft.text)),
    )


def _segment(model: ModelInfo, task: TranslateTask, unit: Unit) -> Job[Draft]:
    parts = split_parts(unit.text, unit.protected)
    if not is_translatable(parts) or unit.source.tag in (unit.target.tag, unit.target.primary):
        return Draft(unit.text)
    settings = Settings(
        forms=task.forms or forms_of(model),
        source=unit.source,
        target=unit.target,
        best=task.best,
        seed=task.seed,
        terms=task.terms,
        context=unit.context,
        protected=tuple(dict.fromkeys(part.shown for part in parts if isinstance(part, Protected))),
    )
    pieces = [peel(each) for each in sentences(parts)]
    drafts = yield from together([Sentence(each.body, settings).job() for each in pieces])
    text = joined(
        [each.around(draft.text) for each, draft in zip(pieces, drafts, strict=True)], unit.target
    )
    found = tuple(dict.fromkeys(finding for draft in drafts for finding in draft.findings))
    if wrong := unit.check(text):
        return Draft(unit.text, (*found, Finding(Fault.PLACEHOLDERS, wrong)), is_kept=True)
    return Draft(text, found, any(draft.is_kept for draft in drafts))


def _counting(job: Job[V], tokens: list[int]) -> Generator[Sequence[Generate], Sequence[Result], V]:
    """Run a job, and count the tokens that were written for it."""
    results: Sequence[Result] | None = None
    while True:
        try:
            requests = next(job) if results is None else job.send(results)
        except StopIteration as end:
            value: V = end.value
            return value
        results = yield requests
        tokens[0] += sum(r.usage.completion_tokens for r in results if isinstance(r, Completion))
