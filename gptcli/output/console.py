"""Where output goes: results to stdout, everything else to stderr, plain unless it is a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, TextIO

from gptcli.errors import GptcliError

if TYPE_CHECKING:
    from rich.console import Console

ColorMode = Literal["auto", "always", "never"]

DIM, RED, YELLOW, RESET = "\x1b[2m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
FALLBACK_SIZE = (80, 24)

# Models and documents are not trusted: a terminal obeys C0 and C1 controls, a reader should see them.
_VISIBLE_CONTROLS = {
    **{code: 0x2400 + code for code in range(0x20)},  # ␀ … ␟
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    ord("\n"): "\n",
    ord("\t"): "\t",
    ord("\r"): None,
}


def visible(text: str) -> str:
    """Return text a terminal can be given: control characters but newline and tab are made visible."""
    return text.translate(_VISIBLE_CONTROLS)


class LiveDisplay(Protocol):
    """Something that is redrawn at the bottom of the terminal, and makes room for other output."""

    def hide(self) -> None: ...

    def show(self) -> None: ...


class Output:
    """The two streams of the process, and what may be sent to each: decided here, once.

    No escape sequence reaches a stream that is not a terminal, except colours with `color="always"`.
    A BrokenPipeError is left to the caller.
    """

    def __init__(
        self,
        *,
        color: ColorMode = "auto",
        quiet: bool = False,
        verbose: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
        self._environ = os.environ if environ is None else environ
        self.quiet = quiet
        self.verbose = verbose
        self.stdout_is_tty = _is_tty(self.stdout)
        self.stderr_is_tty = _is_tty(self.stderr)
        self.can_move_cursor = self._environ.get("TERM", "") not in ("dumb", "unknown")
        self.stdout_color = self._has_color(color, self.stdout_is_tty)
        self.stderr_color = self._has_color(color, self.stderr_is_tty)
        self.live: LiveDisplay | None = None
        self._stdout_mid_line = False
        self._stderr_mid_line = False

    def _has_color(self, color: ColorMode, is_tty: bool) -> bool:
        if color == "auto":
            return is_tty and self.can_move_cursor and not self._environ.get("NO_COLOR")
        return color == "always"

    # ------------------------------------------------------------------------------------- result

    def write(self, text: str) -> None:
        """Write the next piece of a result, at once. A pipe gets it untouched."""
        self.write_styled(visible(text) if self.stdout_is_tty else text)

    def write_styled(self, text: str) -> None:
        """Write text that carries our own escape sequences, so the caller answers for its content."""
        if not text:
            return
        with self._room():
            self._end_thinking()
            self._write_stdout(text)

    def write_frame(self, text: str) -> None:
        """Write a redraw, for the live display alone: it needs no room to be made. Ends at column 0."""
        self._end_thinking()
        _write(self.stdout, text)
        self._stdout_mid_line = False

    def write_bytes(self, data: bytes, encoding: str) -> None:
        """Write a result that may be no UTF-8 text. A pipe gets it byte for byte."""
        binary = None if self.stdout_is_tty else getattr(self.stdout, "buffer", None)
        if binary is None:
            self.write(data.decode(encoding, "replace"))
            return
        with self._room():
            self._end_thinking()
            self.stdout.flush()
            binary.write(data)
            binary.flush()
            self._stdout_mid_line = bool(data) and not data.endswith(b"\n")

    def finish_text(self) -> None:
        """End the text that was written with a newline, if it did not end with one."""
        self._end_thinking()
        if self._stdout_mid_line:
            self.write_styled("\n")

    def json(self, value: object) -> None:
        """Write one line of JSON."""
        self.write_styled(_json_line(value, self.stdout) + "\n")

    # ------------------------------------------------------------------------------------ messages

    def status(self, text: str) -> None:
        """Say what is going on."""
        if not self.quiet:
            self._message(text)

    def status_styled(self, text: str) -> None:
        """Say what carries our own escape sequences, so the caller answers for its content."""
        if not self.quiet:
            self._message(text, is_safe=True)

    def warning(self, text: str) -> None:
        if not self.quiet:
            self._message(f"gptcli: warning: {text}", YELLOW)

    def note(self, text: str) -> None:
        """Say what only --verbose asks for, such as timings."""
        if self.verbose:
            self._message(text)

    def thinking(self, text: str) -> None:
        """Write the next piece of the model's reasoning."""
        if not text:
            return
        with self._room():
            self._leave_result_line()
            shown = visible(text) if self.stderr_is_tty else text
            _write(self.stderr, f"{DIM}{shown}{RESET}" if self.stderr_color else shown)
            self._stderr_mid_line = not text.endswith("\n")

    def error(self, error: GptcliError, as_json: bool = False) -> None:
        """Report an error: what is wrong, and what to type next."""
        if as_json:
            members = {"code": error.code, "message": error.message, "hint": error.hint}
            self._message(_json_line({"error": members | error.details}, self.stderr))
        else:
            self._message(f"gptcli: {error.message}", RED)
            if error.hint is not None:
                self._message(f"  try: {error.hint}")

    # ------------------------------------------------------------------------------------ terminal

    @property
    def width(self) -> int:
        """Columns of the terminal, as it is now."""
        return self.terminal_size()[0]

    @property
    def reflows(self) -> bool:
        """Whether the terminal wraps lines anew when its width changes. Most do."""
        return not (
            "XTERM_VERSION" in self._environ
            or "STY" in self._environ  # GNU screen
            or self._environ.get("TERM") == "linux"
        )

    def terminal_size(self) -> tuple[int, int]:
        """Return columns and lines as of now: COLUMNS and LINES, else the terminal's own, else 80x24."""
        columns, lines = _number(self._environ.get("COLUMNS")), _number(self._environ.get("LINES"))
        for stream in (self.stdout, self.stderr):
            if columns and lines:
                break
            try:
                size = os.get_terminal_size(stream.fileno())
            except (OSError, ValueError):
                continue
            columns, lines = columns or size.columns, lines or size.lines
        return columns or FALLBACK_SIZE[0], lines or FALLBACK_SIZE[1]

    def rich_console(self, file: TextIO, *, color: bool) -> Console:
        """Return a rich console for text of our terminal's size and colours."""
        from rich.console import Console

        columns, lines = self.terminal_size()
        return Console(
            file=file,
            width=columns,
            height=lines,
            force_terminal=True,
            color_system=self._color_system() if color else None,
            no_color=False,
            legacy_windows=False,
            markup=False,
            highlight=False,
            emoji=False,
        )

    def _color_system(self) -> Literal["truecolor", "256", "standard"]:
        if self._environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
            return "truecolor"
        return "256" if "256" in self._environ.get("TERM", "") else "standard"

    # ------------------------------------------------------------------------------------- streams

    def _message(self, text: str, color: str = "", *, is_safe: bool = False) -> None:
        with self._room():
            self._leave_result_line()
            self._end_thinking()
            if self.stderr_is_tty and not is_safe:
                text = visible(text)
            if color and self.stderr_color:
                text = f"{color}{text}{RESET}"
            _write(self.stderr, text + "\n")

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Take the live display off the terminal while something else is written to it."""
        live = self.live
        if live is None:
            yield
            return
        live.hide()
        try:
            yield
        finally:
            if not (self._stdout_mid_line or self._stderr_mid_line):
                live.show()

    def _end_thinking(self) -> None:
        if self._stderr_mid_line:
            self._stderr_mid_line = False
            _write(self.stderr, "\n")

    def _leave_result_line(self) -> None:
        """Begin a message on its own line where both streams show on one terminal."""
        if self._stdout_mid_line and self.stdout_is_tty and self.stderr_is_tty:
            self._write_stdout("\n")

    def _write_stdout(self, text: str) -> None:
        _write(self.stdout, text)
        self._stdout_mid_line = not text.endswith("\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, errors="replace").decode(encoding))
    stream.flush()


def _json_line(value: object, stream: TextIO) -> str:
    """Return JSON the stream can encode. DEL and C1 controls are escaped too, for terminals."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    try:
        line.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(value, allow_nan=False, default=str)
    return re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", line)


def _is_tty(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0
