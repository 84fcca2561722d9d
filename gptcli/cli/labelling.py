"""What `gptcli sentiment` and `gptcli classify` do with their options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from gptcli.cli.batch import Batch
from gptcli.cli.logged import logged_batch
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings, make_output
from gptcli.cli.record_files import Source, opened_source, opened_target
from gptcli.documents.records import TEXT_FIELD, Record
from gptcli.engine.api import Engine, ModelInfo
from gptcli.errors import GptcliError, NoAnswerError, UsageError
from gptcli.output.console import Output
from gptcli.output.label_table import DOUBTFUL_FIELD, LabelTable, PlainLabels
from gptcli.output.progress import Progress
from gptcli.prompts.compose import PromptParts
from gptcli.prompts.fields import field_text, no_field
from gptcli.prompts.labels import parse_labels
from gptcli.store.calibrations import find_choice, keep_choice
from gptcli.store.heads import find_head
from gptcli.tasks.explain import Explained, View, explain
from gptcli.tasks.heads import AnyClassifier, Head, HeadClassifier
from gptcli.tasks.label_setup import (
    Choice,
    Question,
    label_question,
    measure,
    sentiment_question,
)
from gptcli.tasks.labels import Classification, Classifier

Params = dict[str, Any]

MOST_LABELS = 1000
DIGITS = 6  # of scores and weights in records


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a record is to say of its text."""

    names: tuple[str, str, str]  # of the fields with the label, its score, all scores
    text_field: str
    views: tuple[View, ...] = ()
    least: float | None = None
    top: int | None = None

    @property
    def added(self) -> tuple[str, ...]:
        """The names of all fields that are added."""
        doubtful = (DOUBTFUL_FIELD,) if self.least is not None else ()
        return (*self.names, *doubtful, *self.views)

    def fields(self, found: Explained) -> dict[str, Any]:
        """Return the fields that are added to a record."""
        result = found.classification
        scores = {name: round(value, DIGITS) for name, value in result.scores.items()}
        if self.top is not None:
            best = sorted(scores, key=scores.__getitem__, reverse=True)[: self.top]
            scores = {name: scores[name] for name in best}
        score = None if result.score is None else round(result.score, DIGITS)
        added: dict[str, Any] = dict(zip(self.names, (result.label, score, scores), strict=True))
        if self.least is not None:
            added[DOUBTFUL_FIELD] = self.is_doubtful(result)
        if "words" in self.views:
            added["words"] = [
                _place(each.passage) | {"weight": round(each.weight, DIGITS)} for each in found.weights
            ]
        if "sentences" in self.views:
            added["sentences"] = [
                _place(each.passage)
                | {"label": each.classification.label, "score": _rounded(each.classification.score)}
                for each in found.parts
            ]
        return added

    def is_doubtful(self, result: Classification) -> bool:
        return self.least is not None and (result.score is None or result.score < self.least)


