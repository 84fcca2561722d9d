"""Answers from documents: what is said, and the quotes that it is said with."""

from __future__ import annotations

from dataclasses import dataclass

from gptcli.documents.passages import Source, line_of
from gptcli.errors import GptcliError


@dataclass(frozen=True, slots=True)
class Citation:
    """A quote: `text` is `source.text[start:end]`, in characters; `line` is 1-based, of its start.

    `marks` are the places of the words that answer, in the source. Raises GptcliError for a quote that
    is not verbatim: no other can be made.
    """

    source: Source
    start: int
    end: int
    text: str
    marks: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.text != self.source.text[self.start : self.end]:
            raise GptcliError(f"a quote is not in {self.source.name} at {self.start}: a bug of ours")

    @property
    def line(self) -> int:
        return line_of(self.source.text, self.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence of a written answer: citations by position, and whether they support it."""

    text: str
    citations: tuple[int, ...]
    supported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a question's answer is, and where that is.

    `score` is the probability that the passages answer the question, calibrated; None if there were
    none. `verified`: what is said is in the quotes. `sentences` are those of a written answer.
    """

    question: str
    text: str
    found: bool
    score: float | None
    citations: tuple[Citation, ...] = ()
    verified: bool = True
    sentences: tuple[Sentence, ...] = ()
