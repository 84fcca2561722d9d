"""Spans that could answer, and how near they are to the question's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.tasks.passages import flowing_sentences
from gptcli.tasks.spans import Nearness, candidates, has_form, is_form_of


def spans(text: str) -> list[str]:
    return [text[span.start : span.end] for span in candidates(flowing_sentences(text))]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One.  Two!\nThree", ["One.", "Two!", "Three"]),
        ("A sentence that\ngoes on. Next", ["A sentence that\ngoes on.", "Next"]),
        ("A title\n\nA text", ["A title", "A text"]),
        ("Buy\n- milk\n- bread\n2. go", ["Buy", "- milk", "- bread", "2. go"]),
        ("第一句。第二句！“第三句。”完", ["第一句。", "第二句！", "“第三句。”", "完"]),
        ("Dr. Lee met St. Anne. In the U.S. Army", ["Dr. Lee met St. Anne.", "In the U.S. Army"]),
        ("He is a Dr.", ["He is a Dr."]),
        (" \n ", []),
    ],
)
def test_sentences_go_over_line_ends(text: str, sentences: list[str]) -> None:
    assert [each.text for each in flowing_sentences(text)] == sentences


def test_spans_are_whole_words_and_numbers() -> None:
    assert spans("It cost 1,234.5 euros") == [
        *("It", "It cost", "It cost 1,234.5", "It cost 1,234.5 euros", "cost", "cost 1,234.5"),
        *("cost 1,234.5 euros", "1,234.5", "1,234.5 euros", "euros"),
    ]


def test_spans_keep_brackets_and_quotation_marks_together() -> None:
    found = spans("the council (GPC) said “no” again")

    assert "the council (GPC)" in found
    assert "“no”" in found
    assert not [span for span in found if span.count("(") != span.count(")")]
    assert not [span for span in found if span.count("“") != span.count("”")]


def test_spans_have_their_units() -> None:
    assert {"2.8%", "$5", "5 °"} <= {*spans("It is 2.8% or $5"), *spans("or 5 °")}


def test_spans_stay_within_a_sentence() -> None:
    assert "one. Two" not in spans("Only one. Two more.")


def test_of_chinese_any_characters_are_spans() -> None:
    found = spans("灯塔建于1847年。")

    assert {"灯塔", "1847年", "1847"} <= set(found)
    assert "84" not in found


@given(st.text(max_size=80))
def test_spans_are_where_they_are_said_to_be(text: str) -> None:
    sentences = flowing_sentences(text)
    for sentence in sentences:
        assert text[sentence.start : sentence.end] == sentence.text == sentence.text.strip()
    for span in candidates(sentences):
        own = sentences[span.sentence]
        assert own.start <= span.start < span.end <= own.end


def nearest(question: str, text: str) -> str:
    sentences = flowing_sentences(text)
    nearness = Nearness(question, sentences)
    best = max(candidates(sentences), key=nearness.of)
    return sentences[best.sentence].text


@pytest.mark.parametrize(
    ("question", "text", "sentence"),
    [
        (
            "When was the tower built?",
            "Cats sleep a lot. The towers were built in 1847. Dogs bark.",
            "The towers were built in 1847.",
        ),
        ("灯塔何时建成？", "面包很好吃。灯塔建成于1847年。", "灯塔建成于1847年。"),
    ],
)
def test_nearest_are_the_spans_beside_the_words_of_the_question(
    question: str, text: str, sentence: str
) -> None:
    assert nearest(question, text) == sentence


def test_spans_that_repeat_the_question() -> None:
    text = "The old tower was built by Ada Finch. 灯塔建成。"
    sentences = flowing_sentences(text)
    nearness = Nearness("Who built the towers? 灯塔？", sentences)
    echoes = {text[span.start : span.end]: nearness.echo(span) for span in candidates(sentences)}

    assert echoes["tower"] == echoes["built"] == echoes["灯塔"] == 1
    assert echoes["Ada Finch"] == echoes["建成"] == 0
    assert echoes["The old tower"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("one", "other", "is_form"),
    [
        ("built", "built", True),
        ("tower", "towers", True),
        ("sleeping", "sleeps", False),
        ("walking", "walked", False),
        ("cat", "cats", False),
        ("1990", "1991", False),
        ("10000", "10001", False),
    ],
)
def test_forms_of_a_word(one: str, other: str, is_form: bool) -> None:
    assert is_form_of(one, other) is is_form


def test_a_text_has_a_word_in_some_form() -> None:
    assert has_form("The Towers of London", "tower")
    assert has_form("北京大学", "北京")
    assert not has_form("The Towers of London", "paris")
