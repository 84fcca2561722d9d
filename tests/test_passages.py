"""Sentences, words and windows: parts of a text with their places."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.tasks.passages import Span, sentences, windows, words

TEXTS = st.text(
    st.one_of(st.sampled_from(" .!?…\n\r\t。”\"'aé好😀-\u2028\x1c"), st.characters()), max_size=300
)


def without_space(text: str) -> str:
    return "".join(text.split())


def check(text: str, spans: list[Span]) -> None:
    assert all(text[each.start : each.end] == each.text == each.text.strip() != "" for each in spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))


@given(TEXTS, st.integers(4, 80))
def test_windows_lose_nothing_and_are_no_larger_than_asked(text: str, most: int) -> None:
    found = windows(text, most)

    check(text, found)
    assert without_space("".join(each.text for each in found)) == without_space(text)
    assert all(len(each.text.encode("utf-8", "replace")) <= most for each in found)


@given(TEXTS)
def test_sentences_lose_nothing(text: str) -> None:
    found = sentences(text)

    check(text, found)
    assert without_space("".join(each.text for each in found)) == without_space(text)


@given(TEXTS)
def test_words_are_where_they_are_said_to_be(text: str) -> None:
    check(text, words(text))


def test_windows_end_with_a_sentence_where_one_ends() -> None:
    text = "One is here. Two is there! Three? Four is the last one. Five."

    assert [each.text for each in windows(text, 30)] == [
        "One is here. Two is there!",
        "Three? Four is the last one.",
        "Five.",
    ]
    assert [each.text for each in windows("好。坏。", 6)] == ["好。", "坏。"]


def test_a_long_sentence_is_cut_between_words_and_a_long_word_anywhere() -> None:
    text = "word " * 20 + "x" * 50

    found = [each.text for each in windows(text, 22)]

    assert all(re.fullmatch(r"(word ?)+|x+|(word )+x+", each) for each in found)
    assert "".join(found).count("x") == 50


@pytest.mark.parametrize("mark", [".", "?!", "…", '."', "。", "\n", " ", "a", ". ", "<"])
def test_a_text_of_one_mark_costs_no_more_than_any_other(mark: str) -> None:
    text = (mark * 60_000)[:60_000]

    started = time.process_time()
    windows(text, 300)
    words(text)

    assert time.process_time() - started < 10  # where each mark is looked at from each other: minutes
