"""The inline markup of Markdown by its place in the source, which markdown-it's tokens do not tell."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gptcli.documents.drafts import PROSE, Piece
from gptcli.documents.segments import PlaceholderKind, Role
from gptcli.documents.wrapping import WHITESPACE, Run

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

Environment = dict[str, Any]  # link definitions and footnotes, which decide what is a link
# What Markdown's many processors add: math, attributes of headings, roles of MyST, names of emoji.
MARKDOWN = re.compile(
    PROSE.pattern
    + r"|(?P<math>\$\$.+?\$\$|\$(?![\s$])(?:[^$\n\\]|\\.)*?(?<!\s)\$(?!\d))"
    + r"|(?P<tag>\{:?[ ]*[#.:][^{}\n]*\})|\{[\w:-]+\}(?=`|\Z)|(?<![\w:]):[a-z][a-z0-9_+-]*:(?![\w:])",
    re.DOTALL,
)
# What to escape, by and by: only as much as it takes for a text to be read as text.
SPECIAL = (
    re.compile(r"(?!)"),
    re.compile(r"[*_]|\\(?=[!-/:-@\[-`{-~])"),
    re.compile(r"[\\*_`\[\]<]|&(?=#?\w+;)"),
    re.compile(r"[\\*_`\[\]<>&~#|!^{}$:]|(?<![^\s])[-+=]|(?<=\d)[.)](?=\s|$)"),
)
EMPHASIS = "*_~"


class Mark(NamedTuple):
    """A range of the inline source that is markup, or a character written in another way."""

    start: int
    end: int
    kind: PlaceholderKind | None  # None: a character, `text`
    role: Role = "single"
    text: str = ""


@dataclass(slots=True)
class _Recorder:
    """What the rules made of one text. Nested parses, of alternative texts, have other tokens."""

    tokens: list[Token] | None = None
    marks: list[Mark] | None = None
    delimiters: list[tuple[int, Token]] | None = None


@cache
def parser() -> tuple[MarkdownIt, _Recorder]:
    """Return CommonMark with tables, strikethrough, footnotes, admonitions and definition lists."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.admon import admon_plugin
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.footnote import footnote_plugin

    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    markdown.use(footnote_plugin, inline=False, move_to_end=False, always_match_refs=True)
    markdown.use(admon_plugin).use(deflist_plugin)
    markdown.disable("text_join")
    markdown.inline.ruler2.disable("fragments_join")
    recorder = _Recorder()
    ruler = markdown.inline.ruler
    names = ruler.get_active_rules()
    for name, rule in zip(names, ruler.getRules(""), strict=True):
        ruler.at(name, _recording(name, rule, recorder))
    return markdown, recorder


def _recording(
    name: str, rule: Callable[[StateInline, bool], bool], recorder: _Recorder
) -> Callable[[StateInline, bool], bool]:
    """Return a rule that also notes where it matched."""

    def run(state: StateInline, silent: bool) -> bool:
        if silent or recorder.tokens is not state.tokens:
            return rule(state, silent)
        start, count = state.pos, len(state.tokens) + bool(state.pending)
        label_end = _label_end(state) if name == "link" else -1
        matched = rule(state, silent)
        if matched:
            new = state.tokens[count:] if name != "newline" else state.tokens[-1:]
            _note(recorder, name, state, start, label_end, new)
        return matched

    return run


def _label_end(state: StateInline) -> int:
    from markdown_it.helpers import parseLinkLabel

    if state.src[state.pos] != "[":
        return -1
    return parseLinkLabel(state, state.pos, True)


def _note(
    recorder: _Recorder,
    name: str,
    state: StateInline,
    start: int,
    label_end: int,
    new: Sequence[Token],
) -> None:
    marks, delimiters = recorder.marks, recorder.delimiters
    assert marks is not None
    assert delimiters is not None
    end = state.pos
    types = {token.type for token in new}
    if name in ("emphasis", "strikethrough"):
        for token in new:
            delimiters.append((start, token))
            start += len(token.content)
    elif name == "link":
        marks += (Mark(start, start + 1, "link", "open"), Mark(label_end, end, "link", "close"))
    elif "hardbreak" in types:
        if state.src[start] == "\n":
            start = len(state.src[:start].rstrip(" "))
        marks.append(Mark(start, end, "break"))
    elif "text_special" in types:
        marks.append(Mark(start, end, None, text=new[-1].content))
    else:
        kinds: Mapping[str, PlaceholderKind] = {
            "code_inline": "code",
            "html_inline": "tag",
            "image": "image",
            "footnote_ref": "reference",
            "link_open": "url",  # of an autolink
        }
        kind = next((kinds[token.type] for token in new if token.type in kinds), None)
        if kind:
            marks.append(Mark(start, end, kind))


def marks_in(source: str, environment: Environment) -> list[Mark]:
    """Return the markup of an inline source in order, without overlaps."""
    markdown, recorder = parser()
    recorder.tokens, recorder.marks, recorder.delimiters = [], [], []
    markdown.inline.parse(source, markdown, environment, recorder.tokens)
    found = recorder.marks + _emphasis(recorder.delimiters)
    recorder.tokens = None
    return sorted(found)


