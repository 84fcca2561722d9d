"""What `gptcli fit` does with its options."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptcli import __version__
from gptcli.cli.labelling import classifier_of, fingerprint
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings
from gptcli.cli.record_files import Source, opened_source
from gptcli.engine.api import Engine
from gptcli.errors import GptcliError, UsageError
from gptcli.output.amounts import counted, duration
from gptcli.output.console import Output
from gptcli.output.metric_tables import print_label_metrics
from gptcli.output.progress import Progress
from gptcli.prompts.fields import field_text, no_field
from gptcli.prompts.labels import Label, check_names
from gptcli.prompts.sentiment import BINARY, WITH_NEUTRAL
from gptcli.store.heads import head_path, keep_head
from gptcli.tasks.fit import Fitted, LabelledTexts, check_installed, fit_head, labelled_texts
from gptcli.tasks.label_setup import Question, label_question, sentiment_question
from gptcli.tasks.metrics import label_metrics

Params = dict[str, Any]

COMPARED = 100  # texts that the model labels without examples, for comparison


def run_fit(params: Params, output: Output) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    path = _checked_path(params)
    engine_settings(params, path="", name="")
    examples = read_labelled(params, output)
    check_installed()
    for remark in examples.remarks:
        output.warning(remark)
    started = time.monotonic()
    with opened_engine(params, output, task="classify") as engine:
        for note in engine.model.notes:
            output.note(note)
        with Progress(output, "reading the examples", len(examples.texts)) as progress:
            fitted = fit_head(
                engine, examples, model=fingerprint(engine.model), on_progress=progress.update
            )
        seconds = time.monotonic() - started
        report = _report(examples, fitted, params, seconds)
        keep_head(params["name"], fitted.head.with_report(report))  # whatever becomes of the rest
        if params["zero_shot"]:
            report |= _compare(engine, examples, fitted, params, output)
            keep_head(params["name"], fitted.head.with_report(report))
    if params["json"]:
        output.json({"head": params["name"], "path": str(path), **report})
        return
    print_label_metrics(output, report["cross_validated"])
    if "zero_shot" in report:
        output.write(f"\n{_compared(report['zero_shot'])}\n")
    output.note(f"chosen by cross-validation: {fitted.chosen}")
    output.status(
        f"{counted(len(examples.texts), 'example')} in {duration(seconds)}; "
        f"try: gptcli classify --head {params['name']} …"
    )


def _checked_path(params: Params) -> Path:
    if params["name"] is None:
        raise UsageError("the head needs a name", hint="-o NAME")
    path = head_path(params["name"])
    if path.exists() and not params["overwrite"]:
        raise UsageError(
            f'there is a head "{params["name"]}" already', hint="--overwrite, or another -o NAME"
        )
    return path


def read_labelled(params: Params, output: Output) -> LabelledTexts:
    """Return the examples of a data file. Raises UsageError where nothing can be learnt of them."""
    with opened_source({**params, "input": params["data"], "texts": None}) as source:
        return labelled_texts(labelled_pairs(source, params, output))


def labelled_pairs(source: Source, params: Params, output: Output) -> Iterator[tuple[str, str]]:
    """Yield each record's text and label. Raises UsageError where a column is missing."""
    broken = 0
    if source.reader.columns:
        _check_columns(source.reader.columns, params)
    for record in source.records:
        if record.error is not None:
            broken += 1
            continue
        _check_columns(record.fields, params)
        yield field_text(record.fields[params["text"]]), field_text(record.fields[params["label"]])
    if broken:
        output.warning(f"{counted(broken, 'record')} cannot be read: left out")


def _check_columns(fields: Collection[str], params: Params) -> None:
    for option in ("text", "label"):
        if params[option] not in fields:
            error = no_field(params[option], fields)
            error.hint = f"--{option} COL"
            raise error


def question_for(labels: Sequence[str], *, is_chat: bool) -> Question:
    """Return what a model is asked without examples: sentiment where the labels are those.

    Raises UsageError for names that cannot be asked for.
    """
    for known in (BINARY, WITH_NEUTRAL):
        if set(labels) == set(known):
            return sentiment_question(with_neutral=known is WITH_NEUTRAL, is_chat=is_chat)
    check_names(labels)
    return label_question([Label(name) for name in labels])


def _compare(
    engine: Engine, examples: LabelledTexts, fitted: Fitted, params: Params, output: Output
) -> dict[str, Any]:
    """Return how the model does without examples on some texts, and the head on the same ones."""
    question = question_for(examples.labels, is_chat=engine.model.is_chat)
    if set(question.labels) != set(examples.labels):
        return {}
    classifier = classifier_of(engine, question, {**params, "calibration": True}, output)
    every = -(-len(fitted.kept) // COMPARED)
    sample = list(range(0, len(fitted.kept), every))
    answers, confidences = [], []
    texts = [examples.texts[fitted.kept[n]] for n in sample]
    with Progress(output, "comparing with no examples", len(texts)) as progress:
        for n, (_, found) in enumerate(classifier.classify(texts, str), 1):
            if isinstance(found, GptcliError):
                raise found
            answers.append(examples.labels.index(found.label or examples.labels[0]))
            confidences.append(found.score or 0.0)
            progress.update(n)
    targets = [examples.targets[fitted.kept[n]] for n in sample]
    metrics = label_metrics(examples.labels, targets, answers, confidences)
    hits = sum(fitted.answers[n] == target for n, target in zip(sample, targets, strict=True))
    return {
        "zero_shot": {
            "examples": len(sample),
            "accuracy": round(metrics.accuracy, 4),
            "macro_f1": round(metrics.macro_f1, 4),
            "head_accuracy": round(hits / len(sample), 4),
        }
    }


def _report(
    examples: LabelledTexts,
    fitted: Fitted,
    params: Params,
    seconds: float,
) -> dict[str, Any]:
    spec = params["model"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "gptcli": __version__,
        "model": fitted.head.model_name,
        "spec": str(Path(spec).resolve()) if spec and Path(spec).is_file() else spec,
        "examples": len(examples.texts),
        "counts": examples.counts,
        "chosen": fitted.chosen,
        "seconds": round(seconds, 1),
        "cross_validated": fitted.metrics.members(),
    }


def _compared(zero_shot: dict[str, Any]) -> str:
    return (
        f"on {zero_shot['examples']} of them: without examples {zero_shot['accuracy']:.3f}, "
        f"with the head {zero_shot['head_accuracy']:.3f} right"
    )
