"""JSON files of translations: every string that a reader sees, by its keys.

Known are nested keys, i18next, Vue, ICU MessageFormat, Flutter's ARB (keys with @ describe others) and
the messages.json of browser extensions (only `message` is text).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gptcli.documents.document import MARKUP, RefusedError
from gptcli.documents.drafts import MESSAGE, BrokenError, Draft, Piece, protected

TOKEN = re.compile(r'[ \t\r\n]*(?:(?P<mark>[{}\[\],:])|(?P<string>")|(?P<other>[^\s{}\[\],:"]+))')
# No text for a reader: an address, a colour, an identifier, a file, a length, a locale.
CONSTANT = re.compile(
    r"[a-z][\w+.-]*://\S*|mailto:\S+|#[0-9a-fA-F]{3,8}|[a-z0-9]+(?:_[a-z0-9]+)+|[A-Z0-9]+(?:_[A-Z0-9]+)+"
    r"|[\w/-]+\.[a-z]{2,4}|\d+(?:\.\d+)?(?:px|r?em|vh|vw)|[a-z]{2,3}-[A-Z]{2}"
)
ICU_ARGUMENT = re.compile(r"\{\s*[\w.-]+\s*,\s*(?:plural|select|selectordinal)\s*,")
ICU_BRANCH = re.compile(r"\s*(?:offset:\d+\s*)?(?:=\d+|[\w-]+)\s*\{")
ICU_SIMPLE = re.compile(r"\{\s*[\w.-]+\s*(?:,[^{}]*)?\}")
ICU_CLOSING = re.compile(r"\s*\}")
ICU_QUOTED = re.compile(r"'[{}#|][^']*'?")
IN_FORM = re.compile(rf"(?P<number>#)|{MESSAGE.pattern}", re.DOTALL)
STRAY_BYTE = re.compile("[\udc80-\udcff]")  # as Python decodes a byte that is not UTF-8
LONE = re.compile("[\ud800-\udfff]")
LONE_NOT_BYTE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
MAX_DEPTH = 500


@dataclass(slots=True)
class _Level:
    """An object or an array that is open."""

    is_object: bool
    key: str = ""
    position: int = 0
    awaits_key: bool = False


def read(draft: Draft) -> None:
    """Make the strings that are texts segments. Raises BrokenError for what is not JSON."""
    text = draft.text
    try:
        value = json.loads(text.removeprefix("\ufeff")) if text.strip() else None
    except json.JSONDecodeError as error:
        raise BrokenError(f"{error.msg}, column {error.colno}", draft.line_of(error.pos)) from error
    except RecursionError as error:
        raise BrokenError("it is nested too deeply", 1) from error
    is_ascii = text.isascii() and re.search(r"\\u[0-9a-fA-F]{4}", text) is not None
    has_bytes = STRAY_BYTE.search(text) is not None
    encode = partial(_encoded, ascii_only=is_ascii, slash="\\/" in text, has_bytes=has_bytes)
    draft.escape = lambda char: json.dumps(char)[1:-1]
    is_extension = _is_extension(value)
    for start, end, keys, string in _strings(text):
        if not _is_text(string, keys, is_extension):
            continue
        is_icu = ICU_ARGUMENT.search(string) is not None
        draft.add_value(
            start,
            end,
            string,
            "message",
            partial(_icu_encoded, encode=encode, source=string),
            context=".".join(keys),
            notes=_notes(value, keys, is_extension),
            pieces=list(icu_pieces(string)) if is_icu else None,
        )


def _strings(text: str) -> Iterator[tuple[int, int, tuple[str, ...], str]]:
    """Yield the string values: where they are, between their quotes, their keys, and what they say."""
    decoder = json.JSONDecoder()
    levels: list[_Level] = []
    position = 1 if text.startswith("\ufeff") else 0
    while token := TOKEN.match(text, position):
        position = token.end()
        level = levels[-1] if levels else None
        if token["string"]:
            string, position = decoder.raw_decode(text, token.end() - 1)
            if level and level.awaits_key:
                level.key = string
            else:
                keys = tuple(each.key if each.is_object else str(each.position) for each in levels)
                yield token.end(), position - 1, keys, string
        elif token["mark"] in ("{", "["):
            levels.append(_Level(token["mark"] == "{", awaits_key=token["mark"] == "{"))
        elif token["mark"] in ("}", "]"):
            levels.pop()
        elif token["mark"] == "," and level:
            level.position += 1
            level.awaits_key = level.is_object
        elif token["mark"] == ":" and level:
            level.awaits_key = False


def _encoded(text: str, *, ascii_only: bool, slash: bool, has_bytes: bool) -> str:
    """Return a string's inside, escaped as the file does it; so are halves of surrogate pairs."""
    escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    escaped = (LONE_NOT_BYTE if has_bytes else LONE).sub(
        lambda found: f"\\u{ord(found[0]):04x}", escaped
    )
    return escaped.replace("/", "\\/") if slash else escaped


