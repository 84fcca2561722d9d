"""`gptcli eval translate`: translations against references."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import sacrebleu

from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import GptcliError
from gptcli.languages import find_language
from gptcli.tasks.translate import TranslateTask
from gptcli.tasks.translation_metrics import Pair, corpus_bleu, evaluate_translations
from tests.conftest import Cli

EN, FR, ZH = map(find_language, ("en", "fr", "zh"))
CAT, DOG = "The cat sleeps in the garden.", "The dog sleeps in the house."
CHAT, CHIEN = "Le chat dort dans le jardin.", "Le chien dort dans la maison."


def test_figures_of_each_direction() -> None:
    replies = [CHAT, "la la la la la la la la la la"]
    engine = ScriptedEngine([Reply(text=each) for each in replies], default=Reply(text=replies[-1]))
    pairs = [
        Pair(text=CAT, reference=CHAT, source=EN, target=FR),
        Pair(text=CHIEN, reference=DOG, source=FR, target=EN),
    ]
    done: list[int] = []

    found = evaluate_translations(engine, TranslateTask(), pairs, done.append)

    first, second = found.details["directions"]
    assert (first["source_lang"], first["target_lang"]) == ("en", "fr")
    assert (first["chrf"], first["bleu"], first["kept"]) == (100, 100, 0)
    assert (second["kept"], second["loops"], second["wrong_language"]) == (1, 0, 0)
    assert second["chrf"] < 40
    assert found.figures["bleu"] == pytest.approx((100 + second["bleu"]) / 2, abs=0.01)
    assert (found.records, found.failed, done) == (2, 0, [1, 2])


def test_a_text_that_fails_is_an_empty_translation() -> None:
    engine = ScriptedEngine([Reply(error=GptcliError("tired"))])

    found = evaluate_translations(
        engine, TranslateTask(), [Pair(text=CAT, reference=CHAT, source=EN, target=FR)]
    )

    assert (found.failed, found.figures["chrf"]) == (1, 0)


def test_bleu_is_that_of_sacrebleu_in_words_or_characters() -> None:
    assert corpus_bleu([CHAT], [CHIEN], FR) == sacrebleu.corpus_bleu([CHAT], [[CHIEN]]).score
    assert corpus_bleu(["猫睡觉了。"], ["猫在睡觉。"], ZH) > 0
    assert corpus_bleu(["แมวนอนหลับ"], ["แมวกำลังนอนหลับ"], find_language("th")) > 0


Script = Callable[..., str]


@pytest.fixture
def cli(quick_cli: Cli) -> Cli:
    return quick_cli


def test_models_side_by_side(cli: Cli, script: Script, tmp_path: Path) -> None:
    lines = [
        {"source": CAT, "reference": CHAT, "src_lang": "en", "tgt_lang": "fr"},
        {"source": "", "reference": CHAT, "src_lang": "en", "tgt_lang": "fr"},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    spec = script(CHAT)
    arguments = ("eval", "translate", "d.jsonl", "-m", spec, "-m", spec)

    result = cli(*arguments, "--json")

    first, second = result.json["runs"]
    assert (first["chrf"], first["bleu"], first["records"], first["form"]) == (
        100,
        100,
        1,
        "as it comes",
    )
    assert first["records_per_s"] > 0
    assert second["directions"] == first["directions"]
    assert "1 record without a text or a reference: left out" in result.stderr
    table = cli(*arguments).stdout
    assert table.count("en-fr") == 2
    assert "chrf" in table


def test_columns_and_languages_can_be_said(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(f"a,b\n{CAT},{CHAT}\n")
    arguments = ("eval", "translate", "d.csv", "--text", "a", "--label", "b", "-m", script(CHAT))

    assert cli(*arguments, "--to", "French", "--json").json["runs"][0]["chrf"] == 100
    forms = [run["form"] for run in cli(*arguments, "--to", "fr", "--best", "2", "--json").json["runs"]]
    assert forms == ["as it comes", "best of 2"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["--to", "fr"], 'no field "text"', "--text COL"),
        (["--to", "fr", "--text", "a"], 'no field "label"', "--label COL"),
        (["--text", "a", "--label", "b"], "which language are the references in?", "--to LANG"),
        (["--text", "a", "--label", "b", "--to", "xx"], '"xx" is no language', "a BCP 47 tag"),
    ],
)
def test_what_is_refused(
    cli: Cli, tmp_path: Path, arguments: list[str], message: str, hint: str
) -> None:
    (tmp_path / "d.csv").write_text(f"a,b\n{CAT},{CHAT}\n")

    result = cli("eval", "translate", "d.csv", "-m", "no-such-model", *arguments)

    assert (result.status, result.stdout) == (2, "")
    assert message in result.stderr
    assert hint in result.stderr
