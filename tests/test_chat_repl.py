"""The line of the chat: each key, pastes, history, on a pipe instead of a terminal."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from gptcli.chat.repl import LARGE_PASTE, PromptReader
from gptcli.errors import MemoryFitError
from tests.chat_dialog import Chat

ENTER, ESCAPE = "\r", "\x1b"
CTRL_C, CTRL_D, CTRL_G, CTRL_J, CTRL_O, CTRL_R = "\x03", "\x04", "\x07", "\n", "\x0f", "\x12"
UP, TAB = "\x1b[A", "\t"


def paste(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


class Keyboard:
    """A reader, and what is typed on it."""

    def __init__(self, chat: Chat, pipe: PipeInput, history: Path | None) -> None:
        self.chat = chat
        self._pipe = pipe
        self._history = history
        self.reader = self.new_reader()

    def new_reader(self, **more: Any) -> PromptReader:
        self.reader = PromptReader(
            self.chat.dialog, history=self._history, input=self._pipe, output=DummyOutput(), **more
        )
        return self.reader

    def type(self, keys: str, prefill: str = "") -> str:
        sender = threading.Thread(target=self._pipe.send_text, args=(keys,))  # a pipe holds 64 KiB
        sender.start()
        try:
            return self.reader.read(prefill)
        finally:
            sender.join()


@pytest.fixture
def keyboard(tmp_path: Path) -> Iterator[Keyboard]:
    with create_pipe_input() as pipe:
        yield Keyboard(Chat(tmp_path, is_kept=False), pipe, tmp_path / "state" / "history")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("hello" + ENTER, "hello"),
        ("one\\" + ENTER + "two" + ENTER, "one\ntwo"),
        ("path\\\\" + ENTER, "path\\\\"),
        ("one" + CTRL_J + "two" + ENTER, "one\ntwo"),
        ("one" + ESCAPE + ENTER + "two" + ENTER, "one\ntwo"),
        ('"""one' + ENTER + ENTER + 'two"""' + ENTER, '"""one\n\ntwo"""'),
        ('"""one\\' + ENTER + 'two"""' + ENTER, '"""one\\\ntwo"""'),
        ("  indented" + CTRL_J + "two" + ENTER, "  indented\ntwo"),
        (paste("one\ntwo\n") + "three" + ENTER, "one\ntwo\nthree"),
        (paste("one\r\ntwo\rthree") + ENTER, "one\ntwo\nthree"),
        (paste("a\x1b[31mb\x00\x07\x03\x04c\x9b\x7f") + ENTER, "a[31mbc"),
        (paste('x = """\n') + "y" + ENTER, 'x = """\ny'),
        ("wrong" + CTRL_C + "right" + ENTER, "right"),
        ("日本語 héé 👍" + ENTER, "日本語 héé 👍"),
        ("abc\x01X\x05Y" + ENTER, "XabcY"),
        ("one two\x17three" + ENTER, "one three"),
        ("/unk" + TAB + ENTER, "/unk"),
    ],
)
def test_keys(keyboard: Keyboard, keys: str, text: str) -> None:
    assert keyboard.type(keys) == text


def test_a_paste_never_submits(keyboard: Keyboard) -> None:
    assert keyboard.type(paste("rm -rf /\n" * 3) + "# no" + ENTER) == "rm -rf /\n" * 3 + "# no"


def test_a_megabyte_is_shown_as_a_mark_and_arrives_whole(keyboard: Keyboard) -> None:
    text = "".join(f"line {n}\n" for n in range(100_000))
    shown: list[str] = []
    keyboard.reader._session.default_buffer.on_text_changed += lambda buffer: shown.append(buffer.text)
    started = time.monotonic()

    assert keyboard.type("before " + paste(text) + " after" + ENTER) == f"before {text} after"
    assert max(map(len, shown)) < 100
    assert time.monotonic() - started < 20


def test_ctrl_c_and_ctrl_d_on_an_empty_line(keyboard: Keyboard) -> None:
    with pytest.raises(KeyboardInterrupt):
        keyboard.type(CTRL_C)
    with pytest.raises(EOFError):
        keyboard.type(CTRL_D)
    assert keyboard.type("ab\x01" + CTRL_D + ENTER) == "b"


def test_a_line_to_edit(keyboard: Keyboard) -> None:
    assert keyboard.type("!" + ENTER, prefill="hello") == "hello!"


def test_history_outlives_the_process_and_is_private(keyboard: Keyboard, tmp_path: Path) -> None:
    keyboard.type("the first\\" + ENTER + "question" + ENTER)
    keyboard.type("the second" + ENTER)
    keyboard.new_reader()

    assert keyboard.type(UP + UP + ENTER) == "the first\nquestion"
    assert keyboard.type(CTRL_R + "sec" + ENTER + ENTER) == "the second"
    path = tmp_path / "state" / "history"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_history_that_was_open_to_others_is_closed(keyboard: Keyboard, tmp_path: Path) -> None:
    path = tmp_path / "state" / "history"
    path.chmod(0o644)
    keyboard.new_reader()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_place_for_history_there_is_one_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with create_pipe_input() as pipe:
        for history in (None, tmp_path / "file" / "history"):
            keyboard = Keyboard(Chat(tmp_path, is_kept=False), pipe, history)
            keyboard.type("earlier" + ENTER)
            assert keyboard.type(UP + ENTER) == "earlier"


def test_what_is_pasted_is_not_kept_whole_in_the_history(keyboard: Keyboard, tmp_path: Path) -> None:
    keyboard.type(paste("x" * (LARGE_PASTE + 1)) + ENTER)

    assert (tmp_path / "state" / "history").stat().st_size < 500


def test_the_editor(keyboard: Keyboard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "edited: $(cat "$1")" > "$1"\n', encoding="utf-8")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    monkeypatch.delenv("VISUAL", raising=False)

    def accept_when_edited(buffer: Any) -> None:
        if buffer.text.startswith("edited"):
            keyboard._pipe.send_text(ENTER)

    keyboard.reader._session.default_buffer.on_text_changed += accept_when_edited
    assert keyboard.type("draft" + CTRL_G) == "edited: draft"


def test_vi_keys(keyboard: Keyboard) -> None:
    keyboard.new_reader(vi=True)
    assert keyboard.reader.is_vi
    assert keyboard.type("one two" + ESCAPE + "0dw" + ENTER) == "two"
    keyboard.chat.dialog.reader = keyboard.reader
    keyboard.chat.dialog.take("/set vi off")
    assert not keyboard.reader.is_vi


def test_ctrl_o_folds_what_the_model_thinks(keyboard: Keyboard) -> None:
    keyboard.type(CTRL_O + "x" + ENTER)

    assert keyboard.chat.dialog.view.thinking == "fold"


def test_tab_completes(keyboard: Keyboard) -> None:
    def accept(buffer: Any) -> None:
        if buffer.text == "/undo":
            keyboard._pipe.send_text(ENTER)

    keyboard.reader._session.default_buffer.on_text_changed += accept
    assert keyboard.type("/und" + TAB) == "/undo"


def test_the_model_loads_once_the_line_is_there(keyboard: Keyboard) -> None:
    assert keyboard.chat.session.loaded_model is None

    keyboard.type("hello" + ENTER)

    assert keyboard.chat.session.model.name == "scripted"


def test_a_model_that_does_not_load_ends_the_chat(tmp_path: Path) -> None:
    chat = Chat(tmp_path, is_kept=False)

    def open_engine() -> Any:
        raise MemoryFitError("does not fit")

    chat.session._loading._open = open_engine
    with create_pipe_input() as pipe:
        reader = PromptReader(chat.dialog, history=None, input=pipe, output=DummyOutput())
        pipe.send_text("typed meanwhile")
        with pytest.raises(MemoryFitError):
            chat.dialog.run(reader)
