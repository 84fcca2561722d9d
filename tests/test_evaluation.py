"""gptcli eval of labels, on an engine that labels by words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import GptcliError
from gptcli.prompts.labels import LabelForm
from gptcli.tasks.calibration import uncalibrated
from gptcli.tasks.evaluation import Item, evaluate_labels
from gptcli.tasks.labels import Classifier, LabelTask
from tests.conftest import Cli

RuleSpec = Callable[[Mapping[str, str]], str]
WORDS = {"good": "positive", "bad": "negative", "goal": "sports", "bank": "money=cash", "so": "neutral"}


@pytest.fixture
def spec(rule_spec: RuleSpec) -> tuple[str, ...]:
    return ("-m", rule_spec(WORDS), "-q")


def write(tmp_path: Path, *rows: tuple[str, str]) -> str:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    (tmp_path / "data.jsonl").write_text("".join(line + "\n" for line in lines))
    return "data.jsonl"


SENTIMENTS = (("good", "positive"), ("good", "positive"), ("bad", "negative"), ("good", "negative"))


def test_the_measures_of_a_run(quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path) -> None:
    data = write(tmp_path, *SENTIMENTS, (" ", "negative"))

    found = quick_cli("eval", "sentiment", data, "--no-calibration", "--json", *spec)

    (run,) = found.json["runs"]
    assert (run["records"], run["failed"], run["accuracy"]) == (4, 0, 0.75)
    assert run["confusion"] == [[1, 1], [0, 2]]
    assert [each["label"] for each in run["classes"]] == ["negative", "positive"]
    assert run["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2, abs=1e-4)
    assert 0.05 < run["calibration_error"] < 0.2  # 0.88 sure, and 0.75 right
    assert "1 record without a text or a label: left out" not in found.stderr  # -q


def test_tables_show_the_same(quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path) -> None:
    data = write(tmp_path, *SENTIMENTS)

    found = quick_cli("eval", "sentiment", data, "--no-calibration", *spec)

    lines = [line.split() for line in found.stdout.splitlines()]
    assert found.stdout.splitlines()[1].startswith("accuracy 0.750, macro-F1 0.733, expected calib")
    assert ["right", "\\", "said", "negative", "positive"] in lines
    assert ["negative", "1", "1"] in lines
    assert lines[-1][:5] == ["scripted", "own", "form", "0.75", "0.733"]


def test_models_and_forms_side_by_side(quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path) -> None:
    data = write(tmp_path, *SENTIMENTS)
    options = ("--form", "all", *spec, *spec[:2])

    runs = quick_cli("eval", "sentiment", data, "--json", *options).json["runs"]

    assert [run["form"] for run in runs] == ["sentiment", "verdict"] * 2
    assert [run["accuracy"] for run in runs[:2]] == [run["accuracy"] for run in runs[2:]]


def test_classes_of_one_s_own(quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path) -> None:
    data = write(tmp_path, ("goal", "sports"), ("bank", "money=cash"), ("goal bank bank", "money=cash"))

    found = quick_cli("eval", "classify", data, "--json", *spec)

    (run,) = found.json["runs"]
    assert [each["label"] for each in run["classes"]] == ["money=cash", "sports"]
    assert run["accuracy"] == 1.0


@pytest.mark.parametrize("labels", [("positive", "neutral"), ("neutral",), ("positive",)])
def test_of_sentiment_some_classes_may_be_missing(
    quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path, labels: tuple[str, ...]
) -> None:
    texts = {"positive": "good", "neutral": "so"}
    data = write(tmp_path, *((texts[label], label) for label in labels))

    found = quick_cli("eval", "sentiment", data, "--no-calibration", "--json", *spec)

    (run,) = found.json["runs"]
    assert (run["accuracy"], run["macro_f1"]) == (1.0, 1.0)
    every = ["negative", "neutral", "positive"] if "neutral" in labels else ["negative", "positive"]
    assert [each["label"] for each in run["classes"]] == every


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("sentiment", [("x", "great"), ("y", "positive")], "positive, negative and neutral, not great"),
        ("sentiment", [(" ", "positive")], "no records to evaluate"),
        ("sentiment", [], "no records to evaluate"),
        ("classify", [("x", "a"), ("y", "a")], 'all records have the label "a"'),
        ("classify", [(f"{n}", f"l{n}") for n in range(1001)], "1,001 labels are more than 1,000"),
        ("classify", [("x", "a\nb"), ("y", "c")], "needs a name"),
    ],
)
def test_what_cannot_be_evaluated_is_told_before_a_model_is_loaded(
    quick_cli: Cli, tmp_path: Path, task: str, rows: list[tuple[str, str]], message: str
) -> None:
    refused = quick_cli("eval", task, write(tmp_path, *rows), "-m", "no-such-model")

    assert (refused.status, refused.stdout) == (2, "")
    assert message in refused.stderr


def test_a_form_that_does_not_exist_is_refused(
    quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path
) -> None:
    refused = quick_cli("eval", "sentiment", write(tmp_path, *SENTIMENTS), "--form", "x", *spec)

    assert refused.status == 2
    assert "--form sentiment|verdict|all" in refused.stderr


def test_what_fails_counts_as_wrong_and_is_counted() -> None:
    form = LabelForm(name="f", line="{text}", words=(("a",), ("b",)))
    task = LabelTask(labels=("a", "b"), forms=(form,), calibration=uncalibrated(1, 2))
    engine = ScriptedEngine([Reply(logprobs=(-1, -5)), Reply(error=GptcliError("tired"))])
    reported: list[int] = []

    found = evaluate_labels(
        Classifier(engine, task), [Item("x", "a"), Item("y", "b")], ("a", "b"), reported.append
    )

    assert (found.figures["accuracy"], found.records, found.failed) == (0.5, 2, 1)
    assert found.details["confusion"] == ((1, 0), (1, 0))
    assert reported == [1, 2]
