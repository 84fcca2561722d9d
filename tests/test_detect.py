"""Languages by tag and name, and the language of a text."""

from __future__ import annotations

import json

import pytest

from gptcli.errors import UsageError
from gptcli.languages import find_language
from gptcli.tasks.detect import UNKNOWN, detect
from tests.conftest import Cli


@pytest.mark.parametrize(
    ("asked", "tag"),
    [
        ("fr", "fr"),
        ("French", "fr"),
        ("français", "fr"),
        ("Français", "fr"),
        ("deutsch", "de"),
        ("日本語", "ja"),
        ("العربية", "ar"),
        ("pt-BR", "pt-BR"),
        ("pt_br", "pt-BR"),
        ("Brazilian Portuguese", "pt-BR"),
        ("zh-Hant", "zh-Hant"),
        ("simplified chinese", "zh-Hans"),
        ("iw", "he"),
        (" de ", "de"),
    ],
)
def test_a_language_has_tags_and_names(asked: str, tag: str) -> None:
    assert find_language(asked).tag == tag


@pytest.mark.parametrize("asked", ["", " ", "xx", "e", "und", "nonsense", "fr de", "x" * 500, "12"])
def test_what_is_no_language_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="is no language that is known"):
        find_language(asked)


def test_near_names_are_suggested() -> None:
    with pytest.raises(UsageError) as caught:
        find_language("Frnch")
    assert caught.value.hint == "French"


def test_what_is_known_of_a_language() -> None:
    assert find_language("pt-BR").plain_name == "Brazilian Portuguese"
    assert find_language("zh-Hant").plain_name == "Traditional Chinese"
    assert find_language("cmn").primary == "zh"
    assert [find_language(tag).has_spaces for tag in ("zh", "ja", "ko", "de", "th")] == [
        *(False, False, True, True, False)
    ]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The committee meets again in September.", "en"),
        ("Der Ausschuss tritt im September wieder zusammen.", "de"),
        ("LE COMITÉ SE RÉUNIT À NOUVEAU EN SEPTEMBRE.", "fr"),
        ("El comité se reúne de nuevo en septiembre.", "es"),
        ("委员会将于九月再次开会。", "zh"),
        ("委員会は九月に再び開かれる。", "ja"),
        ("위원회는 9월에 다시 열린다.", "ko"),
        ("الاجتماع القادم للجنة في سبتمبر", "ar"),
        ("Комитет снова соберётся в сентябре.", "ru"),
        ("她的新书《の》下个月将在全国各大书店同时上市销售。", "zh"),  # a word of kana
    ],
)
def test_sentences_are_recognized(text: str, language: str) -> None:
    found = detect(text)

    assert (found.language, found.is_sure) == (language, True)


@pytest.mark.parametrize("text", ["", " \n", "12.5 %", "<b></b>", "{name}", "https://example.com/a"])
def test_where_no_word_is_there_is_no_language(text: str) -> None:
    assert detect(text).language == UNKNOWN


def test_probabilities_are_a_distribution_over_what_comes_into_question() -> None:
    found = detect("Katze", among=("de", "en"))

    assert found.language in ("de", "en")
    assert found.probability + sum(share for _, share in found.others) == pytest.approx(1)


def test_a_line_in_is_a_line_out(cli: Cli) -> None:
    result = cli("detect", stdin="Guten Morgen, liebe Leute\n\nGood morning, everybody\n")

    lines = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert (result.status, lines) == (0, ["de", "und", "en"])


def test_records_of_detect(cli: Cli) -> None:
    result = cli("detect", "--jsonl", "Guten Morgen, liebe Leute", "7")

    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["text"], first["language"], first["name"]) == (
        *("Guten Morgen, liebe Leute", "de", "German"),
    )
    assert 0.8 < first["probability"] <= 1
    assert (second["language"], second["name"], second["probability"]) == ("und", None, 0)


def test_detect_refuses_what_is_no_language(cli: Cli) -> None:
    assert cli("detect", "x", "--among", "xx-nonsense").status == 2
