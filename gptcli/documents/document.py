"""A document: text around segments. What is not translated comes back byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gptcli.documents.encodings import Decoded
from gptcli.documents.segments import (
    Placeholder,
    PlaceholderFaults,
    Segment,
    check_placeholders,
    split_translation,
)
from gptcli.documents.wrapping import SPACE, Run
from gptcli.errors import GptcliError

MARKUP = "its text would be read as markup"


class DocumentError(GptcliError):
    """A file that is not what its format says. `details["line"]` is where, from 1, if that is known."""

    code = "document"


class RefusedError(Exception):
    """A translation that cannot be written, and why."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A range of the text that is written anew when one of its segments has a translation.

    `write` gets the translations, None for a segment without one, and whether one of them is
    doubtful. It raises RefusedError for what cannot be written. A patch without segments is written when
    anything is translated at all, and so is the `otherwise` of one whose segments have no translation.
    """

    start: int
    end: int
    segments: tuple[int, ...]
    write: Callable[[Sequence[list[Run] | None], bool], str]
    otherwise: str | None = None  # None: the range stays as it is
    inner: list[Patch] = field(default_factory=list)  # patches in its placeholders


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

    def __init__(
        self,
        decoded: Decoded,
        format: str,
        segments: Sequence[Segment],
        patches: Sequence[Patch],
        notices: Sequence[str] = (),
        *,
        escape: Callable[[str], str] | None = None,
        recode: Callable[[str], str] | None = None,
    ) -> None:
        """`escape` writes a character that the encoding lacks; without it, `recode` declares UTF-8."""
        self._decoded = decoded
        self._escape, self._recode = escape, recode
        self._patches = _nested(patches)
        self._by_segment: dict[int, list[Patch]] = {}
        for patch in patches:
            for index in patch.segments:
                self._by_segment.setdefault(index, []).append(patch)
        self.text = decoded.text
        self.format = format
        self.encoding = decoded.encoding
        self.bom = decoded.bom
        self.segments = segments
        self.notices = (*decoded.notices, *notices)

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
        by_index = translations if isinstance(translations, Mapping) else dict(enumerate(translations))
        accepted: dict[int, list[str | Placeholder]] = {}
        refused: dict[int, str] = {}
        for index, translation in by_index.items():
            segment = self.segments[index]
            if translation is None:
                continue
            if faults := _faults(segment, translation):
                refused[index] = str(faults)
            else:
                accepted[index] = split_translation(segment, translation.strip(SPACE))
        changed = {i for i in accepted if by_index[i] != self.segments[i].text}
        writer = _Writer(self.text, accepted, changed, frozenset(doubtful))
        text = writer.inside(0, len(self.text), self._patches)
        refused |= writer.refused
        data, encoding, notices = self._encoded(text)
        return Rendering(data, encoding, refused, notices)

    def check(self, index: int, translation: str) -> PlaceholderFaults:
        """Return what keeps a translation from being written, which may also be its markup."""
        segment = self.segments[index]
        faults = _faults(segment, translation)
        if faults or translation == segment.text:
            return faults
        parts = split_translation(segment, translation.strip(SPACE))
        writer = _Writer(self.text, {index: parts}, {index})
        for patch in self._by_segment[index]:
            if len(patch.segments) == 1:
                writer.written(patch)
        return replace(faults, markup=writer.refused.get(index, ""))

    @property
    def skeleton(self) -> tuple[str, ...]:
        """All that no translation changes: the text around the segments, and their placeholders."""
        pieces = [""]
        for piece in self._skeleton(0, len(self.text), self._patches):
            if piece is None:
                pieces.append("")
            else:
                pieces[-1] += piece
        return tuple(pieces)

    def _skeleton(self, start: int, end: int, patches: Sequence[Patch]) -> Iterator[str | None]:
        """Yield the text, None where a segment is; what says that there is a translation is left out."""
        for patch in _within(patches, start, end):
            yield self.text[start : patch.start]
            start = patch.end
            for index in patch.segments:
                if self._by_segment[index][0] is not patch:
                    continue
                yield None
                for source in sorted(
                    self._source(each, patch) for each in self.segments[index].placeholders
                ):
                    yield source
                    yield None
        yield self.text[start:end]

    def _source(self, placeholder: Placeholder, patch: Patch) -> str:
        if placeholder.span is None:
            return placeholder.source
        return "".join(piece or "" for piece in self._skeleton(*placeholder.span, patch.inner))

    def _encoded(self, text: str) -> tuple[bytes, str, tuple[str, ...]]:
        decoded = self._decoded
        try:
            return decoded.encode(text), decoded.encoding, ()
        except UnicodeEncodeError as error:
            lacking = text[error.start]
        name = decoded.encoding.upper().replace("_", "-")
        if self._escape:
            return decoded.encode("".join(map(self._if_lacking, text))), decoded.encoding, ()
        notice = f'written as UTF-8: {name} has no "{lacking}"'
        text = self._recode(text) if self._recode else text
        return text.encode("utf-8", "surrogateescape"), "utf-8", (notice,)

    def _if_lacking(self, char: str) -> str:
        assert self._escape is not None
        if char.isascii():
            return char
        try:
            char.encode(self._decoded.encoding)
        except UnicodeEncodeError:
            return self._escape(char)
        return char


class _Writer:
    """Writes the text with the translations that were accepted."""

    def __init__(
        self,
        text: str,
        accepted: Mapping[int, list[str | Placeholder]],
        changed: Collection[int],
        doubtful: frozenset[int] = frozenset(),
    ) -> None:
        """`changed` are those of the accepted translations that are not the text itself."""
        self._text, self._accepted, self._doubtful = text, accepted, doubtful
        self._changed = changed
        self.refused: dict[int, str] = {}

    def inside(self, start: int, end: int, patches: Sequence[Patch]) -> str:
        """Return a range of the text, with the patches in it written."""
        pieces = []
        for patch in _within(patches, start, end):
            pieces.append(self._text[start : patch.start])
            new = self.written(patch)
            pieces.append(self.inside(patch.start, patch.end, patch.inner) if new is None else new)
            start = patch.end
        pieces.append(self._text[start:end])
        return "".join(pieces)

    def written(self, patch: Patch) -> str | None:
        given = [index for index in patch.segments if index in self._changed]
        if not self._changed:
            return None
        if patch.segments and not given:
            return patch.otherwise
        translations = [
            self._runs(self._accepted[index], patch) if index in self._accepted else None
            for index in patch.segments
        ]
        try:
            return patch.write(translations, not self._doubtful.isdisjoint(given))
        except RefusedError as error:
            self.refused |= dict.fromkeys(given, str(error))
            return patch.otherwise

    def _runs(self, parts: Sequence[str | Placeholder], patch: Patch) -> list[Run]:
        runs = []
        for part in parts:
            if isinstance(part, str):
                # Half of a surrogate pair is no character: no encoding could write it.
                runs.append(
                    Run(part.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True)
                )
            elif part.span:
                runs.append(Run(self.inside(*part.span, patch.inner), False, part.role))
            else:
                runs.append(Run(part.source, False, part.role))
        return runs


def _faults(segment: Segment, translation: str) -> PlaceholderFaults:
    if not translation.strip(SPACE):
        return PlaceholderFaults(markup="it is empty")
    return check_placeholders(segment, translation)


def _nested(patches: Sequence[Patch]) -> list[Patch]:
    """Return the outer patches in order, with the others in them."""
    outer: list[Patch] = []
    around: list[Patch] = []
    for patch in sorted(patches, key=lambda patch: (patch.start, -patch.end)):
        while around and (around[-1].end < patch.end or around[-1].end <= patch.start):
            around.pop()
        (around[-1].inner if around else outer).append(patch)
        around.append(patch)
    return outer


def _within(patches: Sequence[Patch], start: int, end: int) -> Iterator[Patch]:
    return (patch for patch in patches if start <= patch.start and patch.end <= end)
