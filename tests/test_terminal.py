"""`gptcli generate` in a real terminal: a pseudo-terminal, and its screen."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.screen import Screen

Script = Callable[..., str]
MARKDOWN = "# A title\n\nSome **bold** words.\n\n- one\n- two\n\n```python\nprint('hi')\n```\n\nThe end."

CHAT = {"chat_template": "x"}


@contextmanager
def terminal(
    *arguments: str, columns: int = 60, lines: int = 24, env: Mapping[str, str] | None = None
) -> Iterator[pexpect.spawn[bytes]]:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "gptcli", *arguments],
        dimensions=(lines, columns),
        env={**os.environ, **(env or {})},
        timeout=20,
    )
    try:
        yield child
    finally:
        child.close(force=True)


def run_to_end(child: pexpect.spawn[bytes], columns: int = 60, lines: int = 24) -> tuple[bytes, str]:
    """Return the bytes that came, and the whole text of a screen that was fed with them."""
    child.expect(pexpect.EOF)
    child.close()
    data: bytes = child.before
    screen = Screen(columns, lines)
    screen.feed(data)
    return data, screen.text


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_markdown_is_shown_as_such(script: Script, columns: int) -> None:
    spec = script({"text": MARKDOWN, "delay_s": 0.01}, model=CHAT)
    with terminal("generate", "-m", spec, "x", columns=columns) as child:
        data, text = run_to_end(child, columns)

    assert child.exitstatus == 0
    assert b"\x1b[" in data
    assert "A title" in text
    assert "#" not in text
    assert "**" not in text
    assert "```" not in text
    assert [text.count(part) for part in ("bold", "one", "two", "print('hi')", "The end.")] == [1] * 5


@pytest.mark.parametrize(
    ("model", "options"), [(None, []), (CHAT, ["--no-markdown"]), (CHAT, ["--raw"])]
)
def test_raw_text_from_base_models_and_on_request(
    script: Script, model: dict[str, str] | None, options: list[str]
) -> None:
    with terminal("generate", "-m", script(MARKDOWN, model=model), "x", *options) as child:
        data, _ = run_to_end(child)

    assert data.decode().replace("\r\n", "\n") == MARKDOWN + "\n"


def test_lines_stay_lines(script: Script) -> None:
    with terminal("generate", "-m", script("roses are red\nviolets are blue", model=CHAT), "x") as child:
        _, text = run_to_end(child)

    assert text.split("\n") == ["roses are red", "violets are blue"]


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_without_colour_there_is_none(script: Script, env: dict[str, str]) -> None:
    with terminal("generate", "-m", script(MARKDOWN, model=CHAT), "x", env=env) as child:
        data, text = run_to_end(child)

    assert b"m" not in {part[:4].lstrip(b"0123456789;")[:1] for part in data.split(b"\x1b[")[1:]}
    assert "A title" in text
    if env.get("TERM") == "dumb":
        assert b"\x1b" not in data


def test_nothing_taller_than_the_screen_is_lost(script: Script) -> None:
    lines = "\n\n".join(f"Paragraph {number}." for number in range(60))
    with terminal(
        "generate", "-m", script({"text": lines, "delay_s": 0.002}, model=CHAT), "x", lines=10
    ) as child:
        _, text = run_to_end(child, lines=10)

    assert [text.count(f"Paragraph {number}.") for number in range(60)] == [1] * 60


def test_ctrl_c_keeps_what_was_written(script: Script) -> None:
    spec = script({"text": "Some words. " * 500, "delay_s": 0.01})
    with terminal("generate", "-m", spec, "x") as child:
        child.expect_exact("words.")
        child.sendintr()
        _, text = run_to_end(child)

    assert (child.exitstatus, child.signalstatus) == (130, None)
    assert "Traceback" not in text


@pytest.mark.parametrize("model", [None, CHAT], ids=["base", "chat"])
def test_the_text_cannot_command_the_terminal(script: Script, model: dict[str, str] | None) -> None:
    with terminal(
        "generate", "-m", script("evil \x1b]0;title\x07 \x1b[2J text", model=model), "x"
    ) as child:
        data, _ = run_to_end(child)

    assert b"\x1b]0" not in data
    assert b"\x1b[2J" not in data
    assert b"\x07" not in data


def test_a_prompt_given_never_waits_for_the_terminal(script: Script) -> None:
    with terminal("generate", "-m", script("done"), "x") as child:
        _, text = run_to_end(child)

    assert text.strip() == "done"


def test_no_prompt_is_an_error_and_not_a_wait(script: Script) -> None:
    with terminal("generate", "-m", script("done")) as child:
        _, text = run_to_end(child)

    assert child.exitstatus == 2
    assert "there is nothing to go on from" in text


def test_thinking_is_shown_dim(script: Script) -> None:
    spec = script({"text": "Forty-two.", "thinking": "Let me think."})
    with terminal("generate", "-m", spec, "x") as child:
        data, text = run_to_end(child)

    assert b"\x1b[2m" in data
    assert text.index("Let me think.") < text.index("Forty-two.")


def test_logprobs_are_a_heat_map(script: Script) -> None:
    with terminal("generate", "-m", script("Hello world"), "x", "--logprobs", "1") as child:
        data, text = run_to_end(child)

    assert "Hello world" in text
    assert "probability" in text
    assert b";4" in data or b"[4" in data  # a background colour


def test_a_hangup_ends_it(script: Script, tmp_path: Path) -> None:
    spec = script({"text": "word " * 1000, "delay_s": 0.05})
    with terminal("generate", "-m", spec, "x") as child:
        child.expect_exact("word")
        child.kill(signal.SIGHUP)
        child.expect(pexpect.EOF)
        child.close()

    assert child.signalstatus == signal.SIGHUP
