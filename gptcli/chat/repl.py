"""The line that a user types on: prompt_toolkit, its keys, its history. Imported only on a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output import Output as TerminalOutput
from prompt_toolkit.shortcuts import CompleteStyle
from prompt_toolkit.styles import Style

from gptcli.chat.completion import offers
from gptcli.chat.dialog import HISTORY_ENTRY, Dialog, meter_text
from gptcli.chat.lines import clean, ends_with_backslash, needs_more
from gptcli.chat.plain import CONTINUATION, PROMPT
from gptcli.errors import GptcliError

if TYPE_CHECKING:
    from prompt_toolkit.buffer import Buffer

PLACEHOLDER = "Send a message (/? for help)"
LARGE_PASTE = 10_000  # characters; more are shown as a mark, since redrawing them is slow
MENU_LINES = 6
STYLE = Style.from_dict(
    {"prompt": "bold", "more": "ansibrightblack", "placeholder": "ansibrightblack"}
    | {"rprompt": "ansibrightblack"}
)


class PromptReader:
    """Reads messages with all keys. `history`: the file of earlier ones, None: they are forgotten."""

    def __init__(
        self,
        dialog: Dialog,
        *,
        history: Path | None,
        vi: bool = False,
        color: bool = True,
        input: Input | None = None,
        output: TerminalOutput | None = None,
    ) -> None:
        self._dialog = dialog
        self._pasted: dict[str, str] = {}  # by the mark that stands for it
        self._session: PromptSession[str] = PromptSession(
            message=FormattedText([("class:prompt", PROMPT)]),
            prompt_continuation=_continuation,
            placeholder=FormattedText([("class:placeholder", PLACEHOLDER)]),
            rprompt=self._meter,
            multiline=True,
            history=_history(history),
            completer=_OfferCompleter(dialog),
            complete_while_typing=False,
            complete_in_thread=True,
            complete_style=CompleteStyle.COLUMN,
            reserve_space_for_menu=MENU_LINES,
            enable_suspend=True,
            enable_open_in_editor=False,  # its keys are Ctrl-X Ctrl-E; ours is Ctrl+G
            key_bindings=self._keys(),
            style=STYLE,
            color_depth=None if color else ColorDepth.DEPTH_1_BIT,
            editing_mode=EditingMode.VI if vi else EditingMode.EMACS,
            tempfile_suffix=".md",
            input=input,
            output=output,
        )
        # The line is there first; then there is time to load a model.
        self._session.app.after_render += lambda _: dialog.session.begin_loading()

    def read(self, prefill: str = "") -> str:
        """Return the next message. Raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C on no text."""
        text = self._session.prompt(default=prefill)
        for mark, pasted in self._pasted.items():
            text = text.replace(mark, pasted)
        self._pasted.clear()
        return text

    @property
    def is_vi(self) -> bool:
        return self._session.editing_mode == EditingMode.VI

    def set_vi(self, wanted: bool) -> None:
        self._session.editing_mode = EditingMode.VI if wanted else EditingMode.EMACS

    def refresh(self) -> None:
        """Draw the meter anew; from any thread."""
        self._session.app.invalidate()

    def fail(self, error: GptcliError) -> None:
        """Let `read` raise an error; from any thread."""
        app = self._session.app
        if app.loop is not None:
            app.loop.call_soon_threadsafe(lambda: app.exit(exception=error) if app.is_running else None)

    def _meter(self) -> FormattedText:
        # What stays in the scrollback is what was typed, nothing else.
        text = "" if get_app().is_done else meter_text(self._dialog.session)
        return FormattedText([("class:rprompt", text)])

    # ------------------------------------------------------------------------------------------ keys

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        has_text = Condition(lambda: bool(get_app().current_buffer.text))
        typing = ~is_searching

        @keys.add("enter", filter=typing)
        def _enter(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.complete_state is not None and buffer.complete_state.current_completion:
                buffer.complete_state = None
                return
            at_end = not buffer.document.text_after_cursor.strip()
            if at_end and needs_more(buffer.text):
                if ends_with_backslash(buffer.text):
                    buffer.cursor_position = len(buffer.text)
                    buffer.delete_before_cursor()
                buffer.newline(copy_margin=False)
            else:
                buffer.validate_and_handle()

        @keys.add("c-j", filter=typing)
        @keys.add("escape", "enter", filter=typing)
        def _newline(event: KeyPressEvent) -> None:
            event.current_buffer.newline(copy_margin=False)

        @keys.add("c-c", filter=typing & has_text)
        def _clear(event: KeyPressEvent) -> None:
            event.current_buffer.reset()
            self._dialog.editing = None

        @keys.add("c-g", filter=typing)
        def _editor(event: KeyPressEvent) -> None:
            event.current_buffer.open_in_editor()

        @keys.add("c-o", filter=typing)
        def _fold(_event: KeyPressEvent) -> None:
            view = self._dialog.view
            view.thinking = "show" if view.thinking == "fold" else "fold"
            run_in_terminal(lambda: self._dialog.output.status(f"thinking = {view.thinking}"))

        @keys.add(Keys.BracketedPaste)
        def _paste(event: KeyPressEvent) -> None:
            self._insert_pasted(event.current_buffer, clean(event.data))

        return keys

    def _insert_pasted(self, buffer: Buffer, text: str) -> None:
        if len(text) > LARGE_PASTE:
            mark = f"[pasted text {len(self._pasted) + 1}: {len(text):,} characters]"
            self._pasted[mark] = text
            text = mark
        buffer.insert_text(text)


def _continuation(width: int, _line: int, wrapped: int) -> FormattedText:
    """Return what stands before another line; before the rest of a wrapped one, blanks."""
    return FormattedText([("class:more", " " * width if wrapped else CONTINUATION)])


class _OfferCompleter(Completer):
    def __init__(self, dialog: Dialog) -> None:
        self._dialog = dialog

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        for offer in offers(self._dialog, document.text_before_cursor):
            yield Completion(
                offer.text, start_position=-offer.length, display_meta=offer.meaning or None
            )


# --------------------------------------------------------------------------------------------- history


class _PrivateHistory(FileHistory):
    """A file that only its owner reads. Without a disk to write to, lines are kept in memory."""

    def store_string(self, string: str) -> None:
        if len(string) <= HISTORY_ENTRY:
            with suppress(OSError):
                super().store_string(string)


def _history(path: Path | None) -> History:
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return _PrivateHistory(str(path))


# -------------------------------------------------------------------------------------------- terminal


@contextmanager
def quiet_terminal(fd: int) -> Iterator[None]:
    """Keep what is typed while an answer is written for the next line, instead of showing it there.

    Ctrl-C stays a signal. Enter stays Enter, which a cooked terminal would turn into Ctrl+J.
    """
    try:
        import termios

        before: list[Any] = termios.tcgetattr(fd)
    except (ImportError, OSError, termios.error):
        yield
        return
    quiet = [*before[:6], list(before[6])]
    quiet[0] &= ~termios.ICRNL
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    quiet[3] |= termios.NOFLSH  # Ctrl-C stops the answer, and leaves what is typed for the next one
    quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
