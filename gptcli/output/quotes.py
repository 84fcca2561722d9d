"""An answer with its quotes: for people the words highlighted in them, for programs JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptcli.documents.answers import Answer, Citation
from gptcli.output.console import DIM, RESET, Output, visible

BOLD, HIGHLIGHT = "\x1b[1m", "\x1b[30;43m"
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
    output.write_styled(_styled(output, BOLD, visible(text)) + "\n")
    if answer.citations:
        output.write("\n")
        print_quotes(output, answer.citations, numbered=bool(answer.sentences))


def print_quotes(output: Output, citations: Sequence[Citation], *, numbered: bool = False) -> None:
    """Print quotes, each under its file and line, with the words that answer highlighted."""
    for number, citation in enumerate(citations, 1):
        place = f"{f'[{number}] ' if numbered else ''}{citation.source.name}:{citation.line}"
        output.write_styled(f"{_styled(output, DIM, visible(place))}\n")
        for line in _highlighted(output, citation).splitlines():
            output.write_styled(f"  {line.strip()}\n")


def _highlighted(output: Output, citation: Citation) -> str:
    shown, at = "", citation.start
    for start, end in citation.marks:
        shown += visible(citation.source.text[at:start])
        words = visible(citation.source.text[start:end]).splitlines()
        shown += "\n".join(_styled(output, HIGHLIGHT, line) for line in words)
        at = end
    return shown + visible(citation.source.text[at : citation.end])


def _styled(output: Output, style: str, text: str) -> str:
    if output.stdout_color:
        return f"{style}{text}{RESET}"
    return f"»{text}«" if style == HIGHLIGHT else text
