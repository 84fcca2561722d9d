"""Patterns of the strings that a JSON schema allows."""

from __future__ import annotations

import re
from typing import Any

from gptcli.engine.grammar.patterns import Pattern
from gptcli.engine.grammar.regex import Regex

_31_DAYS, _30_DAYS = r"(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])", r"(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
_DAY = rf"{_31_DAYS}|{_30_DAYS}|02-(?:0[1-9]|1\d|2[0-8])"
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
_DATE = rf"(?:\d{{4}}-(?:{_DAY})|{_LEAP})"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
    "ipv4": rf"{_BYTE}(?:\.{_BYTE}){{3}}",
    "hostname": rf"{_LABEL}(?:\.{_LABEL}){{0,3}}",
    "email": rf"[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_%+-]+)*@{_LABEL}(?:\.{_LABEL}){{1,3}}",
}
CHARACTER = (
    r'[ !#-\[\]-\x7E\u00A0-\uD7FF\uE000-\U0010FFFF] | "\\" '
    r'(["\\/bfnrt] | "u" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}))'
)


def string_pattern(schema: dict[str, Any], path: str) -> Pattern | None:
    """Return the pattern of what is between the quotes; None if any text may be there."""
    pattern, form = schema.get("pattern"), schema.get("format")
    if pattern is not None:
        where = f"the pattern at {path}"
        # (?<name>…) is how JavaScript writes Python's (?P<name>…).
        pythonic = re.sub(r"\(\?<(?![=!])", "(?P<", pattern)
        return Regex(pythonic, re.ASCII, where).anywhere()
    return Regex(FORMATS[form]).whole() if form in FORMATS else None
