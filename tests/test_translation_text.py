"""Texts with protected pieces, faults of translations, chrF, and a grammar."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.languages import Language, find_language
from gptcli.tasks.chrf import consensus, corpus_chrf
from gptcli.tasks.constrained import carrying, only_names, without
from gptcli.tasks.translation_checks import (
    Fault,
    findings,
    foreign_letters,
    invented_numbers,
    is_looping,
    left_words,
    number_faults,
    wrong_language,
)
from gptcli.tasks.translation_text import (
    Protected,
    joined,
    peel,
    sentences,
    split_parts,
    text_of,
    tidied,
)
from tests.llama_matcher import Matcher

EN, FR, DE, ZH, AR = map(find_language, ("en", "fr", "de", "zh", "ar"))
PIECES = st.sampled_from(
    [
        "One. ",
        "Two words",
        " ",
        ".",
        "<1>",
        "</1>",
        "<2/>",
        "{name}",
        "中文。",
        "12.5",
        "\n",
        "a? B",
        '"',
        "« ",
    ]
)


@given(st.lists(PIECES, max_size=12))
def test_cutting_and_peeling_lose_nothing(pieces: list[str]) -> None:
    text = "".join(pieces)
    protected = [Protected(p) for p in pieces if p in ("<2/>", "{name}")]
    parts = split_parts(text, protected)

    assert text_of(parts) == text
    assert "".join(text_of(each) for each in sentences(parts)) == text
    for each in sentences(parts):
        peeled = peel(each)
        assert peeled.around(text_of(peeled.body)) == text_of(each)


def test_no_sentence_ends_within_a_pair() -> None:
    parts = split_parts("<b>One. Two.</b> Three. Four.", ())

    assert [text_of(each) for each in sentences(parts)] == ["<b>One. Two.</b> Three.", " Four."]


def test_what_stands_at_the_ends_is_peeled() -> None:
    link = (Protected("<1>", "open"), Protected("</1>", "close"))
    peeled = peel(split_parts("  <1>Read this</1>.", link))

    assert (text_of(peeled.head), text_of(peeled.body), text_of(peeled.tail)) == (
        *("  <1>", "Read this", "</1>."),
    )
    half = peel(split_parts("<1>Read</1> this", link))
    assert text_of(half.body) == "<1>Read</1> this"


@pytest.mark.parametrize(
    ("text", "head", "body"),
    [
        ('"This is the end.', '"', "This is the end."),
        ('This is the end."', "", "This is the end."),
        ("« Bonjour. »", "« ", "Bonjour."),
        ('He said "no".', "", 'He said "no".'),
        ('"No", he said.', "", '"No", he said.'),
        ("It is Ann's.", "", "It is Ann's."),
        ('"a"', '"', "a"),
    ],
)
def test_quotation_marks_at_the_ends_are_not_shown(text: str, head: str, body: str) -> None:
    peeled = peel([text])

    assert (text_of(peeled.head), text_of(peeled.body)) == (head, body)
    assert peeled.around(body) == text


def test_sentences_are_joined_as_the_script_wants() -> None:
    assert joined(["一。", "Two."], FR) == "一。 Two."
    assert joined(["他来了。", " 她走了。"], ZH) == "他来了。她走了。"
    assert joined(["A.", "  B."], FR) == "A.  B."


@pytest.mark.parametrize(
    ("answer", "source", "tidy"),
    [
        ("French: Bonjour", "Hello", "Bonjour"),
        (' "Bonjour" ', "Hello", "Bonjour"),
        ('"Bonjour"', '"Hello"', '"Bonjour"'),
        ("Here is the translation:\n\nBonjour", "Hello", "Bonjour"),
        ("Bonjour.", "Hello", "Bonjour"),
        ("Bonjour.", "Hello.", "Bonjour."),
        ("Bonjour\nEnglish: More", "Hello", "Bonjour"),
        ("", "Hello", ""),
    ],
)
def test_what_models_add_is_taken_away(answer: str, source: str, tidy: str) -> None:
    assert tidied(answer, source, FR) == tidy


LONG = "The new bridge was opened by the mayor on a rainy Sunday in front of a large crowd."


@pytest.mark.parametrize(
    ("translation", "faults"),
    [
        ("Le maire a inauguré le nouveau pont un dimanche pluvieux devant une grande foule.", []),
        ("", [Fault.EMPTY]),
        (LONG, [Fault.COPY]),
        ("Der neue Brücke wurde an einem Sonntag vom Bürgermeister eröffnet.", [Fault.LANGUAGE]),
        ("le pont de la ville de la ville de la ville de la ville de la ville", [Fault.LOOP]),
        ("Le pont.", [Fault.SHORT]),
        ("English: Le maire a inauguré le pont dimanche devant la foule.", [Fault.LEFTOVER]),
    ],
)
def test_faults_are_found(translation: str, faults: list[Fault]) -> None:
    assert [each.fault for each in findings(LONG, translation, EN, FR)] == faults


def test_a_translation_far_too_long() -> None:
    assert Fault.LONG in [each.fault for each in findings("Good day", LONG * 2, EN, EN)]


@pytest.mark.parametrize(
    ("source", "translation", "is_fine"),
    [
        ("12,000.5 m", "12.000,5 m", True),
        ("12,000 m", "12 000 m", True),
        ("from 8 to 9", "von 9 bis 8", True),
        ("at 8:46 pm", "à 20 h 46", False),
        ("3 cats", "trois chats", False),
        ("1, 2 and 2", "1 et 2", False),
        ("two cats", "2 chats", True),
        ("٣ قطط", "3 cats", True),
        ("20 世纪 80 年代", "in the 1980s", True),
        ("in the 1980s", "20世纪80年代", True),
        ("20 世纪", "in the 1900s", False),
    ],
)
def test_numbers_are_counted_back(source: str, translation: str, is_fine: bool) -> None:
    assert (number_faults(source, translation) == "") is is_fine


@pytest.mark.parametrize(
    ("source", "translation", "invented"),
    [
        ("The number is %(min)s.", "Le nombre est 1000.", "1000"),
        ("It costs 2.50.", "Cela coûte 2,50.", ""),
        ("There are fifteen of us.", "Nous sommes 15.", ""),
        ("我们有二十个人。", "There are 20 of us.", ""),
        ("See page 4.", "Voir page 5.", ""),
    ],
)
def test_numbers_are_not_invented(source: str, translation: str, invented: str) -> None:
    assert invented_numbers(source, translation) == invented


@pytest.mark.parametrize(
    ("source", "translation", "pair", "left"),
    [
        ("他与布鲁克斯一起工作。", "He worked with 布鲁克斯.", (ZH, EN), "布鲁克斯"),
        ("他来了。", "He came.", (ZH, EN), ""),
        ("Three shooters met Winfrey.", "三名 shooters 会见了 Winfrey。", (EN, ZH), "shooters"),
        ("He likes a tin of tea.", "他喜欢 a tin。", (EN, ZH), ""),  # too short to be sure
        (
            "It began in aboriginal grain stores.",
            "Es begann in aboriginal grain stores.",
            (EN, DE),
            None,
        ),
        ("The information is important.", "L'information est important.", (EN, FR), ""),
        ("The University of Texas won.", "Die University of Texas siegte.", (EN, DE), ""),
        ("Привет, мир", "Hello мир", (find_language("ru"), EN), "мир"),
        ("Good morning", "Доброе утро", (EN, find_language("ru")), ""),
        ("漢字を読む", "汉字", (find_language("ja"), ZH), ""),
        ("the same old words", "the same old words", (EN, find_language("en-GB")), ""),
    ],
)
def test_words_left_untranslated(
    source: str, translation: str, pair: tuple[Language, Language], left: str | None
) -> None:
    found = left_words(source, translation, *pair)
    assert found == left if left is not None else found == "in aboriginal grain"


def test_words_left_are_a_fault_that_is_tolerable() -> None:
    found = findings("他与布鲁克斯一起工作了很多年。", "He worked with 布鲁克斯 for many years.", ZH, EN)

    assert [str(each) for each in found] == ["words left untranslated: 布鲁克斯"]
    assert found[0].is_tolerable


def test_a_refrain_is_no_loop_where_the_source_has_it() -> None:
    refrain = "ja ja ja ja ja ja"
    assert is_looping(refrain)
    assert not is_looping(refrain, "yes yes yes yes yes yes")
    assert is_looping("人民共和国人民共和国人民共和国人民共和国")
    assert not is_looping("好的好的")


def test_another_script_is_another_language() -> None:
    assert wrong_language("Это совсем другой язык", FR) == "cyrillic"
    assert wrong_language("Cristina Fernandez", ZH) == ""
    assert wrong_language("This is plainly not Arabic at all.", AR) == "latin"
    assert wrong_language("12", FR) == ""


def test_chrf_of_texts() -> None:
    assert corpus_chrf(["the same"], ["the same"]) == pytest.approx(100)
    assert corpus_chrf([""], ["x"]) == corpus_chrf(["x"], [""]) == 0
    assert corpus_chrf(["a b", "c"], ["a b", "d"]) < 100


@settings(deadline=None)  # the first import of sacrebleu takes its time
@given(st.lists(st.text("abc ", max_size=12), min_size=1, max_size=6))
def test_chrf_is_that_of_sacrebleu(texts: list[str]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu.metrics.chrf")
    references = texts[::-1]

    expected = sacrebleu.CHRF().corpus_score(texts, [references]).score
    assert corpus_chrf(texts, references) == pytest.approx(expected, abs=1e-6)


def test_the_candidate_is_taken_that_agrees_with_the_others() -> None:
    candidates = ["a dog runs away", "the cat sleeps now", "the cat sleeps", "the cat sleeps here"]
    agreement = consensus(candidates)

    assert candidates[agreement.index(max(agreement))].startswith("the cat sleeps")
    assert consensus(["one"]) == [0.0]


@pytest.mark.parametrize(
    ("pieces", "text", "fits"),
    [
        (["<1>", "</1>"], "Voir <1>ceci</1>.", True),
        (["<1>", "</1>"], "Voir <1>ceci.", False),
        (["<1>", "</1>"], "Voir </1>ceci<1>.", False),
        (["12", "{a]b}"], "x 12 y {a]b} z", True),
        (["12", "{a]b}"], "x 12 3 y {a]b} z", False),
        (['"\\', "^-"], 'so "\\ so ^- so\n', True),
        (["https://x.y"], "https://x.y", True),
    ],
)
def test_the_grammar_carries_pieces_over(
    llama: Matcher, pieces: list[str], text: str, fits: bool
) -> None:
    assert llama.accepts(carrying(pieces).source, text) is fits


@pytest.mark.parametrize(
    ("pair", "text", "fits"),
    [
        ((ZH, EN), "He works with Groening, 3 times.", True),
        ((ZH, EN), "He works with 格罗宁.", False),
        ((find_language("ru"), DE), "Grüße aus Köln", True),
        ((find_language("ru"), DE), "Grüße aus Москва", False),
        ((find_language("ja"), FR), "une かな", False),
    ],
)
def test_the_grammar_keeps_a_script_out(
    llama: Matcher, pair: tuple[Language, Language], text: str, fits: bool
) -> None:
    letters = foreign_letters(*pair)
    assert llama.accepts(without(letters).source, text) is fits
    assert llama.accepts(carrying(["7"], letters).source, f"{text.replace('3', 'x')} 7") is fits


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("试验由 Winfrey 和 Élan 监测，3 次。", True),
        ("试验由 rangers 监测。", False),
        ("在植物ations上", False),
        ("NPWS 表示", True),
    ],
)
def test_the_grammar_keeps_small_latin_words_out(llama: Matcher, text: str, fits: bool) -> None:
    assert llama.accepts(only_names().source, text) is fits
