"""Passages that were found: where they are, and the words that match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gptcli.documents.passages import Passage
from gptcli.output.console import DIM, RESET, Output, visible

HIT, PLACE = "\x1b[1;33m", "\x1b[1m"

Spans = Sequence[tuple[int, int]]


def show_passages(output: Output, passages: Iterable[Passage], matches: Callable[[str], Spans]) -> None:
    """Show passages among the messages. `matches` says what to highlight in a text."""
    for passage in passages:
        place, about = f"{visible(passage.source.name)}:{passage.line}", visible(passage.heading)
        if output.stderr_color:
            place, about = f"{PLACE}{place}{RESET}", f"{DIM}{about}{RESET}"
        text = passage.text.strip()
        shown = highlighted(text, matches(text) if output.stderr_color else ())
        lines = (f"   {line}".rstrip() for line in shown.split("\n"))
        output.status_styled("\n".join((f"{place}  {about}".rstrip(), *lines, "")))


def highlighted(text: str, spans: Spans) -> str:
    """Return a text for a terminal with some of it highlighted, on each of its lines anew."""
    shown, end = "", 0
    for start, stop in spans:
        shown += visible(text[end:start])
        shown += visible(text[start:stop]).replace("\n", f"{RESET}\n{HIT}").join((HIT, RESET))
        end = stop
    return shown + visible(text[end:])
