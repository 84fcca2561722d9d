"""A summary with its quotes: for people bullets with file and line, for programs JSON."""

from __future__ import annotations

import io
from typing import Any

from gptcli.documents.summaries import Point, Summary
from gptcli.output.console import Output, visible

PLACE, QUOTE = "dim", "dim italic"


def summary_members(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON members: a `quote` is `file[start:end]`, in characters."""
    return {
        "points": [_point_members(point) for point in summary.points],
        "words": summary.words,
        "verified": summary.verified,
        "passages": summary.passages,
        "read": summary.read,
    }


def _point_members(point: Point) -> dict[str, Any]:
    citation = point.citation
    return {
        "text": point.text,
        "file": citation.source.name,
        "start": citation.start,
        "end": citation.end,
        "line": citation.line,
        "quote": citation.text,
        "verified": point.verified,
    }


def print_summary(output: Output, summary: Summary) -> None:
    """Print a point a line; on a terminal with its place, and with the quote where that differs."""
    if not output.stdout_is_tty:
        output.write("".join(f"{point.text}\n" for point in summary.points))
        return
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 1))
    for point in summary.points:
        place = visible(f"[{point.citation.source.name}:{point.citation.line}]")
        rows.add_row("-", Text.assemble(visible(point.text), " ", (place, PLACE)))
        quote = " ".join(point.citation.text.split())
        if quote != point.text:
            rows.add_row("", Text(visible(f"“{quote}”"), style=QUOTE))
    buffer = io.StringIO()
    output.rich_console(buffer, color=output.stdout_color).print(rows)
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    output.write_styled("".join(f"{line}\n" for line in lines))
