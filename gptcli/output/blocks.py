"""Markdown in two steps: find the top-level blocks of a text, and turn a block into terminal rows."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptcli.output.console import Output, visible

if TYPE_CHECKING:
    from markdown_it.token import Token
    from rich.console import RenderableType
    from rich.markdown import Markdown
    from rich.segment import Segment

CODE = ("fence", "code_block")
LISTS = ("bullet_list_open", "ordered_list_open")
CODE_THEME = "monokai"


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block: its parser tokens, and the source line it starts at, counted from 0.

    Code consists of pieces (its lines), and so does a list (its items): they can be printed before
    the block is complete. Any other block is one piece.
    """

    tokens: list[Token]
    line: int

    @property
    def kind(self) -> str:
        return self.tokens[0].type

    @property
    def has_inner_blocks(self) -> bool:
        return any(token.type != "inline" or not token.children for token in self.tokens[1:-1])

    def needs_blank_line(self, before: str) -> bool:
        """Tell whether rich leaves a blank line above this block, after a block of kind `before`.

        Not at the start ("") or below a rule, which brings its own; but always above a list, table
        or quote.
        """
        return self.has_inner_blocks or before not in ("", "hr")

    def settled_pieces(self) -> int:
        """Return how many pieces look the same whatever follows, if the text so far is whole lines."""
        if self.kind in CODE:
            return len(_code_lines(self.tokens[0]))
        if self.kind not in LISTS:
            return 0
        items = len(_items(self.tokens))
        # The ninth item makes the column of numbers wider, also for the items before it.
        one_digit = self.kind == "ordered_list_open" and self.first_number + items < 10
        return 0 if one_digit else items - 1

    @property
    def first_number(self) -> int:
        return int(self.tokens[0].attrs.get("start", 1))

    def renumbered(self, first_number: int) -> Block:
        """Return the list with its items counted from another number."""
        opening = self.tokens[0].copy(attrs={**self.tokens[0].attrs, "start": first_number})
        return Block([opening, *self.tokens[1:]], self.line)

    def item_line(self, item: int) -> int:
        """Return the line that a list item starts at, counted from the start of the list."""
        line, _ = _items(self.tokens)[item][0].map or (0, 0)
        return line - self.line


class BlockRenderer:
    """Parses and renders the way `rich.markdown.Markdown` does, but block by block.

    Where rich drops or hides text, it is kept: HTML is shown as it stands, an image as its text and
    address, a link with its address, and table cells wrap.
    """

    def __init__(self, output: Output) -> None:
        from markdown_it import MarkdownIt

        self._parser = MarkdownIt().enable(["strikethrough", "table"])
        self._console = output.rich_console(io.StringIO(), color=output.stdout_color)
        self._has_color = output.stdout_color

    def parse(self, text: str, references: dict[str, object] | None = None) -> list[Block]:
        """Return the top-level blocks. Link definitions are looked up in and added to `references`."""
        blocks: list[Block] = []
        tokens: list[Token] = []
        depth = 0
        for token in self._parser.parse(text, references):
            depth += token.nesting
            tokens.extend(_showing_all(token))
            if depth == 0:
                first_line, _ = tokens[0].map or (0, 0)
                blocks.append(Block(tokens, first_line))
                tokens = []
        return blocks

    def rows(self, block: Block, width: int, start: int = 0, end: int | None = None) -> list[str]:
        """Return the block's rows, of `width` at most: up to piece `end`, code from line `start` on."""
        self._console.width = width
        if block.kind in CODE:
            return self._drawn(_code(block.tokens[0], start, end))
        tokens = block.tokens if end is None else _first_items(block.tokens, end)
        blank_lines = int(block.has_inner_blocks)  # above it; not ours to draw
        return self._drawn(_markdown(tokens))[blank_lines:]

    def _drawn(self, renderable: RenderableType) -> list[str]:
        from rich.segment import Segment, Segments

        lines = self._console.render_lines(renderable, pad=False)
        line_end = Segment.line()
        segments = [segment for line in lines for segment in (*self._trimmed(line), line_end)]
        with self._console.capture() as capture:
            self._console.print(Segments(segments), end="")
        return capture.get().split("\n")[:-1]

    def _trimmed(self, line: list[Segment]) -> list[Segment]:
        """Drop the spaces rich fills a line with: they get copied, and wrap in a narrowed terminal."""
        from rich.segment import Segment

        trimmed = list(line)
        while trimmed:
            text, style, _ = trimmed.pop()
            has_background = self._has_color and style is not None and style.bgcolor is not None
            text = text if has_background else text.rstrip(" ")
            if text:
                return [*trimmed, Segment(text, style)]
        return trimmed


