"""Heads: what is learnt, what is kept, and what is refused."""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.engine.api import HiddenState
from gptcli.errors import GptcliError, UsageError
from gptcli.prompts.heads import choose_examples, head_line
from gptcli.prompts.labels import Example
from gptcli.store.heads import HeadFileError, find_head, head_names, head_path, keep_head, remove_head
from gptcli.tasks.fit import LabelledTexts, fit_head, labelled_texts, states_to_try
from gptcli.tasks.heads import Head, HeadClassifier
from tests.bag_of_words import BagOfWords

HEAD = Head(
    model="abc",
    model_name="tiny",
    labels=("bad", "good"),
    examples=(Example("so so", 0), Example("nice", 1)),
    line="Text: {text}\nLabel:",
    states=(HiddenState(1), HiddenState(1, "mean")),
    weights=(array("f", [-0.5, 0.25, 0, 1.5]), array("f", [0.5, -0.25, 0, -1.5])),
    biases=(0.125, -0.125),
    report={"examples": 4},
)
GOOD, BAD, OTHER = ("great", "fine"), ("awful", "poor"), ("film", "plot", "cast", "scene", "end")


def reviews(count: int, seed: int = 0) -> LabelledTexts:
    """Return texts of random words, of which one says what the label is."""
    random_ = random.Random(seed)
    pairs = []
    for n in range(count):
        word = random_.choice((GOOD, BAD)[n % 2])
        words = [*random_.choices(OTHER, k=4), word, str(n)]
        random_.shuffle(words)
        pairs.append((" ".join(words), ("good", "bad")[n % 2]))
    return labelled_texts(pairs)


def log_odds(head: Head, text: str) -> tuple[float, ...]:
    ((_, found),) = HeadClassifier(BagOfWords(), head).classify([text], str)
    assert not isinstance(found, GptcliError)
    return found.log_odds


# ------------------------------------------------------------------------------------------ learning


def test_a_head_learns_what_examples_say() -> None:
    engine = BagOfWords()

    fitted = fit_head(engine, reviews(80), model="abc")

    assert fitted.metrics.accuracy > 0.9
    assert sum(map(sum, fitted.metrics.confusion)) == len(fitted.kept) == 72
    texts = ["a great film", "a poor plot with a poor end", "", "great " * 600]
    found = [each for _, each in HeadClassifier(engine, fitted.head).classify(texts, str)]
    assert [getattr(each, "label", "") for each in found] == ["good", "bad", None, "good"]
    assert [getattr(each, "windows", 0) for each in found][3] > 1
    for each in found:
        assert not isinstance(each, GptcliError)
        assert not each.scores or sum(each.scores.values()) == pytest.approx(1)


def test_the_figures_are_about_texts_that_were_not_learnt_from() -> None:
    # Labels that have nothing to do with the texts: a figure above chance would be made up.
    random_ = random.Random(1)
    pairs = [(f"{n} {' '.join(random_.choices(OTHER, k=6))}", random_.choice("ab")) for n in range(120)]

    fitted = fit_head(BagOfWords(), labelled_texts(pairs), model="abc")

    assert fitted.metrics.accuracy < 0.65
    assert fitted.metrics.calibration_error < 0.2


def test_texts_in_the_prompt_are_not_learnt_from() -> None:
    examples = reviews(40)
    engine = BagOfWords()

    fitted = fit_head(engine, examples, model="abc")

    shown = {example.text for example in fitted.head.examples}
    assert len(shown) == 8
    read = {request.text.rpartition("Text: ")[2].removesuffix("\nLabel:") for request in engine.requests}
    assert read == set(examples.texts) - shown
    assert all(text in engine.requests[0].text for text in shown)


def test_classes_of_any_size_and_number_can_be_learnt() -> None:
    names = [f"topic{n}" for n in range(7)]
    pairs = [(f"{name} word {n} {n * n}", name) for name in names for n in range(12)]
    pairs += [("rare one", "rare"), ("rare two", "rare")]

    fitted = fit_head(BagOfWords(), labelled_texts(pairs), model="abc")

    assert len(fitted.head.labels) == len(fitted.head.weights) == 8
    supports = {each.label: each.support for each in fitted.metrics.classes}
    assert supports == dict.fromkeys(names, 11) | {"rare": 2}  # one of each 12 is in the prompt
    assert "fewer than 5 examples of rare" in labelled_texts(pairs).remarks[0]


def test_the_same_examples_give_the_same_head() -> None:
    one, other = (fit_head(BagOfWords(), reviews(30), model="abc").head for _ in range(2))

    assert one == other


def test_a_text_that_fails_while_fitting_ends_it() -> None:
    with pytest.raises(GptcliError, match="the model fails here"):
        fit_head(BagOfWords(fails_on="great"), reviews(30), model="abc")


def test_a_text_that_fails_while_classifying_fails_alone() -> None:
    head = fit_head(BagOfWords(), reviews(30), model="abc").head
    texts = ["great", "this one breaks", "poor"]

    found = [
        each for _, each in HeadClassifier(BagOfWords(fails_on="breaks"), head).classify(texts, str)
    ]

    assert [isinstance(each, GptcliError) for each in found] == [False, True, False]


