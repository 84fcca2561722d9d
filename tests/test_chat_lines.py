"""What a user types: several lines, commands, literal slashes, and what no message may contain."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptcli.chat.lines import Command, clean, needs_more, parse
from gptcli.chat.plain import PlainReader


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello", "hello"),
        ("  hello \n", "hello"),
        ("", ""),
        ("//usr is a directory", "/usr is a directory"),
        ('"""one\ntwo"""', "one\ntwo"),
        ('"""\n/exit\n"""', "/exit"),
        ('"""/help"""', "/help"),
        ('""""""', ""),
        ("/help", Command("help", "")),
        ("/set  top_k 3", Command("set", "top_k 3")),
        ("/system Be brief.\nBe kind.", Command("system", "Be brief.\nBe kind.")),
        ("/system\nBe brief and kind.", Command("system", "Be brief and kind.")),
        ("exit", Command("exit", "")),
        ("Quit", Command("exit", "")),
        ("exit now", "exit now"),
    ],
)
def test_messages_and_commands(text: str, expected: str | Command) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("hello", False),
        ("hello\\", True),
        ("hello\\\\", False),
        ('"""', True),
        ('"""hello', True),
        ('"""hello\n"""', False),
        ('"""hello"""', False),
        ('say """', False),
        ('"""a\\\n', True),
        ('"""a\\"""', False),
    ],
)
def test_when_another_line_follows(text: str, more: bool) -> None:
    assert needs_more(text) is more


@given(st.text())
def test_nothing_that_commands_a_terminal_gets_into_a_message(text: str) -> None:
    cleaned = clean(text + "\x1b[31m\x00\x9b\x7f\ud800")

    assert {char for char in cleaned if unicodedata.category(char) in ("Cc", "Cs")} <= {"\n", "\t"}
    assert clean(cleaned) == cleaned
    assert cleaned.encode()


@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs"))))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_a_plain_terminal_reads_several_lines() -> None:
    prompts = io.StringIO()
    reader = PlainReader(prompts, io.StringIO('one\\\ntwo\n"""\nthree\n"""\n'))

    assert [reader.read(), reader.read()] == ["one\ntwo", '"""\nthree\n"""']
    assert prompts.getvalue() == ">>> ... >>> ... ... "
    with pytest.raises(EOFError):
        reader.read()
