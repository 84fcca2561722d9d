"""Asks the user a question, where there is one to ask."""

from __future__ import annotations

import sys

from gptcli.output.console import Output


def can_ask(output: Output) -> bool:
    """Tell whether somebody sits at the terminal."""
    return output.stderr_is_tty and sys.stdin is not None and sys.stdin.isatty()


def is_confirmed(output: Output, question: str) -> bool:
    """Ask a yes-or-no question on the terminal; anything but yes is no."""
    output.stderr.write(f"{question} [y/N] ")
    output.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
