"""Retrieval: what a question is found by, and what is shown of what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.documents.passages import Passage, Source
from gptcli.tasks.retrieval import Ranked, choose, fuse, query_terms, terms
from gptcli.tasks.splitting import size_of, split


@dataclass(slots=True)
class Found:
    """A collection of one source, whose search finds what it is told."""

    source: Source
    spans: Sequence[tuple[int, int]] = ()

    @property
    def size(self) -> int:
        return size_of(self.source.text)

    def sources(self) -> Iterator[Source]:
        yield self.source

    def search(self, _question: str, count: int) -> list[Ranked]:
        found = [Passage(self.source, start, end, 1) for start, end in self.spans]
        return [Ranked(passage, 1.0) for passage in found[:count]]


TEXT = "one two three. four five six. seven eight nine."


def chosen(*spans: tuple[int, int], budget: int, count: int = 5) -> list[str]:
    return [
        p.text for p in choose(Found(Source("a", TEXT), spans), "?", budget_words=budget, count=count)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The Cat's max_tokens=4!", ["the", "cat", "s", "max", "tokens", "4"]),
        ("北京大学", ["北", "京", "大", "学", "北京", "京大", "大学"]),
        ("GPT模型", ["gpt", "模", "型", "模型"]),
        ("ＡＢＣ ﬁne", ["abc", "fine"]),
        ("¿?", []),
    ],
)
def test_texts_are_found_by_words_or_characters_and_pairs(text: str, found: list[str]) -> None:
    assert terms(text) == found


def test_a_question_is_looked_for_by_what_it_is_about() -> None:
    assert query_terms("How do I install it? Install where?") == ["install"]
    assert query_terms("Who is he?") == ["who", "is", "he"]


def test_what_fits_is_shown_whole_and_in_its_own_order() -> None:
    source = Source("a", "\n\n".join(f"Paragraph {number}. " + "word " * 60 for number in range(20)))

    passages = choose(Found(source, [(0, 5)]), "?", budget_words=10_000)

    assert passages == split(source, overlap_words=0)
    assert " ".join(passage.text for passage in passages).split() == source.text.split()


def test_of_more_the_best_are_shown_that_fit() -> None:
    assert chosen((30, 47), (0, 14), budget=6) == ["seven eight nine.", "one two three."]
    assert chosen((30, 47), (0, 14), budget=6, count=1) == ["seven eight nine."]
    assert chosen((15, 47), (0, 14), (30, 47), budget=6) == ["four five six. seven eight nine."]


def test_a_small_one_is_shown_where_a_larger_one_does_not_fit() -> None:
    assert chosen((0, 14), (15, 47), (30, 34), budget=4) == ["one two three.", "seve"]


def test_the_best_is_shown_even_if_it_does_not_fit() -> None:
    assert chosen((0, 47), (0, 3), budget=2) == [TEXT]


def test_nothing_is_shown_twice() -> None:
    assert chosen((15, 29), (0, 29), (18, 22), budget=8) == ["four five six.", "one two three."]


spans = st.tuples(st.integers(0, len(TEXT) - 1), st.integers(1, 20)).map(
    lambda pair: (pair[0], min(len(TEXT), sum(pair)))
)


@given(st.lists(spans, max_size=6), st.integers(0, 8))
def test_what_is_shown_overlaps_nowhere_and_is_verbatim(
    found: list[tuple[int, int]], budget: int
) -> None:
    source = Source("a", TEXT)

    passages = choose(Found(source, found), "?", budget_words=budget)

    for number, passage in enumerate(passages):
        assert passage.text == TEXT[passage.start : passage.end] != ""
        for other in passages[number + 1 :]:
            assert passage.end <= other.start or other.end <= passage.start


def test_fused_rankings_prefer_what_all_of_them_find() -> None:
    fused = fuse([["a", "b", "c"], ["b", "d"]])

    assert [item for item, _ in fused] == ["b", "a", "d", "c"]
    assert fused[0][1] == pytest.approx(1 / 62 + 1 / 61)


@given(st.lists(st.permutations("abcdef"), min_size=1, max_size=4))
def test_one_ranking_and_its_copies_stay_as_they_are(rankings: list[list[str]]) -> None:
    first = rankings[0]

    assert [item for item, _ in fuse([first] * len(rankings))] == first
    assert {item for item, _ in fuse(rankings)} == set(first)
