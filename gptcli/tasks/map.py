"""One answer per record: prompts made of a record's fields, answers in the order of the records."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from gptcli.engine.api import (
    Completion,
    Engine,
    Generate,
    ModelInfo,
    Prompt,
    Request,
    Timings,
    Tokenize,
    Tokenized,
    Usage,
    tokenize,
)
from gptcli.errors import GptcliError
from gptcli.prompts.compose import compose
from gptcli.prompts.fields import RecordPrompt
from gptcli.sampling import OutputConstraint, SamplingParams
from gptcli.tasks.generate import with_limit
from gptcli.tasks.ordered import Result, run_ordered


class MapRecord(Protocol):
    """What is asked of a record: its number, its fields, or why it cannot be worked on."""

    @property
    def number(self) -> int: ...

    @property
    def fields(self) -> Mapping[str, Any]: ...

    @property
    def error(self) -> GptcliError | None: ...


R = TypeVar("R", bound=MapRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapTask:
    """What to ask of every record. `raw`: without the chat template (None: as the model is made).

    All records have the same seed, so that an answer does not depend on where its record stands.
    """

    prompt: RecordPrompt
    raw: bool | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)
    constraint: OutputConstraint | None = None
    stop: tuple[str, ...] = ()
    thinking: bool = True

    def is_chat(self, model: ModelInfo) -> bool:
        return model.is_chat if self.raw is None else not self.raw

    @property
    def is_json(self) -> bool:
        """Whether answers are JSON values."""
        return self.constraint is not None and self.constraint.kind == "json_schema"

    def prompt_of(self, fields: Mapping[str, Any], *, as_chat: bool) -> Prompt:
        """Return a record's prompt. Raises UsageError when it lacks a field."""
        return compose(self.prompt.parts(fields, as_chat), as_chat=as_chat)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a record: text without white space around it, or with a JSON schema its value."""

    value: object
    usage: Usage
    was_cut: bool = False  # at the limit of tokens


# What is said of nothing, without asking the model, which would make something up.
NOTHING = Completion(text="", thinking="", finish_reason="stop", usage=Usage(), timings=Timings())


def map_records(
    engine: Engine, task: MapTask, records: Iterable[R]
) -> Generator[tuple[R, Answer | GptcliError], None, None]:
    """Yield each record with its answer or its error, in their order, as soon as it is there.

    A record whose fields in the prompt are all blank has an empty answer (JSON: null).
    Raises as `run_ordered`. Closing the generator cancels.
    """
    results = run_ordered(engine, records, _asking(engine.model, task))
    try:
        for record, result in results:
            yield record, _answer(task, result)
    finally:
        results.close()


def show_prompt(engine: Engine, task: MapTask, record: MapRecord) -> Tokenized:
    """Return the exact text that the model would see of a record, and its token count.

    Raises the record's error.
    """
    if record.error is not None:
        raise record.error
    prompt = task.prompt_of(record.fields, as_chat=task.is_chat(engine.model))
    return tokenize(engine, Tokenize(prompt=prompt, thinking=task.thinking))


def _asking(model: ModelInfo, task: MapTask) -> Callable[[MapRecord], Request | Result]:
    as_chat = task.is_chat(model)
    sampling = with_limit(task.sampling, task.constraint, is_chat=as_chat)
    stop = task.stop + task.prompt.stop(as_chat)

    def to_request(record: MapRecord) -> Request | Result:
        if record.error is not None:
            return record.error
        if task.prompt.is_blank(record.fields):
            return NOTHING
        return Generate(
            prompt=task.prompt_of(record.fields, as_chat=as_chat),
            sampling=sampling,
            constraint=task.constraint,
            stop=stop,
            thinking=task.thinking,
            id=record.number,
        )

    return to_request


def _answer(task: MapTask, result: Result) -> Answer | GptcliError:
    if isinstance(result, GptcliError):
        return result
    assert isinstance(result, Completion)
    was_cut = result.finish_reason == "length"
    value: object = result.text.strip()
    if task.is_json:
        try:
            value = json.loads(result.text) if result is not NOTHING else None
        except ValueError:
            tokens = result.usage.completion_tokens
            return GptcliError(f"the answer is not whole JSON: it ends after {tokens:,} tokens")
    return Answer(value, result.usage, was_cut)
