"""What `--show-passages` shows: places, and the words that were looked for."""

from __future__ import annotations

import io

import pytest

from gptcli.documents.passages import Passage, Source
from gptcli.output.console import Output
from gptcli.output.passages import HIT, highlighted, show_passages
from gptcli.store.stems import stems
from gptcli.tasks.retrieval import matches

RESET = "\x1b[0m"
SOURCE = Source("docs/a.md", "# Cats\n\nCats slept.\x1b[2J\r\nThe dog barked.\n")


def found(question: str, text: str) -> list[str]:
    return [text[start:end] for start, end in matches(question, text, stems)]


@pytest.mark.parametrize(
    ("question", "text", "words"),
    [
        (
            "Where do cats sleep?",
            "The cat is sleeping; she sleeps. Where?",
            ["cat", "sleeping", "sleeps"],
        ),
        ("What is a committee?", "Committees, a COMMITTEE", ["Committees", "COMMITTEE"]),
        ("北京大学在哪里？", "他在北京的大学读书", ["北京", "大学"]),
        ("北京大学", "北京大学", ["北京大学"]),
        ("café", "the cafe, the ＣＡＦÉ", ["cafe", "ＣＡＦÉ"]),
        ("Nothing", "of this", []),
        ("?", "text", []),
    ],
)
def test_words_are_matched_as_the_index_finds_them(question: str, text: str, words: list[str]) -> None:
    assert found(question, text) == words


def shown(color: bool) -> str:
    stream = io.StringIO()
    output = Output(stdout=io.StringIO(), stderr=stream, color="always" if color else "never")
    passages = [Passage(SOURCE, 0, 36, 1, "Cats"), Passage(SOURCE, 27, 42, 4)]
    show_passages(output, passages, lambda text: matches("When do cats bark?", text, stems))
    return stream.getvalue()


def test_passages_are_shown_with_their_places() -> None:
    lines = shown(color=False).splitlines()

    assert lines[0] == "docs/a.md:1  Cats"
    assert "docs/a.md:4" in lines
    assert "   # Cats" in lines


def test_what_is_highlighted_is_what_matches() -> None:
    text = shown(color=True)

    assert f"# {HIT}Cats{RESET}" in text
    assert f"dog {HIT}barked{RESET}" in text


@pytest.mark.parametrize("color", [True, False])
def test_a_document_cannot_reach_the_terminal(color: bool) -> None:
    assert "\x1b[2J" not in shown(color)
    assert "␛[2J" in shown(color)


def test_a_highlight_ends_with_its_line() -> None:
    assert highlighted("a bc\nd e", [(2, 6)]) == f"a {HIT}bc{RESET}\n{HIT}d{RESET} e"
