"""The keywords of JSON schemas: which there are, what they may say, and what they say about types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gptcli.errors import UsageError

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")

# What says which type a schema without `type` is about.
KEYWORDS_OF_TYPE = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
COMBINING = ("$ref", "allOf", "anyOf", "oneOf", "type", "enum", "const")
# Keywords that the compiler cannot follow, with the values that ask for nothing.
NOT_FOLLOWED: dict[str, tuple[Any, ...]] = {
    "not": (False,),
    "contains": (True,),
    "uniqueItems": (False,),
    "patternProperties": ({},),
    "propertyNames": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
    "$dynamicRef": (),
    "$recursiveRef": (),
}
SHAPES: dict[str, tuple[str, tuple[type, ...]]] = {
    **dict.fromkeys(("properties", "patternProperties"), ("an object", (dict,))),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "enum", "prefixItems"), ("a list", (list,))),
    **dict.fromkeys(("$ref", "pattern", "format"), ("text", (str,))),
    **dict.fromkeys(("minimum", "maximum", "multipleOf"), ("a number", (int, float))),
    **dict.fromkeys(("exclusiveMinimum", "exclusiveMaximum"), ("a number", (int, float, bool))),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), ("a count", (int,))),
    **dict.fromkeys(("minProperties", "maxProperties"), ("a count", (int,))),
    "required": ("a list", (list, bool)),
    "type": ("a type", (str, list)),
}
WITH_OTHER_NAMES = ("patternProperties", "propertyNames")
MEANINGFUL = frozenset(
    (*COMBINING, *NOT_FOLLOWED, "if", "then", "else", "additionalItems", "unevaluatedItems")
).union(*KEYWORDS_OF_TYPE.values())


class NoValueError(Exception):
    """No value satisfies the schema here."""


def check_shape(schema: Any, path: str) -> None:
    """Raise UsageError if the schema is none, or has a keyword with a value of the wrong type."""
    if not isinstance(schema, dict):
        raise UsageError(f"the JSON schema at {path} is neither an object nor true or false")
    for keyword, value in schema.items():
        what, kinds = SHAPES.get(keyword, ("", (object,)))
        fits = type(value) in kinds or object in kinds
        if what == "a count":
            fits = fits and value >= 0
        elif what == "a type":
            fits = fits and all(name in TYPES for name in listed(value))
        if not fits:
            shown = json.dumps(value)[:40]
            raise UsageError(f'the JSON schema has "{keyword}" at {path} that is not {what}: {shown}')


def without(schema: dict[str, Any], keyword: str) -> dict[str, Any]:
    """Return the schema less one keyword."""
    return {name: value for name, value in schema.items() if name != keyword}


def listed(value: Any) -> list[Any]:
    """Return the value, in a list if it is none."""
    return value if isinstance(value, list) else [value]


def required_names(schema: dict[str, Any]) -> list[str]:
    """Return the properties that an object must have."""
    names = schema.get("required")  # true or false in draft 3
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def types_of(schema: dict[str, Any]) -> Sequence[str]:
    """Return the types that a value may have: those named, or those that the keywords are about."""
    if "type" in schema:
        return listed(schema["type"])
    about = [
        kind for kind, keywords in KEYWORDS_OF_TYPE.items() if not schema.keys().isdisjoint(keywords)
    ]
    return about or [kind for kind in TYPES if kind != "integer"]


def constants_of(schema: dict[str, Any]) -> set[str] | None:
    """Return the values of const or enum, as JSON; None if the schema has neither."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return {json.dumps(value, sort_keys=True) for value in values} if isinstance(values, list) else None


def is_of_type(value: Any, kind: str) -> bool:
    """Tell whether the value has a type of JSON schemas."""
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "null":
            return value is None
    return isinstance(value, {"object": dict, "array": list, "string": str}[kind])
