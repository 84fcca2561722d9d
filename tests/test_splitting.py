"""Passages: cut by structure, none of the text lost, none of it changed."""

from __future__ import annotations

import textwrap
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.documents.passages import Passage, Source, line_of
from gptcli.tasks.splitting import size_of, split


def cut(text: str, name: str = "a.md", **sizes: int) -> list[Passage]:
    return split(Source(name, text), **sizes)


def texts(text: str, name: str = "a.md", **sizes: int) -> list[str]:
    return [passage.text for passage in cut(text, name, **sizes)]


def sentences(count: int, words: int = 5) -> str:
    return " ".join(f"S{number} " + "word " * (words - 2) + "end." for number in range(count))


SCRAPS = st.sampled_from(
    (
        *("word ", "A sentence here. ", "Is it? ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\f", "  "),
        *(
            "# Title\n",
            "## Part\n",
            "Title\n=====\n",
            "Part\n---\n",
            "```\n# no title\n```\n",
            "- item\n",
        ),
        *(
            "一句话。",
            "没有空格的文字",
            "。",
            "x" * 70,
            "\u2028",
            "\ufffd",
            "ไม่มีช่องว่าง",
            "e\u0301",
            "🙂",
        ),
    )
)
TEXTS = st.lists(SCRAPS, max_size=60).map("".join) | st.text(max_size=300)
NAMES = st.sampled_from(["a.md", "a.csv", "a.py", "-", "a.pdf"])


@given(TEXTS, NAMES, st.integers(1, 40), st.integers(0, 20))
def test_passages_hold_all_of_the_text_in_order(text: str, name: str, most: int, overlap: int) -> None:
    passages = cut(text, name, most_words=most, overlap_words=overlap)

    end = 0
    for passage in passages:
        assert not text[end : passage.start].strip(), "something was left out"
        assert passage.text == text[passage.start : passage.end] == passage.text.strip() != ""
        assert passage.line == line_of(text, passage.start)
        assert passage.end > end, "a passage repeats another"
        end = passage.end
    assert not text[end:].strip()


@given(TEXTS, NAMES, st.integers(1, 40), st.integers(0, 20))
def test_passages_are_no_longer_than_asked(text: str, name: str, most: int, overlap: int) -> None:
    for passage in cut(text, name, most_words=most, overlap_words=overlap):
        assert sum(size_of(word) for word in passage.text.split()) <= most * 8
        assert size_of(" ".join(passage.text.split())) <= most + len(passage.text.split()) // 8 + 1


@given(TEXTS, NAMES, st.integers(1, 40), st.integers(0, 20))
def test_passages_repeat_no_more_than_asked(text: str, name: str, most: int, overlap: int) -> None:
    passages = cut(text, name, most_words=most, overlap_words=overlap)

    for before, after in pairwise(passages):
        assert size_of(text[after.start : before.end].strip()) <= overlap + 1


def test_a_short_text_is_one_passage() -> None:
    assert texts("One. Two.\n\nThree.\n") == ["One. Two.\n\nThree."]
    assert texts(" \n\n") == []


def test_a_section_begins_a_passage_and_names_it() -> None:
    text = f"# Guide\n\n{sentences(8)}\n\n## Install\n\n{sentences(8)}\n\n# Use\n\n{sentences(8)}\n"

    passages = cut(text, most_words=60)

    assert [passage.heading for passage in passages] == ["Guide", "Guide > Install", "Use"]
    assert [passage.text.split("\n")[0] for passage in passages] == ["# Guide", "## Install", "# Use"]
    assert [passage.line for passage in passages] == [1, 5, 9]


def test_a_title_alone_is_no_passage() -> None:
    text = f"# Guide\n\n## Install\n\n{sentences(8)}\n"

    assert [passage.text.split("\n")[0] for passage in cut(text, most_words=60)] == ["# Guide"]


def test_a_passage_ends_with_a_paragraph_where_it_is_half_full() -> None:
    text = f"{sentences(5)}\n\n{sentences(6)}\n\n{sentences(2)}"

    assert texts(text, most_words=48) == [sentences(5), f"{sentences(6)}\n\n{sentences(2)}"]


def test_a_long_paragraph_is_cut_at_sentences_that_overlap() -> None:
    text = sentences(10)

    found = texts(text, most_words=25, overlap_words=5)

    assert [part.split()[0] for part in found] == ["S0", "S4", "S8"]
    assert all(part.endswith("end.") for part in found)
    assert [part.split()[0] for part in texts(text, most_words=25, overlap_words=0)] == ["S0", "S5"]


def test_a_sentence_goes_on_over_line_ends() -> None:
    text = textwrap.fill(sentences(12, 8), 30)

    assert all(part.endswith("end.") for part in texts(text, most_words=30))


def test_records_are_cut_at_lines() -> None:
    rows = "".join(f"{number},A cell. With a full stop,more\n" for number in range(40))

    for part in texts(rows, "a.csv", most_words=30):
        assert part.split(",")[0].isdecimal()
        assert part.endswith(",more")


def test_chinese_is_cut_at_its_full_stops() -> None:
    text = "这是一个句子，有十五个字符左右。" * 12

    found = texts(text, most_words=50, overlap_words=0)

    assert "".join(found) == text
    assert all(part.endswith("。") for part in found)


def test_what_has_no_ends_is_cut_all_the_same() -> None:
    assert "".join(texts("x" * 1000, most_words=50, overlap_words=0)) == "x" * 1000
    assert [len(part) for part in texts("字" * 100, most_words=40)] == [40, 40, 20]


def test_hashes_in_code_are_no_titles() -> None:
    text = "# Title\n\n```sh\n# a comment\nls\n```\n\n~~~\n# another\n~~~\n\ntext\n"

    assert {passage.heading for passage in cut(text, most_words=5)} == {"Title"}
    assert {passage.heading for passage in cut("# a comment\nx = 1\n", "a.py")} == {""}


def test_underlined_titles_count() -> None:
    text = f"Guide\n=====\n\n{sentences(8)}\n\nInstall\n-------\n\n{sentences(8)}\n"

    assert [passage.heading for passage in cut(text, most_words=50)] == ["Guide", "Guide > Install"]


def test_pages_are_named() -> None:
    text = "\f".join(f"{sentences(3)}\nPage {number}." for number in range(1, 4))

    assert [passage.heading for passage in cut(text, "a.pdf", most_words=20)] == [
        "page 1",
        "page 2",
        "page 3",
    ]


@pytest.mark.parametrize(
    ("text", "words"), [("three little words", 3), ("三个字", 3), ("x" * 80, 10), ("a 三 b", 3), ("", 0)]
)
def test_sizes_are_words_characters_or_an_eighth_of_them(text: str, words: int) -> None:
    assert size_of(text) == words
