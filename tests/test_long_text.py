"""`gptcli generate --words N` and `--template` through the command."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, Cli

Script = Callable[..., str]
WORDS = [
    *("harbour", "lamp", "window", "storm", "keeper", "letter", "boat"),
    *("stone", "river", "garden", "cloud", "clock", "road", "field"),
]


def prose(seed: int, sentences: int) -> str:
    """Return sentences that do not repeat each other."""
    chosen = random.Random(seed)
    lines = [
        " ".join(chosen.choices(WORDS, k=chosen.randint(6, 14))).capitalize() for _ in range(sentences)
    ]
    return ". ".join(lines) + "."


@pytest.fixture
def long_script(script: Script) -> str:
    """A base model that writes on and on, something new each time."""
    replies = [prose(seed, 12) for seed in range(300)]
    return script(*replies, model={"context_limit": 4096, "context_length": 4096})


@pytest.mark.parametrize("words", [60, 400, 1500])
def test_the_length_is_kept(cli: Cli, long_script: str, words: int) -> None:
    result = cli(
        "generate", "-m", long_script, "A story about the sea.", "--words", str(words), "--seed", "1"
    )

    assert result.status == 0
    assert abs(len(result.stdout.split()) - words) <= 0.15 * words
    assert result.stdout.endswith(".\n")


def test_json_has_sections(cli: Cli, long_script: str) -> None:
    answer = cli("generate", "-m", long_script, "The sea", "--words", "300", "--json").json

    assert set(answer) == (
        {"text", "model", "words", "sections", "finish_reason", "seed", "usage", "timings", "warnings"}
    )
    assert abs(answer["words"] - 300) <= 45
    assert all(set(section) == {"heading", "text"} for section in answer["sections"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--words", "10"], "--words must be between 50 and 50,000, not 10"),
        (["--words", "100", "-n", "5"], "--words and --max-tokens exclude each other"),
        (["--words", "100", "--num", "2"], "--words and --num exclude each other"),
        (["--words", "100", "--choices", "a,b"], "--words and --choices exclude each other"),
    ],
)
def test_what_contradicts_a_length(
    cli: Cli, long_script: str, arguments: list[str], message: str
) -> None:
    result = cli("generate", "-m", long_script, "x", *arguments)

    assert result.status == 2
    assert result.stderr.splitlines()[0] == f"gptcli: {message}"


def test_ctrl_c_keeps_the_sentences_written(script: Script) -> None:
    replies = [{"text": prose(seed, 12), "delay_s": 0.005} for seed in range(200)]
    spec = script(*replies)
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", spec, "x", "--words", "5000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.read(20)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=10)

    assert process.returncode == 130
    assert (first + rest).endswith(b"\n")
    assert b"Traceback" not in errors


def test_templates_are_listed(cli: Cli) -> None:
    names = {template["name"] for template in cli("generate", "--template", "list", "--json").json}

    assert {"news", "blog", "story"} <= names
    assert "story" in cli("generate", "--template", "list").stdout


def test_a_template_has_a_form_for_base_and_one_for_chat_models(cli: Cli, script: Script) -> None:
    command = ("generate", "--template", "news", "-p", "topic=a {new} bridge", "--dry-run")
    base = cli(*command, "-m", script("x", model={"context_limit": 4096}))
    chat = cli(*command, "-m", script("x", model={"context_limit": 4096, "chat_template": "x"}))

    assert base.stdout.rstrip().endswith("Article:")
    assert "user: " in chat.stdout
    assert "a {new} bridge" in base.stdout
    assert "a {new} bridge" in chat.stdout


def test_a_missing_parameter_is_named(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("x"), "--template", "news")

    assert result.status == 2
    assert 'template "news" needs topic' in result.stderr


def test_an_unknown_template_gets_the_nearest(cli: Cli) -> None:
    result = cli("generate", "--template", "stroy")

    assert result.status == 2
    assert "story" in result.stderr


def test_piped_text_is_the_material_of_a_template(cli: Cli, script: Script) -> None:
    spec = script("x", model={"context_limit": 4096, "chat_template": "x"})
    command = ("generate", "-m", spec, "--template", "summary", "--dry-run")

    assert "The cow is brown." in cli(*command, stdin="The cow is brown.").stdout
    missing = cli(*command)
    assert missing.status == 2
    assert "needs text" in missing.stderr


def test_a_users_template_overrides(cli: Cli, script: Script, home: Path) -> None:
    templates = home / "config" / "templates"
    templates.mkdir(parents=True)
    (templates / "news.toml").write_text(
        'description = "mine"\nbase = "MINE {topic}"\n[params]\ntopic = "what"\n', encoding="utf-8"
    )

    result = cli("generate", "-m", script("x"), "--template", "news", "-p", "topic=fish", "--dry-run")

    assert result.stdout == "MINE fish\n"


@pytest.mark.weights
def test_the_starter_model_writes_at_length(cli: Cli, starter_model: Path) -> None:
    command = ("generate", "-m", str(starter_model), "--template", "story", "-p", "topic=a lost key")

    answer = cli(*command, "--words", "150", "--seed", "2", "--json").json

    assert abs(answer["words"] - 150) <= 23
    assert answer["text"].rstrip()[-1] in ".!?\"”'’"
