"""gettext PO and POT files: messages without a translation, or with one that is fuzzy.

In a file of another language than the target, that is all of them: a message that gets no translation
has none any more. Of the header, the language and its plural forms are set. All else stays as it is:
comments, references, the header's other fields, obsolete entries.
https://www.gnu.org/software/gettext/manual/html_node/PO-Files.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from gptcli.documents.document import Patch, RefusedError
from gptcli.documents.drafts import (
    MESSAGE,
    BrokenError,
    Cut,
    Draft,
    Piece,
    cut,
    joined,
    parts_of,
    protected,
)
from gptcli.documents.plain import Line, lines_of
from gptcli.documents.plurals import PluralRule, rule_in, rule_of
from gptcli.documents.segments import PluralForm
from gptcli.documents.wrapping import Run, width_of
from gptcli.errors import UsageError
from gptcli.languages import Language, find_language

KEYWORD = re.compile(r'\s*(msgctxt|msgid_plural|msgid|msgstr(?:\[(\d{1,3})\])?)\s*(?=")')
STRING = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*')
ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)")
NAMED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
ESCAPED = {char: f"\\{name}" for name, char in NAMED.items()} | {"\\": "\\\\", '"': '\\"'}
WIDTH = 79  # columns, of gettext's tools
LOCALES = {"zh": "zh_CN", "zh-Hans": "zh_CN", "zh-Hant": "zh_TW", "sr-Latn": "sr@latin"}
LOCALE_TAGS = {"sr@latin": "sr-Latn"}

_Write = Callable[[Sequence[list[Run] | None], bool], str]


@dataclass(slots=True)
class _Value:
    """A keyword with its strings; `end` is behind the last quote."""

    start: int
    end: int
    line: int
    text: str = ""
    lines: int = 1


@dataclass(slots=True)
class _Entry:
    comments: list[Line] = field(default_factory=list)
    values: dict[str, _Value] = field(default_factory=dict)  # by keyword, with [n]

    @property
    def msgstrs(self) -> list[_Value]:
        return [value for keyword, value in self.values.items() if keyword.startswith("msgstr")]

    @property
    def is_header(self) -> bool:
        return self.values["msgid"].text == "" and "msgctxt" not in self.values

    @property
    def flags(self) -> Line | None:
        return next((line for line in self.comments if line.text.startswith("#,")), None)

    @property
    def is_fuzzy(self) -> bool:
        return self.flags is not None and "fuzzy" in _flag_names(self.flags)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(line.text[2:].strip() for line in self.comments if line.text[:2] in ("#.", "# "))


def read(draft: Draft, language: str, *, all_entries: bool) -> None:
    """Make messages segments, one for each plural form of the language.

    Raises BrokenError for what is no PO file.
    """
    entries = list(_entries(draft.text))
    header = next((entry for entry in entries if entry.is_header), None)
    fields = header.msgstrs[0].text if header else ""
    stated = _stated_language(fields)
    is_other = bool(stated and language) and not is_same_language(stated, language)
    is_told = bool(stated) and not is_other
    rule = (rule_in(fields) if is_told or not language else None) or rule_of(language)
    draft.recode = _declare_utf8
    if header and language:
        _patch_header(draft, header, "" if is_told else language, rule)
    wraps = not any(
        value.lines == 1 and value.end - value.start > WIDTH + 10
        for entry in entries
        for value in entry.values.values()
    )
    for entry in entries:
        is_done = all(value.text for value in entry.msgstrs) and not entry.is_fuzzy and not is_other
        if not entry.is_header and (all_entries or not is_done):
            _add_entry(draft, entry, rule.forms, wraps=wraps, is_other=is_other)


def _add_entry(
    draft: Draft, entry: _Entry, forms: Sequence[PluralForm], *, wraps: bool, is_other: bool
) -> None:
    msgid, plural = entry.values["msgid"], entry.values.get("msgid_plural")
    context = entry.values["msgctxt"].text if "msgctxt" in entry.values else ""
    cuts: list[tuple[_Value, PluralForm | None, Cut]] = []
    for form in forms if plural else (None,):
        is_singular = plural is None or (form and form.count > 1 and 1 in form.examples)
        source = msgid if is_singular else plural
        assert source is not None
        pieces = list(protected(source.text, MESSAGE))
        if form and len(form.examples) == 1:
            pieces = [replace(piece, is_optional=_is_number(piece)) for piece in pieces]
        if (found := cut(pieces)) is None:
            return
        cuts.append((source, form, found))
    indices = []
    for source, form, found in cuts:
        present = [] if is_other else entry.msgstrs[form.index if form else 0 :][:1]
        indices.append(
            draft.segment(
                source.start,
                source.end,
                parts_of(found.core),
                "message",
                context=context,
                notes=entry.notes,
                plural=form,
                present=present[0].text or None if present else None,
                pattern=MESSAGE,
            )
        )
    around = [
        ("".join(p.source for p in found.lead), "".join(p.source for p in found.trail))
        for _, _, found in cuts
    ]
    writer = _EntryWriter(draft, entry, around, bool(plural), wraps)
    places = tuple(indices)
    msgstrs = entry.msgstrs

    def patch(start: int, end: int, write: _Write, otherwise: str) -> None:
        draft.patches.append(Patch(start, end, places, write, otherwise if is_other else None))

    patch(msgstrs[0].start, msgstrs[-1].end, writer.msgstr, writer.written([""] * len(places)))
    patch(*writer.flags_range, writer.flags, writer.flag_line())
    for line in entry.comments:
        if line.text.startswith("#|"):
            patch(line.start, line.start + len(line.text + line.end), writer.previous, "")


def _is_number(piece: Piece) -> bool:
    return piece.kind == "variable" and re.search(r"[diu]$|^\{", piece.source) is not None


class _EntryWriter:
    """Writes the translation of an entry, and what its comments say of it."""

    def __init__(
        self,
        draft: Draft,
        entry: _Entry,
        around: Sequence[tuple[str, str]],
        is_plural: bool,
        wraps: bool,
    ) -> None:
        self._draft, self._entry, self._around = draft, entry, around
        self._is_plural, self._wraps = is_plural, wraps
        flags = entry.flags
        first = min(value.start for value in entry.values.values())
        self.flags_range = (
            (flags.start, flags.start + len(flags.text + flags.end)) if flags else (first, first)
        )

    def msgstr(self, translations: Sequence[list[Run] | None], _is_doubtful: bool = False) -> str:
        present = self._entry.msgstrs
        texts = []
        for place, (runs, (lead, trail)) in enumerate(zip(translations, self._around, strict=True)):
            if runs is not None:
                texts.append(lead + joined(runs) + trail)
            elif len(present) == len(translations) and present[place].text:
                texts.append(present[place].text)
            else:
                raise RefusedError("another plural form has no translation")
        return self.written(texts)

    def written(self, texts: Sequence[str]) -> str:
        """Return the msgstr, or all its plural forms, with their keywords."""
        keywords = [f"msgstr[{n}]" for n in range(len(texts))] if self._is_plural else ["msgstr"]
        return self._draft.newline.join(map(self._string, keywords, texts))

    def _string(self, keyword: str, text: str) -> str:
        escaped = _escaped(text)
        is_long = width_of(f'{keyword} "{escaped}"') > WIDTH
        was_several = self._entry.values["msgid"].lines > 1 and "\n" in text[:-1]
        if not (was_several or (is_long and self._wraps)):
            return f'{keyword} "{escaped}"'
        lines = [f'{keyword} ""']
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            lines += [f'"{part}"' for part in _folded(_escaped(line), WIDTH - 2)]
        return self._draft.newline.join(lines)

    def flags(self, translations: Sequence[list[Run] | None], is_doubtful: bool) -> str:
        self.msgstr(translations)
        return self.flag_line(is_fuzzy=is_doubtful)

    def flag_line(self, *, is_fuzzy: bool = False) -> str:
        line = self._entry.flags
        names = [name for name in _flag_names(line) if name != "fuzzy"] if line else []
        if is_fuzzy:
            names = ["fuzzy", *names]
        if line and names == _flag_names(line):
            return line.text + line.end
        return f"#, {', '.join(names)}{self._draft.newline}" if names else ""

    def previous(self, translations: Sequence[list[Run] | None], _is_doubtful: bool) -> str:
        """Drop the message that a fuzzy translation was made for."""
        self.msgstr(translations)
        return ""


def _flag_names(line: Line) -> list[str]:
    return [name.strip() for name in line.text[2:].split(",") if name.strip()]


def _folded(text: str, width: int) -> list[str]:
    """Return a long string's parts, broken behind spaces."""
    parts = [""]
    for word in re.findall(r"\S*\s+|\S+", text):
        if parts[-1] and width_of(parts[-1] + word) > width:
            parts.append("")
        parts[-1] += word
    return parts


