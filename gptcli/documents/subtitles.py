"""Subtitles, SRT and WebVTT: the text of the cues, in lines that fit on a screen.

https://www.w3.org/TR/webvtt1/; SRT has no specification and is read as players do. Line lengths follow
the usual 42 columns of the subtitling guidelines; wide characters take two of them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from functools import partial
from typing import Literal

from gptcli.documents.document import RefusedError
from gptcli.documents.drafts import BrokenError, Cut, Draft, Piece, joined, one_line, protected
from gptcli.documents.plain import Line, joined_lines, lines_of
from gptcli.documents.wrapping import Run, Unit, balance, fill, units, width_of

SubtitleFormat = Literal["srt", "vtt"]

_CLOCK = r"(?:\d+:)?\d{1,2}:\d{1,2}(?:[,.:]\d{1,3})?"
TIMING = re.compile(rf"[ \t\ufeff]*{_CLOCK}[ \t]*-->[ \t]*{_CLOCK}(?=[ \t]|$)")
LOOKS_LIKE_TIMING = re.compile(r"[ \t]*\d\d?:[^\n]*->|[^\n]*-->[ \t]*\d")
DIALOGUE = re.compile(r"[ \t]*(?:[-‐–—][ \t]*)?")
SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’»)]*(?:</?[^<>]*>)*$")
_BYTES = r"(?P<bytes>[\x00-\x08\x0b\x0e-\x1f\x7f\udc80-\udcff]+)"
TAGS = {
    "srt": re.compile(rf"(?P<tag></?[A-Za-z][^<>]*>|\{{\\[^{{}}]*\}}|\{{[A-Za-z]:[^{{}}]*\}})|{_BYTES}"),
    "vtt": re.compile(rf"(?P<tag></?[A-Za-z0-9][^<>]*>)|(?P<entity>&[A-Za-z#][\w]*;)|{_BYTES}"),
}


def read(draft: Draft, format: SubtitleFormat, width: int) -> None:
    """Make the text of each cue a segment; of a dialogue, the words of each speaker.

    Raises BrokenError for a text without a cue, and for WebVTT without its first line.
    """
    lines = list(lines_of(draft.text))
    if not any(line.text.strip() for line in lines):
        return
    if format == "vtt" and not re.match(r"\ufeff?WEBVTT(?:[ \t]|$)", lines[0].text):
        raise BrokenError("it does not begin with WEBVTT", 1)
    timings = [number for number, line in enumerate(lines) if TIMING.match(line.text)]
    if not timings and format == "srt":
        first = next(number for number, line in enumerate(lines, 1) if line.text.strip())
        raise BrokenError("there is no timing, as in 00:00:01,000 --> 00:00:02,000", first)
    _notice_broken(draft, lines, timings)
    if not timings:
        return
    for timing, following in zip(timings, [*timings[1:], len(lines)], strict=True):
        end = following if following == len(lines) else _before_timing(lines, following, timing)
        _add_cue(draft, lines[timing + 1 : end], format, width)


def _before_timing(lines: Sequence[Line], timing: int, since: int) -> int:
    """Return the line at which the cue before a timing ends: its number, or name, is not text."""
    above = timing - 1
    has_blank = above - 1 > since and not lines[above - 1].text.strip()
    if above > since and (lines[above].text.strip().isdigit() or has_blank):
        return above
    return timing


def _notice_broken(draft: Draft, lines: Sequence[Line], timings: Sequence[int]) -> None:
    known = set(timings)
    for number, line in enumerate(lines):
        if number not in known and LOOKS_LIKE_TIMING.match(line.text):
            draft.notices.append(f"line {number + 1:,}: a timing that is broken is kept as it is")
    first = timings[0] if timings else 0
    for number, line in enumerate(lines[: max(0, first - 1)], 1):
        is_text = line.text.strip("\ufeff \t") and not draft.text.startswith("WEBVTT")
        if is_text and not line.text.strip().isdigit():
            draft.notices.append(f"line {number:,}: text before the first timing is kept as it is")
            return


def _add_cue(draft: Draft, lines: Sequence[Line], format: SubtitleFormat, width: int) -> None:
    """Add the blocks of lines that are a cue's text; what follows a broken timing is none."""
    block: list[Line] = []
    blocks = [block]
    for line in lines:
        if not line.text.strip():
            block = []
            blocks.append(block)
        else:
            block.append(line)
    for block in filter(None, blocks):
        is_broken = any(LOOKS_LIKE_TIMING.match(line.text) for line in block)
        if is_broken or (format == "vtt" and block is not blocks[0]):  # NOTE, STYLE, REGION
            continue
        if block is not blocks[0] and len(block) > 1 and block[0].text.strip().isdigit():
            number = draft.line_of(block[0].start)
            draft.notices.append(f"line {number:,}: a cue without a timing is kept as it is")
            continue
        for words in _speakers(block):
            _add_text(draft, words, format, width)


