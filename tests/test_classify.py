"""`gptcli classify`: a user's labels, whatever they are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gptcli.tasks.label_setup import BY_ITSELF, BY_ITSELF_BIAS
from tests.conftest import Cli

RuleSpec = Callable[[Mapping[str, str]], str]
PLAIN = ("--no-calibration", "-q")


@pytest.fixture
def spec(rule_spec: RuleSpec) -> tuple[str, ...]:
    words = {"goal": "sports", "ball": "sport", "bank": "economy", "bug": "🐛", "rain": "très mouillé"}
    return ("-m", rule_spec(words), "-q")


def records(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_text_gets_its_label(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli("classify", "--labels", "sports, economy", *spec, stdin="a goal\na bank\n\n")

    assert (found.status, found.stdout, found.stderr) == (0, "sports\neconomy\n\n", "")


def test_labels_that_begin_alike_are_told_apart(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli("classify", "--labels", "sport,sports,sports news", *spec, stdin="goal\nball\n")

    assert found.stdout == "sports\nsport\n"


def test_labels_can_be_any_text(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    labels = "🐛=something is broken,très mouillé, , ,x".replace(", , ,", ",")
    found = quick_cli("classify", "--labels", labels, "--jsonl", *spec, stdin="a bug\nrain\n")

    assert [record["label"] for record in records(found.stdout)] == ["🐛", "très mouillé"]
    assert list(records(found.stdout)[0]["scores"]) == ["🐛", "très mouillé", "x"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "there are no labels"),
        (("--labels", ""), "needs a name"),
        (("--labels", "a,,b"), "needs a name"),
        (("--labels", "a,b, a"), '"a" is there twice'),
        (("--labels", "a"), "with one label there is nothing to choose"),
        (("--labels", "a,b", "--head", "h"), "--head excludes --labels"),
        (("--head", "h", "--multi-label"), "--head excludes --labels and --multi-label"),
        (("--labels", "a,b", "--multi-label", "--no-calibration"), "exclude each other"),
        (("--head", "h"), 'no head "h"'),
        (("--labels", ",".join(map(str, range(1001)))), "1,001 labels are more than 1,000"),
        (("--labels", "a,b", "--top", "0"), "--top must be 1 or more"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    quick_cli: Cli, options: tuple[str, ...], message: str
) -> None:
    refused = quick_cli("classify", "x", "-m", "no-such-model", *options)

    assert (refused.status, refused.stdout) == (2, "")
    assert message in refused.stderr


def test_hundreds_of_labels(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    labels = ",".join([*(f"topic {n}" for n in range(499)), "sports"])

    found = quick_cli("classify", "a goal", "--labels", labels, "--json", *spec)

    (record,) = found.json
    assert (record["label"], len(record["scores"])) == ("sports", 500)
    assert sum(record["scores"].values()) == pytest.approx(1, abs=1e-3)


def test_the_likeliest_labels_in_order(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    options = ("--labels", "x,economy,sports", "--no-calibration", "--top", "2", *spec)
    found = quick_cli("classify", "goal goal bank", "--jsonl", *options)
    table = quick_cli("classify", "goal goal bank", "--format", "table", *options)

    (record,) = records(found.stdout)
    assert list(record["scores"]) == ["sports", "economy"]
    assert record["score"] == record["scores"]["sports"]
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["sports", "economy"]


def test_a_label_without_texts_has_no_bar(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli(
        "classify", "goal", "bank", "--labels", "sports,economy,x", "--format", "table", *spec
    )

    assert [line.split() for line in found.stdout.splitlines()[-3:]] == [
        ["sports", "#####", "50%", "1", "text"],
        ["economy", "#####", "50%", "1", "text"],
        ["x", "0%", "0", "texts"],
    ]


def test_descriptions_are_in_the_prompt_and_not_in_the_result(
    quick_cli: Cli, spec: tuple[str, ...]
) -> None:
    labels = "sports=games and matches,economy"
    plain = quick_cli("classify", "goal", "--labels", "sports,economy", "--jsonl", *spec)
    described = quick_cli("classify", "goal", "--labels", labels, "--jsonl", *spec)

    assert described.stdout == plain.stdout


def by_itself(nats: float) -> float:
    """Return the probability of a label that is so much likelier than behind any text."""
    return 1 / (1 + math.exp(-BY_ITSELF[0] * nats - BY_ITSELF_BIAS))


def test_with_multi_label_each_label_has_its_own_probability(
    quick_cli: Cli, spec: tuple[str, ...]
) -> None:
    found = quick_cli(
        "classify", "goal goal goal", "--labels", "sports,economy,x", "--multi-label", "--json", *spec
    )

    (record,) = found.json
    assert record["scores"] == {
        "sports": pytest.approx(by_itself(6), abs=1e-5),
        "economy": pytest.approx(by_itself(0), abs=1e-5),
        "x": pytest.approx(by_itself(0), abs=1e-5),
    }


def test_several_labels_may_fit_and_one_may_be_asked_for(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    options = ("--multi-label", "--jsonl", *spec)
    text = "goal goal goal bank bank bank"
    both = quick_cli("classify", text, "--labels", "sports,economy", *options)
    one = quick_cli("classify", "--labels", "sports", *options, stdin="goal goal goal\nnothing\n")

    assert list(both.json["scores"].values()) == pytest.approx([by_itself(6)] * 2, abs=1e-5)
    scores = [record["score"] for record in records(one.stdout)]
    assert scores == pytest.approx([by_itself(6), by_itself(0)], abs=1e-5)


def test_calibration_undoes_what_a_model_says_to_any_text(quick_cli: Cli, rule_spec: RuleSpec) -> None:
    # It says "weather" whatever the text is: each has a space or an e.
    options = ("--labels", "sports,weather", "-q", "-m", rule_spec({"": "weather", "goal": "sports"}))

    plain = quick_cli("classify", "a goal", "--no-calibration", *options)
    calibrated = quick_cli("classify", "a goal", *options)

    assert (plain.stdout, calibrated.stdout) == ("weather\n", "sports\n")


def test_the_order_of_texts_changes_nothing(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    options = ("--labels", "sports,economy", "--jsonl", *spec)
    lines = ["goal", "bank", "goal bank bank", "nothing"]

    forward = quick_cli("classify", *options, stdin="\n".join(lines)).stdout.splitlines()
    backward = quick_cli("classify", *options, stdin="\n".join(reversed(lines))).stdout.splitlines()
    alone = [quick_cli("classify", line, *options).stdout.strip() for line in lines]

    assert forward == backward[::-1] == alone
