"""A document: text around segments. What is not translated comes back byte for byte."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gptcli.documents.segments import PlaceholderFaults, Segment
from gptcli.errors import GptcliError


class DocumentError(GptcliError):
    """A file that is not what its format says. `details["line"]` is where, from 1, if that is known."""

    code = "document"


@dataclass(frozen=True, slots=True)
class Rendering:
    """A document with its translations."""

    data: bytes
    encoding: str  # the document's own, or UTF-8 where that lacks characters of the translations
    refused: Mapping[int, str]  # segments that keep their source, and why
    notices: tuple[str, ...]


class Document:
    """A text with segments in it.

    `text` is the decoded document without its byte order mark; `encoding` names a codec, in which
    `bom` was found or not; `notices` say what was detected, or kept because it is broken.
    """

    text: str
    format: str
    encoding: str
    bom: bytes
    segments: Sequence[Segment]
    notices: tuple[str, ...]

    def render(
        self,
        translations: Mapping[int, str] | Sequence[str | None],
        *,
        doubtful: Collection[int] = (),
    ) -> Rendering:
        """Return the document with translations, by segment index.

        A segment without one (None), or whose translation is its own text, keeps its own bytes, and
        so does one whose translation is refused, as `check` tells. PO marks doubtful ones as fuzzy.
        """
        raise NotImplementedError

    def check(self, index: int, translation: str) -> PlaceholderFaults:
        """Return what keeps a translation from being written, which may also be its markup."""
        raise NotImplementedError

    @property
    def skeleton(self) -> tuple[str, ...]:
        """All that no translation changes: the text around the segments, and their placeholders."""
        raise NotImplementedError