def run_sentiment(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    neutral = params["neutral"]
    names = sentiment_question(with_neutral=neutral, is_chat=False).labels
    _run(
        params,
        names,
        _asking(params, lambda model: sentiment_question(with_neutral=neutral, is_chat=model.is_chat)),
        task="sentiment",
    )


def run_classify(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    if params["head"] is not None:
        _run_head(params)
        return
    if params["labels"] is None:
        raise UsageError("there are no labels", hint="--labels a,b,c, or --head NAME")
    labels = parse_labels(params["labels"].split(","))
    is_multi = params["multi_label"]
    if len(labels) < 2 and not is_multi:
        raise UsageError(
            "with one label there is nothing to choose", hint="--labels a,b, or --multi-label"
        )
    if is_multi and not params["calibration"]:
        raise UsageError("--multi-label and --no-calibration exclude each other")
    check_count(len(labels))
    question = label_question(labels, is_multi=is_multi)
    _run(params, question.labels, _asking(params, lambda _: question), task="classify")


def check_count(labels: int) -> None:
    """Raise UsageError for more labels than can be told apart."""
    if labels > MOST_LABELS:
        raise UsageError(f"{labels:,} labels are more than {MOST_LABELS:,}")


def _run_head(params: Params) -> None:
    if params["labels"] is not None or params["multi_label"]:
        raise UsageError("a head has its own labels: --head excludes --labels and --multi-label")
    head = find_head(params["head"])
    # Without -m it is the model that the head was fitted on.
    params = {**params, "model": params["model"] or head.report.get("spec")}
    _run(params, head.labels, lambda engine, _: head_classifier(engine, head), task="classify")


def head_classifier(engine: Engine, head: Head) -> HeadClassifier:
    """Return the classifier of a head. Raises UsageError for another model than its own."""
    head.check_model(fingerprint(engine.model), engine.model.name)
    return HeadClassifier(engine, head)


def _asking(
    params: Params, ask: Callable[[ModelInfo], Question]
) -> Callable[[Engine, Output], Classifier]:
    return lambda engine, output: classifier_of(engine, ask(engine.model), params, output)


def _run(
    params: Params,
    labels: tuple[str, ...],
    open_classifier: Callable[[Engine, Output], AnyClassifier],
    *,
    task: str,
) -> None:
    output = make_output(params)
    engine_settings(params, path="", name="")
    with opened_source(params) as source:
        wanted = _wanted(params, source)
        table = LabelTable(
            output=output,
            labels=labels,
            text_field=wanted.text_field,
            names=wanted.names,
            least=wanted.least,
            shows_all=wanted.top is not None,
        )
        added = wanted.added
        with opened_target(
            params, source, added, output, table=table, plain=PlainLabels(added)
        ) as target:
            batch = Batch(source, target, output, label=task)
            if source.is_empty:
                with batch.running():
                    return
            with opened_engine(params, output, task=task) as engine:
                for note in engine.model.notes:
                    output.note(note)
                classifier = open_classifier(engine, output)
                single = _Single()
                asked = PromptParts(instruction=f"{task}: {', '.join(labels)}")
                with (
                    batch.running(),
                    logged_batch(task, params, output, engine.model, asked, batch),
                ):
                    _write_labels(classifier, source.records, wanted, batch, single)
                single.check(wanted)


def _wanted(params: Params, source: Source) -> Wanted:
    least, top = params["min_confidence"], params.get("top")
    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"--min-confidence must be between 0 and 1, not {least:g}")
    if top is not None and top < 1:
        raise UsageError(f"--top must be 1 or more, not {top}")
    name = params["output_field"]
    names = (name, f"{name}_score", f"{name}_scores") if name else ("label", "score", "scores")
    views: list[View] = []
    if params["explain"]:
        views.append("words")
    if params["sentences"]:
        views.append("sentences")
    return Wanted(
        names=names,
        text_field=text_field(params, source),
        views=tuple(views),
        least=least,
        top=top,
    )


def text_field(params: Params, source: Source) -> str:
    """Return the field that has the texts. Raises UsageError where the columns have it not."""
    name: str = params["field"] or TEXT_FIELD
    columns = source.reader.columns
    if columns is None or name in columns:
        return name
    if params["field"] is None and len(columns) == 1:
        return columns[0]
    raise no_field(name, columns)


def classifier_of(engine: Engine, question: Question, params: Params, output: Output) -> Classifier:
    """Return the classifier for a model. What is not known of it yet is measured, and kept."""
    if not params["calibration"]:
        return Classifier(engine, question.task(None))
    choice = _choice(engine, question, params, output)
    chinese = None
    if question.chinese is not None:
        chinese = _choice(engine, question.chinese, params, output, " for Chinese")
    return Classifier(engine, question.task(choice, chinese))


def _choice(
    engine: Engine, question: Question, params: Params, output: Output, what: str = ""
) -> Choice:
    model, digest = fingerprint(engine.model), question.digest
    choice = find_choice(model, digest, len(question.labels))
    if choice is None:
        with Progress(output, f"measuring the model{what}, once") as progress:
            choice = measure(engine, question, progress.update)
        if choice.left_out:
            output.note(
                f"too long for the context window: the form {', the form '.join(choice.left_out)}"
            )
        # In a smaller window than the model has, another choice is best than otherwise.
        is_final = not choice.left_out or engine.model.context_limit >= engine.model.context_length
        if is_final and not params["no_log"]:
            keep_choice(model, digest, choice)
    output.note(f"form{what} {choice.form}, calibration {choice.calibration}")
    return choice


def fingerprint(model: ModelInfo) -> str:
    """Return by what calibrations and heads know a model; it can be part of a file's name."""
    from gptcli.engine.prompt_cache import fingerprint_or

    return fingerprint_or(model.path, model.name.replace("/", "-"))


class _Single:
    """Remembers the result of a single text."""

    def __init__(self) -> None:
        self.count = 0
        self.result: Classification | None = None

    def add(self, result: Classification) -> None:
        self.count += 1
        self.result = result

    def check(self, wanted: Wanted) -> None:
        """Raise NoAnswerError if it is the only one, and doubtful."""
        if self.count == 1 and self.result is not None and wanted.is_doubtful(self.result):
            score = self.result.score
            raise NoAnswerError(
                "the text is blank"
                if score is None
                else f'"{self.result.label}" has a probability of {score:.1%}, below {wanted.least:.1%}'
            )


def _write_labels(
    classifier: AnyClassifier,
    records: Iterable[Record],
    wanted: Wanted,
    batch: Batch,
    single: _Single,
) -> None:
    results = explain(classifier, records, partial(_text_of, wanted.text_field), wanted.views)
    for record, found in results:
        if isinstance(found, GptcliError):
            batch.write_failed(record, found)
        else:
            single.add(found.classification)
            batch.write(record, wanted.fields(found), tokens=found.classification.tokens)


def _text_of(name: str, record: Record) -> str:
    if record.error is not None:
        raise record.error
    if name not in record.fields:
        raise no_field(name, record.fields)
    return field_text(record.fields[name])


def _place(passage: Any) -> dict[str, Any]:
    return {"start": passage.start, "end": passage.end, "text": passage.text}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, DIGITS)
