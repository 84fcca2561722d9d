"""A text with pieces that every translation carries over: cut into sentences, peeled, tidied."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gptcli.languages import Language
from gptcli.tasks.prose import SentenceStream, ends_sentence

FIRST_MARK = 0xE000  # of Unicode's private use area: no text of ours has them
MOST_MARKS = 6400


Role = Literal["single", "open", "close"]


@dataclass(frozen=True, slots=True)
class Protected:
    """A piece that stays as it is: a placeholder, a tag, code, an address."""

    shown: str
    role: Role = "single"


Part = str | Protected


# In a text of whatever format: tags, which plain text may have too.
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>")


def split_parts(text: str, protected: Sequence[Protected]) -> list[Part]:
    """Return a text as its plain pieces and, in their order, the protected ones; tags are protected."""
    parts: list[Part] = []
    end = 0
    for each in protected:
        at = text.find(each.shown, end)
        if at < 0:
            continue
        if at > end:
            parts.append(text[end:at])
        parts.append(each)
        end = at + len(each.shown)
    if end < len(text):
        parts.append(text[end:])
    return [piece for part in parts for piece in _without_tags(part)]


def _without_tags(part: Part) -> Iterator[Part]:
    if isinstance(part, Protected):
        yield part
        return
    end = 0
    for found in _TAG.finditer(part):
        if found.start() > end:
            yield part[end : found.start()]
        role: Role = "close" if found[0][1] == "/" else "single" if found[0][-2] == "/" else "open"
        yield Protected(found[0], role)
        end = found.end()
    if end < len(part):
        yield part[end:]


def tags_in(text: str) -> list[str]:
    """Return the tags of a text."""
    return _TAG.findall(text)


def text_of(parts: Sequence[Part]) -> str:
    return "".join(part if isinstance(part, str) else part.shown for part in parts)


def is_translatable(parts: Sequence[Part]) -> bool:
    """Tell whether there is a word in it."""
    return any(isinstance(part, str) and any(map(str.isalpha, part)) for part in parts)


def sentences(parts: Sequence[Part]) -> list[list[Part]]:
    """Cut a text into sentences; joined, they are the text. No pair is torn, nothing protected cut."""
    protected = [part for part in parts if isinstance(part, Protected)]
    if len(protected) > MOST_MARKS:
        return [list(parts)]
    marks = iter(range(FIRST_MARK, FIRST_MARK + len(protected)))
    marked = "".join(part if isinstance(part, str) else chr(next(marks)) for part in parts)
    stream = SentenceStream()
    pieces = [*stream.feed(marked), stream.rest]
    cut: list[list[Part]] = []
    open_pairs = 0
    for piece in pieces:
        if not piece:
            continue
        restored = list(_restored(piece, protected))
        if cut and (open_pairs or not is_translatable(restored)):
            cut[-1] += restored
        else:
            cut.append(restored)
        roles = [part.role for part in restored if isinstance(part, Protected)]
        open_pairs = max(0, open_pairs + roles.count("open") - roles.count("close"))
    return cut


def _restored(marked: str, protected: Sequence[Protected]) -> Iterator[Part]:
    pattern = f"([{chr(FIRST_MARK)}-{chr(FIRST_MARK + MOST_MARKS - 1)}])"
    for piece in re.split(pattern, marked):
        number = ord(piece) - FIRST_MARK if len(piece) == 1 else -1
        if 0 <= number < len(protected):
            yield protected[number]
        elif piece:
            yield piece


@dataclass(slots=True)
class Peeled:
    """A text without what stands at its two ends and needs no translation."""

    head: list[Part]
    body: list[Part]
    tail: list[Part]

    def around(self, translation: str) -> str:
        return text_of(self.head) + translation + text_of(self.tail)


def peel(parts: Sequence[Part]) -> Peeled:
    """Take white space, bare punctuation and protected pieces off both ends, pairs only together.

    So are quotation marks of which none stands elsewhere.
    """
    head: list[Part] = []
    body = list(parts)
    tail: list[Part] = []
    while body:
        if _is_loose(body[0]):
            head.append(body.pop(0))
        elif _is_loose(body[-1]):
            tail.insert(0, body.pop())
        elif len(body) > 1 and _closes(body):
            head.append(body.pop(0))
            tail.insert(0, body.pop())
        else:
            break
    peeled = Peeled(head, body, tail)
    _peel_ends(peeled)
    text = text_of(body)
    if re.search(rf"[{_QUOTATION}]", text) and not re.search(rf"[{_QUOTATION}]", text[1:-1]):
        _peel_ends(peeled, _QUOTATION)
    return peeled


# What a sentence out of a quotation of several has at one end, and models leave out.
_QUOTATION = '"“”„«»「」『』'


def _peel_ends(peeled: Peeled, marks: str = "") -> None:
    """Take white space, and these marks, off what stands first and last."""
    body = peeled.body
    if body and isinstance(first := body[0], str) and (found := re.match(rf"[\s{marks}]+", first)):
        peeled.head.append(found[0])
        body[0] = first[found.end() :]
    if body and isinstance(last := body[-1], str) and (found := re.search(rf"[\s{marks}]+$", last)):
        peeled.tail.insert(0, found[0])
        body[-1] = last[: found.start()]


def _is_loose(part: Part) -> bool:
    if isinstance(part, str):
        return not any(map(str.isalnum, part))
    return part.role == "single"


def _closes(body: Sequence[Part]) -> bool:
    """Tell whether the first piece opens a pair that the last one closes."""
    if not (isinstance(body[0], Protected) and body[0].role == "open"):
        return False
    depth = 0
    for at, part in enumerate(body):
        if isinstance(part, Protected) and part.role != "single":
            depth += 1 if part.role == "open" else -1
            if depth <= 0:
                return at == len(body) - 1
    return False


# ------------------------------------------------------------------------------------------ answers

_LABEL = re.compile(
    r"^(?:translation|traduction|übersetzung|traducción|翻译|译文)\s*[:：]\s*", re.IGNORECASE
)
_QUOTES = {'"': '"', "“": "”", "«": "»", "„": "“", "「": "」", "'": "'"}
_STOP = (".", "。")
_WIDE_ENDS = tuple("。！？」』”")


def tidied(answer: str, source: str, target: Language) -> str:
    """Return an answer without what models add around a translation: a label, quotes, a full stop."""
    lines = [line.strip() for line in answer.strip().splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith((":", "：")) and not source.rstrip().endswith((":", "：")):
        lines = lines[1:]  # "Here is the translation:"
    text = lines[0] if lines else ""
    text = re.sub(rf"^{re.escape(target.plain_name)}\s*:\s*", "", text)
    text = _LABEL.sub("", text) if not _LABEL.match(source) else text
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and source[:1] not in _QUOTES:
        text = text[1:-1].strip()
    if not ends_sentence(source) and text.endswith(_STOP) and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text


def joined(pieces: Sequence[str], target: Language) -> str:
    """Join sentences: with a space where the target's script has spaces between them, else without."""
    text = ""
    for piece in pieces:
        body = piece.lstrip()
        space = piece[: len(piece) - len(body)]
        if target.has_spaces and not space and body[:1].isalnum() and ends_sentence(text):
            space = " "
        elif not target.has_spaces and space == " " and text.endswith(_WIDE_ENDS):
            space = ""
        text += space + body
    return text
