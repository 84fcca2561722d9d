"""The probability that a text answers a question."""

from __future__ import annotations

import pytest

from gptcli.documents.passages import Passage, Source
from gptcli.engine.api import ModelInfo, Score
from gptcli.engine.scripted import SCRIPTED_MODEL, Reply, ScriptedEngine
from gptcli.errors import GptcliError
from gptcli.tasks.span_search import Hit
from gptcli.tasks.support import features, support
from tests.rule_engine import RuleEngine, favouring

TEXT = "Cats sleep. Dogs bark at night. Anna was not there in 1990. Birds sing. Fish swim."


def hit(words: str, text: str = TEXT) -> Hit:
    passage = Passage(Source("a", f"head {text}"), 5, 5 + len(text), 1)
    start = 5 + text.index(words)
    begin = max(text.rfind(". ", 0, start - 5) + 2, 0) if ". " in text[: start - 5] else 0
    end = text.find(".", start - 5) + 1
    return Hit(passage, start, start + len(words), (5 + begin, 5 + end), 0.0)


def found(question: str, words: str) -> tuple[float, float, float]:
    each = hit(words)
    return features(RuleEngine(favouring(words, "unknown")), question, [each], [each.passage])


def test_the_span_is_compared_with_unknown_among_its_neighbours() -> None:
    engine = RuleEngine(favouring("at night", "unknown"))
    each = hit("at night")

    against, _, _ = features(engine, "When?", [each], [each.passage])

    (request,) = engine.requests
    assert isinstance(request, Score)
    assert "Passage: Cats sleep. Dogs bark at night. Anna was not there in 1990.\n" in str(
        request.prefix
    )
    assert against == 1


@pytest.mark.parametrize(
    ("question", "is_missing"),
    [
        ("When did Anna come?", False),
        ("When did Otto come?", True),
        ("What was in 1990?", False),
        ("What was in 1991?", True),
        ("Otto?", False),  # any word may begin a question
    ],
)
def test_names_and_numbers_that_the_text_has_not(question: str, is_missing: bool) -> None:
    assert found(question, "1990")[1] == is_missing


@pytest.mark.parametrize(
    ("question", "words", "is_missing"),
    [
        ("Who was not there?", "Anna", False),
        ("Who does not bark?", "Dogs", True),
        ("Who doesn't bark?", "Dogs", True),
        ("Who barks?", "Dogs", False),
        ("Who was there?", "Anna", False),
    ],
)
def test_a_negation_that_the_sentence_has_not(question: str, words: str, is_missing: bool) -> None:
    assert found(question, words)[2] == is_missing


CHAT = ModelInfo(**(SCRIPTED_MODEL | {"chat_template": "{{ messages }}"}))


def test_another_likely_sentence_may_have_the_negation() -> None:
    hits = [hit("Dogs"), hit("Anna")]

    assert features(RuleEngine(favouring()), "Who was not?", hits, [hits[0].passage])[2] == 0


@pytest.mark.parametrize("model", [CHAT, None])
def test_what_speaks_against_support_lowers_the_probability(model: ModelInfo | None) -> None:
    def probability(question: str, *favoured: str) -> float:
        each = hit("Dogs")
        return support(RuleEngine(favouring(*favoured), model=model), question, [each], [each.passage])

    likely = probability("Who barks?", "Dogs", "unknown")

    assert 0 < likely < 1
    assert probability("Who does not bark?", "Dogs", "unknown") < likely
    assert probability("Who barks at Otto?", "Dogs", "unknown") < likely
    if model is not None:
        assert probability("Who barks?", "unknown", "Dogs") < likely


def test_a_request_that_fails_is_told() -> None:
    each = hit("Dogs")
    engine = ScriptedEngine([Reply(error=GptcliError("broken"))], model=CHAT)
    with pytest.raises(GptcliError, match="broken"):
        support(engine, "Who?", [each], [each.passage])
