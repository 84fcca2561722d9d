"""`gptcli eval ask`: answers against right ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gptcli.engine.scripted import ScriptedEngine
from gptcli.errors import GptcliError
from gptcli.tasks.answer_metrics import Question, answer_tokens, best_f1, evaluate_answers, is_exact
from tests.conftest import Cli
from tests.rule_engine import RuleEngine, favouring

FEE, CAT = "The fee is 10 euros a month.", "The cat sleeps in the old garden."


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The  Old-Garden, a cat's", ["oldgarden", "cats"]),
        ("1,345,596", ["1345596"]),
        ("在2008年，北京", ["在", "2008", "年", "北", "京"]),
        ("“An apple”", ["apple"]),
    ],
)
def test_answers_are_compared_as_squad_and_cmrc_have_it(text: str, tokens: list[str]) -> None:
    assert answer_tokens(text) == tokens


def test_f1_and_exact_match() -> None:
    assert best_f1("the old garden", ["old garden", "house"]) == 1
    assert best_f1("old garden gate", ["the garden"]) == pytest.approx(2 * 1 / (3 + 1))
    assert best_f1("北京市", ["北京"]) == pytest.approx(2 * 2 / 5)
    assert best_f1("cat", []) == best_f1("", ["cat"]) == 0
    assert is_exact("The Old garden!", ["old garden"])
    assert not is_exact("garden", ["old garden"])


def test_figures() -> None:
    questions = [
        Question(FEE, "How much is the fee?", ("10 euros",)),
        Question(CAT, "Where does the cat sleep?", ("old garden", "garden")),
        Question(CAT, "What does the cat eat?", ()),
    ]
    done: list[int] = []

    found = evaluate_answers(
        RuleEngine(favouring("10 euros", "the old garden")), questions, 0, done.append
    )

    assert found.figures["em"] == pytest.approx(100 * 2 / 3)
    assert found.figures["f1"] == pytest.approx(100 * 2 / 3)
    assert found.figures["answerable_f1"] == 100
    assert found.figures["no_answer_accuracy"] == pytest.approx(2 / 3)
    assert (found.figures["no_answer_recall"], found.figures["no_answer_precision"]) == (0, 0)
    assert found.figures["citations"] == 1
    assert (found.records, found.failed, done) == (3, 0, [1, 2, 3])


def test_an_abstention_is_right_where_there_is_no_answer() -> None:
    questions = [Question(FEE, "How much?", ("10 euros",)), Question(FEE, "Who pays?", ())]

    found = evaluate_answers(RuleEngine(favouring("10 euros")), questions, 1.1)

    assert found.figures["em"] == found.figures["f1"] == 50
    assert (found.figures["answerable_f1"], found.figures["forced_f1"]) == (0, 100)
    assert (found.figures["no_answer_recall"], found.figures["no_answer_precision"]) == (1, 0.5)


def test_failures_are_counted() -> None:
    engine = ScriptedEngine()
    engine.fail(GptcliError("broken"))

    found = evaluate_answers(engine, [Question(FEE, "How much?", ("10 euros",))])

    assert (found.failed, found.figures["em"]) == (1, 0)


@pytest.fixture
def data(tmp_path: Path) -> str:
    records = [
        {"context": FEE, "question": "How much?", "answers": ["10 euros"]},
        {"context": CAT, "question": "Where?", "answers": {"text": ["the old garden"]}},
        {"context": CAT, "question": "Why?", "answers": [], "is_impossible": True},
        {"context": "", "question": "Why?", "answers": []},
    ]
    lines = (json.dumps(record) + "\n" for record in records)
    (tmp_path / "data.jsonl").write_text("".join(lines), encoding="utf-8")
    return "data.jsonl"


def test_models_are_evaluated_side_by_side(cli: Cli, data: str, script: Callable[..., str]) -> None:
    model = script({})

    table = cli("eval", "ask", data, "-m", model, "-m", model)
    as_json = cli("eval", "ask", data, "-m", model, "-m", model, "--json")

    assert table.status == as_json.status == 0
    assert "answerable f1" in table.stdout
    assert "left out" in table.stderr
    assert [run["records"] for run in as_json.json["runs"]] == [3, 3]
    assert as_json.json["runs"][0]["citations"] == 1


def test_records_without_the_fields_are_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"question": "Who?", "answers": []}\n', encoding="utf-8")

    done = cli("eval", "ask", "data.jsonl", "-m", "no-such-model")

    assert done.status == 2
    assert "context" in done.stderr
