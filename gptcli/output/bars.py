"""Bar charts of text: Unicode blocks on a terminal, # elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptcli.output.console import Output

WIDTH = 60  # columns at most
LEAST_BAR = 8  # columns: a narrower terminal wraps
EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it stands for, its length (0 or more), and the value as text."""

    label: str
    value: float
    text: str


def print_bars(output: Output, bars: Sequence[Bar]) -> None:
    """Print a bar a line. The longest takes what labels and values leave of the line."""
    width = min(WIDTH, output.width) if output.stdout_is_tty else WIDTH
    for line in bar_lines(bars, width, blocks=has_blocks(output)):
        output.write(line + "\n")


def bar_lines(bars: Sequence[Bar], width: int, *, blocks: bool) -> list[str]:
    """Return the chart's lines, at most `width` columns wide."""
    labels = max((len(bar.label) for bar in bars), default=0)
    texts = max((len(bar.text) for bar in bars), default=0)
    cells = max(LEAST_BAR, width - labels - texts - 2)
    most = max((bar.value for bar in bars), default=0) or 1
    return [
        f"{bar.label:>{labels}} {bar_text(bar.value / most * cells, blocks=blocks)} {bar.text}"
        for bar in bars
    ]


def bar_text(cells: float, *, blocks: bool) -> str:
    """Return a bar of so many columns, of which something is to be seen unless it is 0."""
    if cells <= 0:
        return ""
    if not blocks:
        return "#" * max(1, round(cells))
    whole, eighths = divmod(max(1, round(cells * 8)), 8)
    return EIGHTHS[-1] * whole + (EIGHTHS[eighths] if eighths else "")


def has_blocks(output: Output) -> bool:
    """Tell whether stdout is a terminal whose encoding has the blocks."""
    if not output.stdout_is_tty:
        return False
    try:
        EIGHTHS.encode(output.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
