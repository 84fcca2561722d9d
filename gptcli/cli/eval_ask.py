"""`gptcli eval ask`: answers to questions about texts, in the records of SQuAD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from gptcli.cli.eval_task import EvaluatedTask, Params, Variant
from gptcli.cli.record_files import opened_source
from gptcli.engine.api import Engine
from gptcli.errors import UsageError
from gptcli.output.amounts import counted
from gptcli.output.console import Output
from gptcli.output.tables import print_table
from gptcli.prompts.fields import field_text, no_field
from gptcli.tasks.answer_metrics import Question, evaluate_answers
from gptcli.tasks.ask import LEAST_SCORE
from gptcli.tasks.evaluation import Evaluation


def read_questions(params: Params, output: Output) -> list[Question]:
    """Return the questions with their texts and answers. Raises UsageError where a column is missing."""
    found, left_out = [], 0
    with opened_source({**params, "input": params["data"], "texts": None}) as source:
        for record in source.records:
            question = None if record.error else _question(record.fields)
            if question is None:
                left_out += 1
            else:
                found.append(question)
    if left_out:
        output.warning(f"{counted(left_out, 'record')} without a question or a context: left out")
    if not found:
        raise UsageError(f'"{params["data"]}" has no records to evaluate')
    return found


def _question(fields: Mapping[str, Any]) -> Question | None:
    for name in ("context", "question", "answers"):
        if name not in fields:
            raise no_field(name, fields)
    context, question = field_text(fields["context"]), field_text(fields["question"])
    if not context.strip() or not question.strip():
        return None
    return Question(context, question, _answers(fields["answers"]))


def _answers(value: Any) -> tuple[str, ...]:
    """Return the answers: a list, SQuAD's object with a list of texts, or one text."""
    if isinstance(value, dict):
        value = value.get("text", [])
    texts = value if isinstance(value, list | tuple) else [value]
    return tuple(text for each in texts if each is not None and (text := field_text(each)).strip())


def variants(
    engine: Engine, questions: Sequence[Question], params: Params, _output: Output
) -> Iterator[Variant]:
    yield Variant("spans", partial(evaluate_answers, engine, questions, LEAST_SCORE))


def show(output: Output, found: Evaluation, title: str) -> None:
    """Print all figures."""
    output.write(f"{title}\n")
    rows = [(name.replace("_", " "), round(value, 3)) for name, value in found.figures.items()]
    print_table(output, ("figure", "value"), rows)


ASK = EvaluatedTask(read_questions, variants, show)
