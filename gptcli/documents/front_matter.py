"""The front matter of Markdown, YAML or TOML: one line per key; only chosen keys are text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gptcli.documents.drafts import PROSE, Draft
from gptcli.documents.plain import Line

FENCES = {"---": "yaml", "+++": "toml"}
ENTRY = re.compile(
    r"""(?P<key>[\w-]+)[ \t]*(?P<sign>:|=)[ \t]+"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'|>\[{&*!#%@`].*?)[ \t]*(?:[ \t]#.*)?"""
)
PLAIN = re.compile(r"[^\W\d_](?:(?!: | #)[^\"'\\\n])*(?<![:\s])")  # needs no quotes in YAML
OTHER_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\[^\"\\]")  # than of a quote or a backslash
WORDS = {"true", "false", "yes", "no", "on", "off", "null", "none"}


def read(draft: Draft, lines: Sequence[Line], keys: Sequence[str]) -> int:
    """Make the values of keys segments. Return how many lines the front matter takes."""
    fence = lines[0].text.lstrip("\ufeff").rstrip() if lines else ""
    if fence not in FENCES:
        return 0
    for count, line in enumerate(lines[1:], 2):
        if line.text.rstrip() == fence or (fence == "---" and line.text.rstrip() == "..."):
            for entry in lines[1 : count - 1]:
                _add_entry(draft, entry, keys)
            return count
    return 0


def _add_entry(draft: Draft, line: Line, keys: Sequence[str]) -> None:
    found = ENTRY.fullmatch(line.text)
    if not found or found["key"].lower() not in keys:
        return
    value, is_toml = found["value"], found["sign"] == "="
    quote = value[0] if value[0] in "\"'" else ""
    if (is_toml and not quote) or (quote == '"' and OTHER_ESCAPE.search(value)):
        return
    inner = value[1:-1] if quote else value
    if quote == '"':
        inner = re.sub(r'\\(["\\])', r"\1", inner)
    elif quote and not is_toml:
        inner = inner.replace("''", "'")

    def encode(text: str) -> str:
        flat = " ".join(text.split())
        if quote == "'" and not (is_toml and "'" in flat):
            return "'" + (flat if is_toml else flat.replace("'", "''")) + "'"
        if not quote and PLAIN.fullmatch(flat) and flat.lower() not in WORDS:
            return flat
        return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'

    start = line.start + found.start("value")
    draft.add_value(
        start, start + len(value), inner, "value", encode, context=found["key"], pattern=PROSE
    )