def _icu_encoded(text: str, *, encode: Callable[[str], str], source: str) -> str:
    """Return an encoded message. Raises RefusedError if its text would change its plural forms."""
    if ICU_ARGUMENT.search(source) and not ICU_QUOTED.search(source):
        text = re.sub(r"(?<!')'(?=[{}#|])", "''", text)  # one alone would begin a quotation
    if _arguments(text) != _arguments(source):
        raise RefusedError(MARKUP)
    return encode(text)


def _arguments(message: str) -> list[str]:
    if not ICU_ARGUMENT.search(message):
        return []
    return [piece.source for piece in icu_pieces(message) if piece.kind == "icu"]


def _is_extension(value: Any) -> bool:
    """Tell whether each message is an object that holds its text as `message`."""
    return isinstance(value, dict) and all(
        isinstance(each, dict) and isinstance(each.get("message"), str) for each in value.values()
    )


def _is_text(string: str, keys: tuple[str, ...], is_extension: bool) -> bool:
    if is_extension:
        return len(keys) == 2 and keys[1] == "message"
    if any(key.startswith("@") for key in keys):
        return False
    return not CONSTANT.fullmatch(string)


def _notes(value: Any, keys: tuple[str, ...], is_extension: bool) -> tuple[str, ...]:
    """Return what the developers say about a message."""
    about: Any = None
    if is_extension:
        about = value[keys[0]]
    elif len(keys) == 1 and isinstance(value, Mapping):
        about = value.get(f"@{keys[0]}")
    note = about.get("description") if isinstance(about, dict) else None
    return (note,) if isinstance(note, str) else ()


# ----------------------------------------------------------------------------------------------- ICU


def icu_pieces(message: str) -> Iterator[Piece]:
    """Yield the pieces of an ICU message: the arguments around the texts of plural and select forms.

    https://unicode-org.github.io/icu/userguide/format_parse/messages/. They keep their order.
    """
    position = start = 0
    open_forms = 0  # around the place

    def texts(end: int) -> Iterator[Piece]:
        yield from protected(message[start:end], MESSAGE if not open_forms else IN_FORM)

    while position < len(message):
        char = message[position]
        if message.startswith("''", position):  # an apostrophe
            position += 2
        elif char == "'" and (quoted := ICU_QUOTED.match(message, position)):
            position = quoted.end()
        elif found := ICU_ARGUMENT.match(message, position):
            yield from texts(position)
            branch = ICU_BRANCH.match(message, found.end())
            if branch is None or open_forms > MAX_DEPTH:
                yield _icu(message[position:])
                return
            yield _icu(message[position : branch.end()])
            open_forms += 1
            position = start = branch.end()
        elif simple := ICU_SIMPLE.match(message, position):
            position = simple.end()
        elif char == "}" and open_forms:
            yield from texts(position)
            end = position + 1
            open_forms -= 1
            if branch := ICU_BRANCH.match(message, end):
                end = branch.end()
                open_forms += 1
            elif closing := ICU_CLOSING.match(message, end):
                end = closing.end()
            yield _icu(message[position:end])
            position = start = end
        elif char in "{}":  # a brace without its partner
            yield from texts(position)
            yield _icu(char)
            position = start = position + 1
        else:
            position += 1
    yield from texts(len(message))


def _icu(source: str) -> Piece:
    return Piece(source, source, "icu", is_ordered=True)
