"""Which parts of a text carry its label."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.errors import GptcliError
from gptcli.prompts.labels import LabelForm
from gptcli.tasks.calibration import uncalibrated
from gptcli.tasks.explain import MOST_PARTS, Explained, View, explain
from gptcli.tasks.labels import Classifier, LabelTask
from tests.rule_engine import RuleEngine, by_words

FORM = LabelForm(name="f", line="Text: {text}\nLabel:", words=(("down",), ("up",)))
TASK = LabelTask(labels=("down", "up"), forms=(FORM,), calibration=uncalibrated(1, 2))
RULE = by_words({"good": "up", "bad": "down"})


def all_explained(
    texts: list[str], *views: View, text_of: Callable[[str], str] = str
) -> list[Explained | GptcliError]:
    results = list(explain(Classifier(RuleEngine(RULE), TASK), texts, text_of, views))
    assert [text for text, _ in results] == texts
    return [found for _, found in results]


def explained(text: str, *views: View) -> Explained:
    (found,) = all_explained([text], *views)
    assert isinstance(found, Explained)
    return found


def test_a_word_weighs_what_the_text_loses_without_it() -> None:
    found = explained("A good, long day.", "words")

    assert found.classification.label == "up"
    weights = {each.passage.text: each.weight for each in found.weights}
    assert weights == {
        **dict.fromkeys(("A", ",", "long", "day", "."), pytest.approx(0)),
        "good": pytest.approx(2.0),
    }


def test_a_word_that_speaks_against_the_label_weighs_less_than_nothing() -> None:
    found = explained("good good bad", "words")

    assert [each.weight for each in found.weights] == pytest.approx([2, 2, -2])


def test_scores_are_not_changed_by_explaining() -> None:
    texts = ["good. bad bad", " ", "x"]
    plain = [each.classification for each in all_explained(texts)]  # type: ignore[union-attr]
    more = all_explained(texts, "words", "sentences")

    assert [each.classification for each in more] == plain  # type: ignore[union-attr]


def test_a_word_alone_is_compared_with_no_evidence() -> None:
    (weight,) = explained("good", "words").weights

    assert weight.weight == pytest.approx(2.0)


def test_each_sentence_has_its_label() -> None:
    found = explained("It was good. Then bad!\nNothing", "sentences")

    assert found.weights == ()
    assert [(part.passage.text, part.classification.label) for part in found.parts] == [
        ("It was good.", "up"),
        ("Then bad!", "down"),
        ("Nothing", "down"),
    ]


@given(st.lists(st.sampled_from(["good", "bad", " ", "\n", ". ", "好", "😀", "é", "_"]), max_size=40))
def test_places_are_verbatim_and_in_order(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = explained(text, "words", "sentences")

    for spans in ([each.passage for each in found.weights], [each.passage for each in found.parts]):
        assert all(text[span.start : span.end] == span.text for span in spans)
        assert spans == sorted(spans, key=lambda span: span.start)
    assert all(math.isfinite(each.weight) for each in found.weights)


@pytest.mark.parametrize("count", [MOST_PARTS, MOST_PARTS + 1, 1234])
def test_of_a_long_text_several_words_are_left_out_together(count: int) -> None:
    text = " ".join(f"w{n}" for n in range(count))
    found = explained(text, "words")

    parts = [each.passage.text for each in found.weights]
    assert MOST_PARTS / 2 < len(parts) <= MOST_PARTS
    assert " ".join(parts) == text


def test_a_blank_text_has_nothing_to_explain() -> None:
    found = explained(" \n", "words", "sentences")

    assert (found.classification.label, found.weights, found.parts) == (None, (), ())


def test_a_text_that_fails_fails_alone() -> None:
    problem = GptcliError("no such field")

    def text_of(text: str) -> str:
        if text == "broken":
            raise problem
        return text

    first, second, third = all_explained(["good", "broken", "bad"], "words", text_of=text_of)

    assert second is problem
    assert isinstance(first, Explained)
    assert isinstance(third, Explained)
    assert (first.classification.label, third.classification.label) == ("up", "down")
    assert (len(first.weights), len(third.weights)) == (1, 1)
