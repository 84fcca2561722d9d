"""Questions in another language than the texts they are asked of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gptcli.documents.passages import Source
from gptcli.engine.api import Generate
from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.tasks.question_language import in_language_of, other_language
from tests.conftest import Cli

ENGLISH = "The bridge over the river was designed by the engineer Ada Quill and opened in 1932. "
GERMAN = "Die Brücke über den Fluss wurde von der Ingenieurin Ada Quill entworfen und 1932 eröffnet. "
CHINESE = "这座桥由工程师陈安达设计，于一九三二年通车，每天有三万辆汽车经过。"


def source(text: str) -> list[Source]:
    return [Source("a.txt", text)]


@pytest.mark.parametrize(
    ("question", "text", "languages"),
    [
        ("Who designed the bridge over the river?", CHINESE, ("en", "zh")),
        ("谁设计了这座桥？", ENGLISH, ("zh", "en")),
        ("Wer hat die Brücke über den Fluss entworfen?", ENGLISH, ("de", "en")),
        ("Who designed the bridge over the river?", GERMAN, ("en", "de")),
    ],
)
def test_languages_that_differ(question: str, text: str, languages: tuple[str, str]) -> None:
    found = other_language(question, source(text))

    assert found is not None
    assert tuple(each.primary for each in found) == languages


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Who designed the bridge?", ENGLISH),
        ("Ada Quill?", GERMAN),  # a name is in no language
        ("1932?", CHINESE),
        ("When?", ""),
        ('What is "die Brücke" in English?', GERMAN + ENGLISH),
        ("Who designed the bridge over the river?", "def f(x): return x + 1\n" * 3),
    ],
)
def test_what_is_not_clear_is_left_alone(question: str, text: str) -> None:
    assert other_language(question, source(text)) is None


def test_a_question_is_asked_in_the_language_of_the_text() -> None:
    engine = ScriptedEngine([Reply(text="Who designed the bridge?")])

    asked = in_language_of(engine, "谁设计了这座桥？", source(ENGLISH))

    assert asked == "Who designed the bridge?"
    (request,) = engine.requests
    assert isinstance(request, Generate)
    assert "谁设计了这座桥" in str(request.prompt)


def test_a_translation_with_a_fault_is_not_asked() -> None:
    engine = ScriptedEngine([Reply(text="谁设计了这座桥？")] * 50)

    assert in_language_of(engine, "谁设计了这座桥？", source(ENGLISH)) == "谁设计了这座桥？"


def test_no_model_is_asked_where_the_languages_are_the_same() -> None:
    engine = ScriptedEngine()

    assert in_language_of(engine, "Who designed the bridge?", source(ENGLISH)) == (
        "Who designed the bridge?"
    )
    assert engine.requests == []


def test_passages_are_found_in_another_language(
    cli: Cli, script: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(30):
        (folder / f"{n}.txt").write_text(f"Report {n}. " + "It rained a lot that year. " * 60)
    (folder / "bridge.txt").write_text(ENGLISH)
    model = script("Who designed the bridge?")

    done = cli(
        "ask", "谁设计了这座桥？", "-f", "docs", "-m", model, "--min-confidence", "0", "--show-passages"
    )

    assert done.status == 0
    assert "the question, as it is asked of the text: Who designed the bridge?" in done.stderr
    assert "bridge.txt" in done.stderr