# ----------------------------------------------------------------------------------- rich renderables


def _markdown(tokens: list[Token]) -> Markdown:
    markdown = _markdown_type()("", code_theme=CODE_THEME, hyperlinks=False)
    markdown.parsed = tokens
    return markdown


@functools.cache
def _markdown_type() -> type[Markdown]:
    from rich.markdown import Markdown, MarkdownElement, TableDataElement

    class WrappingCell(TableDataElement):
        """A cell that breaks a word wider than its column, instead of cutting it off."""

        @classmethod
        def create(cls, markdown: Markdown, token: Token) -> MarkdownElement:
            cell = super().create(markdown, token)
            assert isinstance(cell, TableDataElement)  # rich's annotation is too wide
            cell.content.overflow = "fold"
            return cell

    class CompleteMarkdown(Markdown):
        elements = {**Markdown.elements, "td_open": WrappingCell, "th_open": WrappingCell}  # noqa: RUF012

    return CompleteMarkdown


def _code(token: Token, start: int, end: int | None) -> RenderableType:
    """Return lines of code, coloured in the light of all the code before them."""
    from rich.syntax import Syntax

    language = next(iter(token.info.split()), "text")
    top, bottom = int(start == 0), int(end is None)
    return Syntax(
        "\n".join(_code_lines(token)),
        language,
        theme=CODE_THEME,
        word_wrap=True,
        padding=(top, 1, bottom, 1),
        line_range=None if top and bottom else (start + 1, end),
    )


def _code_lines(token: Token) -> list[str]:
    code = token.content.rstrip()
    return code.split("\n") if code else []


# ----------------------------------------------------------------------------------------------- lists


def _first_items(tokens: Sequence[Token], count: int) -> list[Token]:
    """Return the tokens of a list with its first items only, indented as in the whole list."""
    from markdown_it.token import Token

    items = _items(tokens)
    # rich makes room for the number of the last item: items without content keep it the same.
    empty_item = [Token("list_item_open", "li", 1), Token("list_item_close", "li", -1)]
    items[count:] = [empty_item] * (len(items) - count)
    return [tokens[0], *(token for item in items for token in item), tokens[-1]]


def _items(tokens: Sequence[Token]) -> list[list[Token]]:
    items: list[list[Token]] = []
    depth = 0
    for token in tokens[1:-1]:
        if depth == 0:
            items.append([])
        items[-1].append(token)
        depth += token.nesting
    return items


# ------------------------------------------------------------------------- what rich would not show


def _showing_all(token: Token) -> Iterator[Token]:
    """Yield tokens that rich shows in full, in place of one that it would not."""
    from markdown_it.token import Token

    if token.type == "html_block":
        lines = token.content.rstrip("\n").split("\n")
        children: list[Token] = []
        for line in lines:
            children += [Token("text", "", 0, content=line), Token("hardbreak", "br", 0)]
        yield Token("paragraph_open", "p", 1, map=token.map)
        yield Token("inline", "", 0, children=children[:-1])
        yield Token("paragraph_close", "p", -1)
    elif token.children:
        yield token.copy(children=list(_inline(token.children)))
    else:
        yield token


def _inline(children: Iterable[Token]) -> Iterator[Token]:
    from markdown_it.token import Token

    for token in children:
        # Decoded entities and addresses can hold control characters that the text did not.
        content = visible(token.content)
        if token.type == "image":
            address = visible(str(token.attrs.get("src", "")))
            yield Token("text", "", 0, content=f"{content} ({address})" if content else address)
        elif token.type == "softbreak":
            # Models end a line where they mean it: verses, addresses, steps.
            yield Token("hardbreak", "br", 0)
        elif token.type == "html_inline" and re.fullmatch(r"<br\s*/?>", content, re.IGNORECASE):
            yield Token("hardbreak", "br", 0)
        elif token.type == "html_inline":
            yield Token("text", "", 0, content=content)
        elif token.info == "auto" and token.type in ("link_open", "link_close"):
            continue  # the text is the address already
        else:
            yield token.copy(content=content)
