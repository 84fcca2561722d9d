"""Passages that were found: where they are, how well they match, the words that match."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gptcli.documents.passages import Passage
from gptcli.output.console import DIM, RESET, Output, visible

HIT, PLACE = "\x1b[1;33m", "\x1b[1m"

Spans = Sequence[tuple[int, int]]


def print_passages(
    output: Output, ranking: Iterable[tuple[Passage, float]], matches: Callable[[str], Spans]
) -> None:
    """Print passages and their scores, the best first. `matches` says what to highlight in a text."""
    for number, (passage, score) in enumerate(ranking, 1):
        place = f"{visible(passage.source.name)}:{passage.line}"
        about = f"{score:.3g}" + (f"  {visible(passage.heading)}" if passage.heading else "")
        if output.stdout_color:
            place, about = f"{PLACE}{place}{RESET}", f"{DIM}{about}{RESET}"
        gap = "\n" if number > 1 else ""
        output.write_styled(f"{gap}{number}. {place}  {about}\n")
        text = passage.text
        spans = matches(text) if output.stdout_color else ()
        for line in highlighted(text, spans).split("\n"):
            output.write_styled(f"   {line}".rstrip() + "\n")


def highlighted(text: str, spans: Spans) -> str:
    """Return a text for a terminal with some of it highlighted, on each of its lines anew."""
    shown, end = "", 0
    for start, stop in spans:
        shown += visible(text[end:start])
        shown += visible(text[start:stop]).replace("\n", f"{RESET}\n{HIT}").join((HIT, RESET))
        end = stop
    return shown + visible(text[end:])


def passage_record(passage: Passage, score: float) -> dict[str, Any]:
    """Return a passage for JSON: `text` is `file[start:end]`, in characters."""
    return {
        "file": passage.source.name,
        "start": passage.start,
        "end": passage.end,
        "line": passage.line,
        "heading": passage.heading,
        "score": score,
        "text": passage.text,
    }
