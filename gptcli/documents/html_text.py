"""The visible text of HTML: a block a paragraph, headings and items marked as Markdown marks them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from gptcli.documents.html import INLINE, VOID

UNSEEN = frozenset(
    ("script", "style", "template", "noscript", "svg", "head", "iframe", "object", "select", "textarea")
)
HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
ITEM = "- "
MARKS = (ITEM, *HEADINGS.values())
LINES = frozenset(
    ("li", "dt", "dd", "tr", "option", "br", "caption")
)  # a line of their own, not a paragraph
CELLS = frozenset(("td", "th"))
CELL_GAP = "\t"
HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)


def visible_text(html: str) -> str:
    """Return what a reader of the page sees. The title of a page without a main heading is one."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    text = parser.text()
    title = " ".join(parser.title.split())
    return f"# {title}\n\n{text}" if title and not re.search("^# ", text, re.MULTILINE) else text


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._pieces: list[str] = []
        self._unseen: list[str] = []  # the elements that hide what is in them
        self._pre = 0
        self._in_title = False

    def text(self) -> str:
        text = "".join(self._pieces)
        lines = [line.rstrip(" \t\r") for line in text.split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title":
            self._in_title = not self.title
        if tag in VOID:
            if tag in ("br", "hr") and not self._unseen:
                self._break(1 if tag == "br" else 2)
            return
        if self._unseen:
            if tag == self._unseen[-1]:
                self._unseen.append(tag)
            return
        if tag in UNSEEN or _is_hidden(dict(attrs)):
            self._unseen.append(tag)
            return
        if tag in CELLS:
            self._gap()
        elif tag in LINES:
            self._break(1)
            self._pieces.append(ITEM if tag == "li" else "")
        elif tag not in INLINE:
            self._break(2)
            self._pieces.append(HEADINGS.get(tag, ""))
        self._pre += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        if self._unseen:
            if tag == self._unseen[-1]:
                self._unseen.pop()
            elif tag in ("head", "body", "html"):  # an end that was left out
                self._unseen.clear()
            return
        self._pre = max(0, self._pre - (tag == "pre"))
        if tag in LINES:
            self._break(1)
        elif tag not in INLINE and tag not in CELLS:
            self._break(2)

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        if self._unseen:
            return
        if self._pre:
            self._pieces.append(data)
            return
        words = re.sub(r"[ \t\r\n\f]+", " ", data)
        if self._ends_with_space():
            words = words.lstrip(" ")
        if words:
            self._pieces.append(words)

    def _gap(self) -> None:
        last = self._last()
        if last and not last.endswith("\n"):
            self._pieces.append(CELL_GAP)

    def _break(self, lines: int) -> None:
        """End the line, or the paragraph, unless it is ended already."""
        last = self._last()
        if not last or last in MARKS:  # a block within an item or a heading
            return
        ended = 0
        for piece in reversed(self._pieces):
            ended += len(piece) - len(piece.rstrip("\n"))
            if piece.rstrip("\n"):
                break
        self._pieces.append("\n" * max(0, lines - ended))

    def _last(self) -> str:
        return next((piece for piece in reversed(self._pieces) if piece), "")

    def _ends_with_space(self) -> bool:
        last = self._last()
        return not last or last[-1] in " \n\t"


def _is_hidden(attributes: dict[str, str | None]) -> bool:
    return "hidden" in attributes or bool(HIDDEN.search(attributes.get("style") or ""))