# -------------------------------------------------------------------------------------------- reading


def _entries(text: str) -> Iterator[_Entry]:
    """Yield the entries that are not obsolete."""
    entry = _Entry()
    value: _Value | None = None  # takes further strings
    for number, line in enumerate(lines_of(text), 1):
        body = line.text.lstrip("\ufeff \t")
        found = KEYWORD.match(body)
        if not body.strip() or body.startswith("#"):
            value = None
            if entry.values and (body.startswith("#") or entry.msgstrs):
                yield _complete(entry, number)
                entry = _Entry()
            if body.startswith("#") and not body.startswith("#~"):
                entry.comments.append(Line(line.start + len(line.text) - len(body), body, line.end))
            continue
        offset = line.start + len(line.text) - len(body)
        if found:
            keyword = found[1]
            if keyword in ("msgid", "msgctxt") and entry.msgstrs:
                yield _complete(entry, number)
                entry = _Entry()
            if keyword in entry.values:
                raise BrokenError(f"{keyword} is there twice", number)
            value = entry.values[keyword] = _Value(offset + found.start(1), 0, number, lines=0)
        elif value is None:
            raise BrokenError("neither a keyword nor a string", number)
        string = STRING.fullmatch(body, found.end() if found else 0)
        if string is None:
            raise BrokenError("a string is not closed, or something follows it", number)
        assert value is not None
        value.text += ESCAPE.sub(_unescaped, string[1])
        value.end = offset + string.end(1) + 1
        value.lines += 1
    if entry.values:
        yield _complete(entry, text.count("\n") + 1)


