"""HTML: the text between block tags, with inline tags as placeholders, and attributes that are text.

Tags, comments, scripts, styles and code stay as they are, as does what translate="no" says to leave.
https://html.spec.whatwg.org/multipage/dom.html#the-translate-attribute
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from html.parser import HTMLParser
from typing import Literal, NamedTuple

from gptcli.documents.drafts import PROSE, Draft, Piece, protect_text
from gptcli.documents.segments import Role, SegmentKind
from gptcli.documents.wrapping import Run


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


INLINE = _names(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd mark math q rp rt ruby s"
    " samp small span strike strong sub sup svg time tt u var wbr"
)
VOID = _names("area base br col embed hr img input link meta param source track wbr")
KEPT = _names("code kbd math pre samp script style svg template textarea tt var")
IMPLIED_END = _names("dd dt li option p td th tr")  # another one begins, and it ends
KINDS: Mapping[str, SegmentKind] = {
    "title": "heading",
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6", "caption", "legend", "summary"), "heading"),
    **dict.fromkeys(("td", "th"), "cell"),
    **dict.fromkeys(("li", "dt", "dd", "option"), "item"),
}
TEXT_ATTRIBUTES = _names("abbr alt aria-description aria-label label placeholder summary title")
META_NAMES = _names(
    "description og:title og:description og:image:alt twitter:title twitter:description"
    " twitter:image:alt application-name apple-mobile-web-app-title"
)
BUTTONS = _names("submit button reset")
ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'=<>`]+)))?""")
WITHOUT_END = re.compile(r"<[A-Za-z/!?]")
SPACES = re.compile(r"[ \t\r\n\f]+")


EventKind = Literal["text", "entity", "open", "close", "other", "broken"]


class Event(NamedTuple):
    """What the parser met: text, a character reference, markup, or a tag or a comment without an end."""

    kind: EventKind
    start: int
    end: int
    name: str = ""  # of the tag


def read(draft: Draft) -> None:
    """Make the text of blocks and attributes segments."""
    draft.escape = lambda char: f"&#{ord(char)};"
    read_range(draft, 0, len(draft.text))


def read_range(draft: Draft, start: int, end: int) -> None:
    _Reader(draft).read(events(draft.text[start:end], start))


def attributes(tag: str) -> dict[str, tuple[int, int, str]]:
    """Return the attributes of a start tag: where their values are, with quotes, and what they say."""
    name = re.match(r"<[^\s/>]+", tag)
    found: dict[str, tuple[int, int, str]] = {}
    for each in ATTRIBUTE.finditer(tag, name.end() if name else 0):
        group = each.lastindex or 1
        quote = int(group in (2, 3))
        start, end = each.span(group)
        value = html.unescape(each[group]) if group > 1 else ""
        found.setdefault(each[1].lower(), (start - quote, end + quote, value))
    return found


def add_attributes(draft: Draft, start: int, end: int, name: str) -> bool:
    """Make the attributes of a tag that are text segments. Tell whether there are any."""
    count = len(draft.segments)
    found = attributes(draft.text[start:end])
    values = {key: value for key, (_, _, value) in found.items()}
    for key, (value_start, value_end, value) in found.items():
        is_meta = name == "meta" and key == "content"
        is_button = name == "input" and key == "value"
        if is_meta:
            about = values.get("name") or values.get("property") or ""
            is_text = about.lower() in META_NAMES
        elif is_button:
            is_text = values.get("type", "").lower() in BUTTONS
        else:
            is_text = key in TEXT_ATTRIBUTES and name not in ("link", "style")
        if is_text:
            source = draft.text[start + value_start : start + value_end]
            quote = source[0] if source[:1] in ("'", '"') else '"'
            encode = partial(_attribute, quote=quote)
            draft.add_value(
                start + value_start,
                start + value_end,
                value,
                "attribute",
                encode,
                context=f"{name} {key}",
                pattern=PROSE,
            )
    return len(draft.segments) > count


def _attribute(value: str, *, quote: str) -> str:
    escaped = value.replace("&", "&amp;").replace("<", "&lt;").replace("\u00a0", "&nbsp;")
    return quote + escaped.replace(quote, "&quot;" if quote == '"' else "&#39;") + quote