def _emphasis(delimiters: Sequence[tuple[int, Token]]) -> list[Mark]:
    """Return the delimiters that became markup; two characters of strong emphasis are one mark."""
    marks: list[Mark] = []
    place = 0
    while place < len(delimiters):
        start, token = delimiters[place]
        place += 1
        if token.type == "text" and token.content:
            continue
        length = len(token.markup) or 1
        if token.type == "text":  # the first half of an opening mark
            token = delimiters[place][1]
            length = len(token.markup)
        if token.type.startswith("strong"):
            place += 1
        role: Role = "open" if token.nesting > 0 else "close"
        marks.append(Mark(start, start + length, "emphasis", role))
    return marks


def pieces_of(
    content: str, source_of: Callable[[int, int], str], environment: Environment
) -> list[Piece]:
    """Return the pieces of an inline source; `source_of` gives the document's text of a range of it."""
    pieces: list[Piece] = []
    end = 0
    opened: list[int] = []
    for mark in marks_in(content, environment):
        pieces += _texts(content, end, mark.start, source_of)
        source = source_of(mark.start, mark.end)
        raw = content[mark.start : mark.end]
        if mark.kind is None:
            pieces.append(Piece(mark.text, source))
        else:
            written = None
            if mark.kind == "link" and mark.role == "open":
                opened.append(mark.end)
            elif mark.kind == "link" and opened:
                label = content[opened.pop() : mark.start]
                if raw in ("]", "][]"):  # its own text names it, which a translation would change
                    written = f"][{WHITESPACE.sub(' ', label)}]"
                elif raw.startswith("]["):
                    written = raw
            is_shown = mark.kind in ("code", "emphasis", "reference", "url") or (
                mark.kind == "tag" and len(raw) <= 12 and not raw.startswith("<!--")
            )
            role = _tag_role(raw) if mark.kind == "tag" else mark.role
            pieces.append(Piece(raw, source, mark.kind, role, is_shown, written=written))
        end = mark.end
    return pieces + _texts(content, end, len(content), source_of)


def _tag_role(tag: str) -> Role:
    if tag.startswith("</"):
        return "close"
    is_alone = re.match(r"<(?:br|hr|img|input|wbr)\b|<[!?]", tag, re.IGNORECASE) or tag.endswith("/>")
    return "single" if is_alone else "open"


def _texts(content: str, start: int, end: int, source_of: Callable[[int, int], str]) -> list[Piece]:
    """Return the pieces of plain text, a space in place of each line end."""
    pieces: list[Piece] = []
    base = start
    for found in re.finditer(r"[ \t]*\n[ \t]*", content[start:end]):
        place = base + found.start()
        if place > start:
            pieces.append(Piece(source_of(start, place), source_of(start, place)))
        pieces.append(Piece(" ", source_of(place, place + len(found[0]))))
        start = place + len(found[0])
    if start < end:
        pieces.append(Piece(source_of(start, end), source_of(start, end)))
    return pieces


# ------------------------------------------------------------------------------------------- writing


def candidates(runs: Sequence[Run]) -> list[list[Run]]:
    """Return a translation as it is, with its special characters escaped, and with room for emphasis."""
    escaped = [
        [Run(special.sub(r"\\\g<0>", run.text), True) if run.is_text else run for run in runs]
        for special in SPECIAL
    ]
    return [*escaped, _with_room(escaped[0]), _with_room(escaped[-1])]


def _with_room(runs: Sequence[Run]) -> list[Run]:
    """Return runs with spaces around emphasis, which otherwise is none beside some punctuation."""
    roomy: list[Run] = []
    is_open = False
    for place, run in enumerate(runs):
        if run.is_text or not run.text or run.text.strip(EMPHASIS):
            roomy.append(run)
            continue
        before = roomy[-1].text[-1:] if roomy else " "
        after = runs[place + 1].text[:1] if place + 1 < len(runs) else " "
        is_open = not is_open
        needs_before = is_open and not before.isspace()
        needs_after = not is_open and not after.isspace()
        roomy += [Run(" ", True)] if needs_before else []
        roomy.append(run)
        roomy += [Run(" ", True)] if needs_after else []
    return roomy


def reads_as(source: str, runs: Sequence[Run], environment: Environment) -> bool:
    """Tell whether an inline source has the markup of the runs, and their text as its text."""
    found = pieces_of(source, lambda start, end: source[start:end], environment)
    marks = [piece for piece in found if piece.kind]
    wanted = [run for run in runs if not _is_literal(run)]
    if [piece.source for piece in marks] != [run.text for run in wanted]:
        return False
    ends = [(piece.role, run.role) for piece, run in zip(marks, wanted, strict=True)]
    if any("single" not in each and each[0] != each[1] for each in ends):
        return False
    text = "".join(piece.text for piece in found if piece.kind is None)
    expected = "".join(run.text for run in runs if _is_literal(run))
    return _squeezed(text) == _squeezed(expected)


def _is_literal(run: Run) -> bool:
    return run.is_text or MARKDOWN.fullmatch(run.text) is not None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def unescaped(text: str) -> str:
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", text))