def _complete(entry: _Entry, line: int) -> _Entry:
    for keyword, missing in (("msgid", "msgid"), ("msgstr", "msgstr")):
        if not any(each.startswith(keyword) and each != "msgid_plural" for each in entry.values):
            raise BrokenError(f"an entry has no {missing}", line)
    return entry


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    if code[0] in "01234567":
        return chr(int(code, 8))
    return NAMED.get(code, code)


def _escaped(text: str) -> str:
    return "".join(ESCAPED.get(char, char) for char in text)


# --------------------------------------------------------------------------------------------- header


def _stated_language(fields: str) -> str:
    found = re.search(r"^Language:[ \t]*([\w@-]+)", fields, re.MULTILINE)
    return found[1] if found else ""


def is_same_language(locale: str, tag: str) -> bool:
    """Tell whether a locale of gettext (zh_TW, sr@latin) has the language and script of a BCP 47 tag."""
    stated, meant = (_known(name.replace("_", "-")) for name in (LOCALE_TAGS.get(locale, locale), tag))
    if stated is None or meant is None:
        return _base(locale) == _base(tag)
    return (stated.primary, stated.script) == (meant.primary, meant.script)


def _known(tag: str) -> Language | None:
    try:
        return find_language(tag.partition("@")[0])
    except UsageError:
        return None


def _base(language: str) -> str:
    return re.split(r"[-_@]", language.lower())[0]


def _patch_header(draft: Draft, header: _Entry, language: str, rule: PluralRule) -> None:
    """Patch the fields that depend on the language; "": it is stated already."""
    value = header.msgstrs[0]
    raw = draft.text[value.start : value.end]
    fields = {"Language": LOCALES.get(language, language.replace("-", "_"))} if language else {}
    if language or not rule_in(value.text):
        fields["Plural-Forms"] = str(rule)
    added = ""
    for name in ("Language", "Plural-Forms"):
        line = f'"{name}: {fields[name]}\\n"' if name in fields else ""
        # On a line of its own, as gettext writes it, with the line end before it; or between others.
        own = re.search(rf'[\r\n]+[ \t]*("{name}:(?:[^"\\]|\\[^n]|"\s*")*\\n")', raw)
        within = own or re.search(rf'(?:"|\\n)({name}:(?:[^"\\]|\\[^n])*\\n)', raw)
        if within is None:
            added += draft.newline + line if line else ""
            continue
        start, end = (own.start(), own.end()) if own else within.span(1)
        lead = raw[start : within.start(1)]
        written = lead + (line if own else line[1:-1]) if line else raw[start:end]
        _patch_anyway(draft, value.start + start, value.start + end, written)
    if added:
        _patch_anyway(draft, value.end, value.end, added)
    if (place := raw.find("charset=CHARSET")) >= 0:
        start = value.start + place
        _patch_anyway(draft, start, start + len("charset=CHARSET"), "charset=UTF-8")
    writer = _EntryWriter(draft, header, (), is_plural=False, wraps=False)
    _patch_anyway(draft, *writer.flags_range, writer.flag_line())


def _patch_anyway(draft: Draft, start: int, end: int, text: str) -> None:
    """Write a text there if anything is translated at all."""
    draft.patches.append(Patch(start, end, (), lambda _translations, _is_doubtful: text))


def _declare_utf8(text: str) -> str:
    return re.sub(r'("Content-Type:[^"\n]*charset=)[\w.:-]+', r"\1UTF-8", text, count=1)