def _speakers(block: Sequence[Line]) -> list[list[Line]]:
    """Return the lines of each speaker, who begins with a dash; one for a text that is no dialogue."""
    begins = [bool(_dash(line.text).strip()) for line in block]
    if not begins[0]:
        return [list(block)]
    speakers: list[list[Line]] = []
    for line, is_first in zip(block, begins, strict=True):
        if is_first:
            speakers.append([])
        speakers[-1].append(line)
    return speakers


def _dash(text: str) -> str:
    found = DIALOGUE.match(text)
    return found[0] if found else ""


def _add_text(draft: Draft, lines: Sequence[Line], format: SubtitleFormat, width: int) -> None:
    first = lines[0]
    dash = len(_dash(first.text))
    body = Line(first.start + dash, first.text[dash:], first.end)
    pieces = _pieces(joined_lines([body, *lines[1:]], always_space=True), format)
    longest = max(width_of(_visible(line.text, format)) for line in lines)
    draft.add(
        body.start,
        pieces,
        "cue",
        partial(_written, format=format, lines=len(lines), width=max(width, longest), newline=first.end),
        pattern=TAGS[format],
    )


def _visible(text: str, format: SubtitleFormat) -> str:
    return TAGS[format].sub("", text)


def _pieces(joined: Sequence[Piece], format: SubtitleFormat) -> list[Piece]:
    """Return the pieces of joined lines, tags as placeholders; a tag may go over a line end."""
    pieces: list[Piece] = []
    for piece in joined:
        if piece.text != piece.source:
            pieces.append(piece)
            continue
        for each in protected(piece.text, TAGS[format]):
            if format == "vtt" and each.kind == "variable":
                pieces.append(Piece(html.unescape(each.text), each.source))
            else:
                pieces.append(each)
    return pieces


def _written(
    runs: Sequence[Run], _found: Cut, *, format: SubtitleFormat, lines: int, width: int, newline: str
) -> str:
    """Return a translation in as many lines as the source has, even ones, or more if it is too long."""
    if format == "vtt":
        runs = [Run(_escaped(run.text), True) if run.is_text else run for run in runs]
    flat = one_line(runs)
    if "-->" in joined(flat):
        raise RefusedError("its text would be read as a timing")
    words = units(flat, tags_are_visible=False)
    if lines == 2 and (sentences := _two_sentences(words, width)):
        return newline.join(sentences)
    count = max(lines, -(-sum(word.width + len(word.space) for word in words) // width))
    found = balance(words, count)
    while count < len(words) and any(width_of(_visible(line, format)) > width for line in found):
        count += 1
        found = balance(words, count)
    return newline.join(found)


def _two_sentences(words: Sequence[Unit], width: int) -> list[str] | None:
    """Return two lines with the end of a sentence between them, the most even ones; or None."""

    def columns(part: Sequence[Unit]) -> int:
        return sum(word.width + len(word.space) for word in part)

    ends = [n for n, word in enumerate(words[:-1], 1) if SENTENCE_END.search(word.text)]
    halves = [(words[:n], words[n:]) for n in ends]
    fitting = [each for each in halves if max(map(columns, each)) <= width + 1]
    if not fitting:
        return None
    best = min(fitting, key=lambda each: max(map(columns, each)))
    return [part for half in best for part in fill(half, width)]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
