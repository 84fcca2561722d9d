"""Summaries of documents: points, each with the quote that it is checked against."""

from __future__ import annotations

from dataclasses import dataclass

from gptcli.documents.answers import Citation


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a summary, on one line, and what says so. `verified`: its words are in the quote."""

    text: str
    citation: Citation
    verified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The points in the order of the sources. `words` is how many they have together.

    `passages` is how many the sources have, `read` how many of these the model has read.
    """

    points: tuple[Point, ...]
    words: int
    passages: int
    read: int

    @property
    def verified(self) -> bool:
        return all(point.verified for point in self.points)