class _Reader:
    """Gathers the pieces between two block tags."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._pieces: list[Piece] = []
        self._start = 0
        self._block = ""  # the tag of the block around
        self._kept = ""  # the tag of the element that is kept, with how often it is open in itself
        self._kept_depth = 0
        self._kept_start = 0
        self._ended: Event | None = None  # the end tag that is part of what was kept

    def read(self, found: Iterator[Event]) -> None:
        for event in found:
            if self._kept:
                self._go_on_keeping(event)
            if not self._kept:
                self._take(event)
        if self._kept and self._kept in INLINE:
            self._put(self._kept_start, len(self._draft.text))
        self._flush()

    def _go_on_keeping(self, event: Event) -> None:
        name = event.name
        if event.kind == "open" and self._kept in IMPLIED_END and name not in INLINE:
            if name == self._kept or self._kept == "p":
                self._kept = ""
        elif name == self._kept:
            self._kept_depth += {"open": 1, "close": -1}.get(event.kind, 0)
            if not self._kept_depth:
                if name in INLINE:
                    self._put(self._kept_start, event.end)
                self._kept = ""
                self._ended = event

    def _take(self, event: Event) -> None:
        if event is self._ended:
            if event.name not in INLINE:
                self._flush()
            return
        source = self._draft.text[event.start : event.end]
        if event.kind == "text":
            self._put_text(event)
        elif event.kind == "entity":
            self._add(event.start, Piece(html.unescape(source), source))
        elif event.kind == "open" and self._is_kept(event, source):
            if event.name not in INLINE:
                self._flush()
            self._kept, self._kept_depth, self._kept_start = event.name, 1, event.start
        elif event.name in INLINE:
            role: Role = "open" if event.kind == "open" else "close"
            is_alone = event.name in VOID or source.endswith("/>")
            is_nested = event.kind == "open" and add_attributes(
                self._draft, event.start, event.end, event.name
            )
            self._put(
                event.start, event.end, "single" if is_alone else role, is_nested, len(source) <= 12
            )
        elif event.kind == "other" and self._pieces:
            self._put(event.start, event.end)
        elif event.kind == "broken":  # browsers show nothing from there on
            self._flush()
            line = self._draft.line_of(event.start)
            notice = f"line {line:,}: a tag or a comment without an end is kept as it is"
            self._draft.notices.append(notice)
        elif event.kind in ("open", "close"):
            self._flush()
            self._block = event.name if event.kind == "open" else ""
            if event.kind == "open":
                add_attributes(self._draft, event.start, event.end, event.name)

    def _is_kept(self, event: Event, source: str) -> bool:
        if event.name in VOID or source.endswith("/>"):
            return False
        if event.name in KEPT:
            return True
        if "translate" not in source.lower():
            return False
        found = {key: value.lower() for key, (_, _, value) in attributes(source).items()}
        return found.get("translate") == "no" or "notranslate" in found.get("class", "").split()

    def _put_text(self, event: Event) -> None:
        end = event.start
        for found in SPACES.finditer(self._draft.text, event.start, event.end):
            if found[0] != " ":
                self._add_text(end, found.start())
                self._add(found.start(), Piece(" ", found[0]))
                end = found.end()
        self._add_text(end, event.end)

    def _add_text(self, start: int, end: int) -> None:
        if start < end:
            text = self._draft.text[start:end]
            self._add(start, Piece(text, text))

    def _put(
        self, start: int, end: int, role: Role = "single", is_nested: bool = False, is_shown: bool = True
    ) -> None:
        source = self._draft.text[start:end]
        span = (start, end) if is_nested else None
        kind: Literal["code", "image", "tag"] = "tag"
        if source.startswith("<img"):
            kind = "image"
        elif role == "single" and "</" in source:
            kind = "code"
        is_shown = is_shown and not source.startswith("<!--")
        self._add(start, Piece(source, source, kind, role, is_shown, span=span))

    def _add(self, start: int, piece: Piece) -> None:
        if not self._pieces:
            self._start = start
        self._pieces.append(piece)

    def _flush(self) -> None:
        pieces, self._pieces = self._pieces, []
        if pieces:
            references = [each for each in pieces if each.kind is None and each.source[0] == "&"]
            entities = {each.text: each.source for each in references if each.text != each.source}
            self._draft.add(
                self._start,
                protect_text(pieces, PROSE),
                KINDS.get(self._block, "paragraph"),
                lambda runs, found: self._draft.rewrapped(_escaped_runs(runs, entities), found),
                pattern=PROSE,
            )


def _escaped_runs(runs: Sequence[Run], entities: Mapping[str, str]) -> list[Run]:
    return [Run(_escaped(run.text, entities), True) if run.is_text else run for run in runs]


def _escaped(text: str, entities: Mapping[str, str]) -> str:
    """Return a text with the character references that HTML needs, and those that the source uses."""
    used = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\u00a0": "&nbsp;", **entities}
    return "".join(used.get(char, char) for char in text)


# ------------------------------------------------------------------------------------------- the parser


def events(text: str, offset: int = 0) -> Iterator[Event]:
    """Return what a text of HTML consists of, in order and without gaps; `offset` is where it begins."""
    parser = _Parser(text)
    parser.feed(text)
    found = parser.found
    if WITHOUT_END.match(parser.rawdata):
        found.append(Event("broken", len(text) - len(parser.rawdata), len(text)))
    else:
        parser.close()
    for place, event in enumerate(found):
        end = found[place + 1].start if place + 1 < len(found) else len(text)
        if event.kind == "text" and event.end < end:
            yield event._replace(start=event.start + offset, end=event.end + offset)
            yield Event("other", event.end + offset, end + offset)
        else:
            yield event._replace(start=event.start + offset, end=end + offset)


class _Parser(HTMLParser):
    """Notes where things begin. The end of all but text is where the next thing begins."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[Event] = []
        self._text = text
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def _note(self, kind: EventKind, name: str = "", length: int = 0) -> None:
        line, column = self.getpos()
        start = self._lines[line - 1] + column
        self.found.append(Event(kind, start, start + length, name))

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._note("open", tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        self._note("open", tag)

    def handle_endtag(self, tag: str) -> None:
        self._note("close", tag)

    def handle_data(self, data: str) -> None:
        self._note("text", length=len(data))

    def handle_entityref(self, name: str) -> None:  # noqa: ARG002
        self._note("entity")

    def handle_charref(self, name: str) -> None:  # noqa: ARG002
        self._note("entity")

    def handle_comment(self, data: str) -> None:  # noqa: ARG002
        self._note("other")

    def handle_decl(self, decl: str) -> None:  # noqa: ARG002
        self._note("other")

    def handle_pi(self, data: str) -> None:  # noqa: ARG002
        self._note("other")

    def unknown_decl(self, data: str) -> None:  # noqa: ARG002
        self._note("other")
