"""An answer with its quotes: for people the words highlighted in them, for programs JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gptcli.documents.answers import Answer, Citation
from gptcli.output.console import RESET, Output, visible

if TYPE_CHECKING:
    from rich.text import Text

BOLD = "\x1b[1m"
MARK, PLACE = "black on yellow", "dim"
DIGITS = 4  # of the score


def answer_members(answer: Answer) -> dict[str, Any]:
    """Return the answer as JSON members. `start`, `end` and `marks` are in characters of the file."""
    members = {
        "answer": answer.text if answer.found else None,
        "found": answer.found,
        "score": None if answer.score is None else round(answer.score, DIGITS),
        "verified": answer.verified,
        "citations": [citation_members(each) for each in answer.citations],
    }
    if answer.sentences:
        members["sentences"] = [
            {
                "text": each.text,
                "citations": [n + 1 for n in each.citations],
                "supported": each.supported,
            }
            for each in answer.sentences
        ]
    return members


def citation_members(citation: Citation) -> dict[str, Any]:
    return {
        "file": citation.source.name,
        "start": citation.start,
        "end": citation.end,
        "line": citation.line,
        "text": citation.text,
        "marks": [list(mark) for mark in citation.marks],
    }


def print_answer(output: Output, answer: Answer) -> None:
    """Print an answer; on a terminal with its quotes, elsewhere alone."""
    text = " ".join(answer.text.split())
    if not output.stdout_is_tty:
        output.write(f"{text}\n")
        return
    shown = visible(text)
    output.write_styled(f"{BOLD}{shown}{RESET}\n" if output.stdout_color else f"{shown}\n")
    if answer.citations:
        output.write("\n")
        print_quotes(output, answer.citations, numbered=bool(answer.sentences))


def print_quotes(output: Output, citations: Sequence[Citation], *, numbered: bool = False) -> None:
    """Print quotes, each under its file and line, with the words that answer highlighted."""
    from rich.padding import Padding

    buffer = io.StringIO()
    console = output.rich_console(buffer, color=output.stdout_color)
    for number, citation in enumerate(citations, 1):
        place = f"{f'[{number}] ' if numbered else ''}{citation.source.name}:{citation.line}"
        console.print(visible(place), style=PLACE)
        console.print(Padding(_highlighted(output, citation), (0, 0, 0, 2), expand=False))
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    output.write_styled("".join(f"{line}\n" for line in lines))


def _highlighted(output: Output, citation: Citation) -> Text:
    from rich.text import Text

    source, at = citation.source.text, citation.start
    before, after = ("", "") if output.stdout_color else ("»", "«")
    shown = Text()
    for start, end in citation.marks:
        shown.append(visible(source[at:start]))
        shown.append(f"{before}{visible(source[start:end])}{after}", MARK)
        at = end
    shown.append(visible(source[at : citation.end]))
    return Text("\n").join(_lines(shown))


def _lines(text: Text) -> list[Text]:
    """Return the lines of a quote without the white space around them."""
    lines = list(text.split("\n"))
    for line in lines:
        line.rstrip()
    return [line[len(line.plain) - len(line.plain.lstrip()) :] for line in lines if line.plain]
