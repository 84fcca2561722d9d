"""What `gptcli eval` does with its options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gptcli.cli.eval_ask import ASK
from gptcli.cli.eval_task import EvaluatedTask, Params, Variant
from gptcli.cli.eval_translate import TRANSLATE
from gptcli.cli.fitting import labelled_pairs, question_for
from gptcli.cli.labelling import check_count, classifier_of, head_classifier
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings
from gptcli.cli.record_files import opened_source
from gptcli.engine.api import Engine
from gptcli.engine.machine import peak_memory
from gptcli.errors import UsageError
from gptcli.models.resolve import resolve_model
from gptcli.output.amounts import byte_count, counted
from gptcli.output.console import Output
from gptcli.output.metric_tables import print_label_metrics
from gptcli.output.progress import Progress
from gptcli.output.tables import print_table
from gptcli.prompts.labels import check_names
from gptcli.prompts.sentiment import WITH_NEUTRAL
from gptcli.store.heads import find_head
from gptcli.tasks.evaluation import Evaluation, Item, evaluate_labels
from gptcli.tasks.heads import AnyClassifier
from gptcli.tasks.label_setup import Choice, Question, measure, sentiment_question
from gptcli.tasks.labels import Classifier


def run_eval(params: Params, output: Output) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    engine_settings(params, path="", name="")
    for name in params["head"] or ():
        find_head(name)
    task = TASKS[str(params["task"])]
    items = task.items(params, output)
    specs = params["model"] or [None]
    for spec in specs[1:]:
        resolve_model(spec)
    done: list[dict[str, Any]] = []
    shown: list[tuple[str, Evaluation]] = []
    try:
        for spec in specs:
            _evaluate({**params, "model": spec}, task, items, output, done, shown)
    finally:  # what was measured until Ctrl-C or a crash is shown too
        if done and params["json"]:
            output.json({"task": str(params["task"]), "data": params["data"], "runs": done})
        elif done:
            _show(task, done, shown, output)


def _evaluate(
    params: Params,
    task: EvaluatedTask,
    items: Sequence[Any],
    output: Output,
    done: list[dict[str, Any]],
    shown: list[tuple[str, Evaluation]],
) -> None:
    with opened_engine(params, output, task=str(params["task"])) as engine:
        for note in engine.model.notes:
            output.note(note)
        for variant in task.variants(engine, items, params, output):
            title = f"{engine.model.name}, {variant.name}"
            with Progress(output, title, len(items)) as progress:
                found = variant.run(progress.update)
            peak = peak_memory()
            shown.append((title, found))
            done.append(
                {
                    "model": engine.model.name,
                    "form": variant.name,
                    "records": found.records,
                    "failed": found.failed,
                    "seconds": round(found.seconds, 3),
                    "records_per_s": round(found.per_second, 2),
                    "peak_memory_bytes": peak,
                    **found.details,
                }
            )


def _items(params: Params, output: Output) -> list[Item]:
    """Return the data. Raises UsageError where a column is missing, or nothing is there."""
    with opened_source({**params, "input": params["data"], "texts": None}) as source:
        found = [Item(text, label.strip()) for text, label in labelled_pairs(source, params, output)]
    items = [item for item in found if item.text.strip() and item.target]
    if blank := len(found) - len(items):
        output.warning(f"{counted(blank, 'record')} without a text or a label: left out")
    if not items:
        raise UsageError(f'"{params["data"]}" has no records to evaluate')
    _check_labels(_labels(items), params)
    return items


def _labels(items: Sequence[Item]) -> list[str]:
    return sorted({item.target for item in items})


def _check_labels(labels: Sequence[str], params: Params) -> None:
    if params["head"] and not params["form"]:
        return
    if str(params["task"]) == "sentiment":
        if others := [label for label in labels if label not in WITH_NEUTRAL]:
            named = ", ".join(others[:5])
            raise UsageError(
                f"the labels of sentiment are positive, negative and neutral, not {named}",
                hint=f"gptcli eval classify {params['data']}",
            )
        return
    check_count(len(labels))
    if len(labels) < 2:
        raise UsageError(f'all records have the label "{labels[0]}": there is nothing to tell apart')
    check_names(labels)


# ------------------------------------------------------------------------------- labels of texts


def _label_variants(
    engine: Engine, items: Sequence[Item], params: Params, output: Output
) -> Iterator[Variant]:
    labels = _labels(items)
    for name in params["head"] or ():
        head = find_head(name)
        yield _label_variant(f"head {name}", head_classifier(engine, head), items, head.labels)
    if params["head"] and not params["form"]:
        return
    is_chat = engine.model.is_chat
    if str(params["task"]) == "sentiment":
        question = sentiment_question(with_neutral="neutral" in labels, is_chat=is_chat)
    else:
        question = question_for(labels, is_chat=is_chat)
    labels = list(question.labels)
    if not params["form"]:
        yield _label_variant("own form", classifier_of(engine, question, params, output), items, labels)
        return
    for form in _forms(question, params["form"]):
        one = question.only(form)
        choices: list[Choice | None] = [None]
        if params["calibration"]:
            choices = []
            for each in filter(None, (one, one.chinese)):
                with Progress(output, f"measuring the form {form}") as progress:
                    choices.append(measure(engine, each, progress.update))
        yield _label_variant(form, Classifier(engine, one.task(*choices)), items, labels)


def _forms(question: Question, wanted: Sequence[str]) -> list[str]:
    known = [form.name for form in question.forms]
    if "all" in wanted:
        return known
    for name in wanted:
        if name not in known:
            raise UsageError(f'there is no form "{name}"', hint=f"--form {'|'.join(known)}|all")
    return list(wanted)


def _label_variant(
    name: str, classifier: AnyClassifier, items: Sequence[Item], labels: Sequence[str]
) -> Variant:
    names = list(dict.fromkeys((*labels, *(item.target for item in items))))
    return Variant(name, lambda report: evaluate_labels(classifier, items, names, report))


def _show_labels(output: Output, found: Evaluation, title: str) -> None:
    print_label_metrics(output, found.details, title)


# A task more is a line more: what to run, and how to show it.
TASKS = {
    "sentiment": EvaluatedTask(_items, _label_variants, _show_labels),
    "classify": EvaluatedTask(_items, _label_variants, _show_labels),
    "translate": TRANSLATE,
    "ask": ASK,
}


def _show(
    task: EvaluatedTask, done: list[dict[str, Any]], shown: list[tuple[str, Evaluation]], output: Output
) -> None:
    for n, (title, found) in enumerate(shown):
        output.write("\n" if n else "")
        task.show(output, found, title)
    output.write("\n")
    figures = list(shown[0][1].figures)
    rows = [
        (
            members["model"],
            members["form"],
            *(round(found.figures[name], 3) for name in figures),
            round(found.per_second, 1),
            members["peak_memory_bytes"] and byte_count(members["peak_memory_bytes"]),
        )
        for members, (_, found) in zip(done, shown, strict=True)
    ]
    names = [name.replace("_", " ") for name in figures]
    print_table(output, ("model", "form", *names, "records/s", "memory"), rows)