def test_a_line_has_words_that_fit_the_labels() -> None:
    assert "Sentiment:" in head_line(("negative", "positive"))
    assert "Sentiment:" not in head_line(("negative", "positive", "mixed"))
    assert all("{text}" in head_line(labels) for labels in (("a", "b"), ("negative", "positive")))


@given(st.integers(1, 200))
def test_states_to_try_are_states_that_there_are(layers: int) -> None:
    states = states_to_try(layers)

    assert len(set(states)) == len(states)
    assert all(1 <= state.layer <= max(1, layers - 1) for state in states)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80))
def test_examples_leave_something_to_learn_from(targets: list[int]) -> None:
    shown = choose_examples([f"text {n}" for n in range(len(targets))], targets, 5)

    assert len(set(shown)) == len(shown)
    for label in range(5):
        assert sum(targets[n] == label for n in shown) <= targets.count(label) // 4


def test_what_cannot_be_learnt_is_said() -> None:
    with pytest.raises(UsageError, match="no examples"):
        labelled_texts([("", "a"), ("b", " ")])
    with pytest.raises(UsageError, match='all examples have the label "a"'):
        labelled_texts([("x", "a"), ("y", "a")])
    with pytest.raises(UsageError, match='"b" has one example'):
        labelled_texts([("x", "a"), ("y", "a"), ("z", "b")])


def test_blank_repeated_and_contradicting_examples_are_left_out() -> None:
    pairs = [("x", "a"), ("y", "a"), ("p", "b"), ("q", "b")]
    doubtful = [("x ", "a"), ("", "a"), ("r", ""), ("both", "a"), ("both", "b")]

    found = labelled_texts(pairs + doubtful)

    assert found.texts == ("x", "y", "p", "q")
    assert [remark.split(" ")[0] for remark in found.remarks] == ["2", "1", "1", "fewer"]


def test_using_a_head_needs_no_scikit_learn(tmp_path: Path) -> None:
    keep_head("mine", HEAD)
    probe = (
        "import sys; from gptcli.store.heads import find_head; import gptcli.cli.labelling\n"
        "print(find_head('mine').log_odds([[1, 2], [3, 4]]), {'sklearn', 'numpy'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)

    assert done.stdout == "[6.125, -6.125] set()\n"


# ------------------------------------------------------------------------------------------ on disk


def test_a_head_is_kept_as_it_is() -> None:
    keep_head("mine", HEAD)

    assert find_head("mine") == HEAD
    assert head_names() == ["mine"]
    remove_head("mine")
    assert head_names() == []


def test_a_fitted_head_says_the_same_after_it_was_kept() -> None:
    head = fit_head(BagOfWords(), reviews(40), model="abc").head
    keep_head("mine", head)

    assert log_odds(find_head("mine"), "great film") == pytest.approx(
        log_odds(head, "great film"), rel=1e-4
    )


@given(st.data())
def test_a_file_that_was_changed_is_refused(data: st.DataObject) -> None:
    text = keep_head("mine", HEAD).read_text()
    at = data.draw(st.integers(0, len(text) - 2))
    new = data.draw(st.sampled_from('07aZ"{}[],.\u00e9'))
    changed = text[:at] + new + text[at + 1 :]
    head_path("mine").write_text(changed)
    if changed == text or _same_numbers(changed, text):
        return

    with pytest.raises(HeadFileError, match="is refused"):
        find_head("mine")


def _same_numbers(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"labels": ["bad"]},
        {"biases": [0.0]},
        {"biases": [0.0, math.nan]},
        {"weights": [[1.0], [2.0, 3.0]]},
        {"states": []},
        {"states": [{"layer": 1, "pooling": "last", "more": 1}]},
        {"examples": [{"text": "x", "label": 2}]},
        {"line": "no place for the text"},
        {"labels": [["a"], ["b"]]},
    ],
    ids=str,
)
def test_what_does_not_belong_together_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, LookupError, ArithmeticError)):
        Head.from_members(HEAD.members() | change)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]", b"{}", b'{"head": 1, "sha256": 2}', b"[" * 9999]
)
def test_what_is_no_head_is_refused(content: bytes) -> None:
    path = head_path("mine")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    with pytest.raises(HeadFileError) as caught:
        find_head("mine")
    assert "gptcli heads rm mine" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "-x", "x" * 65])
def test_a_name_cannot_leave_the_directory(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a head's name"):
        head_path(name)


def test_another_model_is_refused() -> None:
    HEAD.check_model("abc", "tiny")
    with pytest.raises(UsageError, match='fitted on "tiny"') as caught:
        HEAD.check_model("def", "other")
    assert "-m tiny" in (caught.value.hint or "")


def test_log_odds_are_weights_times_states_plus_bias() -> None:
    states = [[1.0, 2.0], [3.0, 4.0]]
    expected = [
        sum(w * v for w, v in zip(row, itertools.chain(*states), strict=True)) + bias
        for row, bias in zip(HEAD.weights, HEAD.biases, strict=True)
    ]

    assert HEAD.log_odds(states) == pytest.approx(expected)
