"""A JSON schema as a document: its references, and schemas that say what two of its parts say."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import unquote

from gptcli.engine.grammar.keywords import (
    MEANINGFUL,
    check_shape,
    constants_of,
    listed,
    required_names,
    types_of,
    without,
)
from gptcli.errors import UsageError

MAX_STEPS = 20_000  # sub-schemas looked at


class SchemaDocument:
    """One JSON schema, read. Raises UsageError."""

    def __init__(self, source: str) -> None:
        try:
            self.root = json.loads(source, parse_constant=_finite, parse_float=_number)
        except RecursionError as error:
            raise UsageError("the JSON schema is nested too deeply") from error
        except ValueError as error:
            raise UsageError(f"the JSON schema is not JSON: {error}") from error
        self._steps = 0

    def step(self) -> None:
        """Count a sub-schema that is looked at; raise UsageError when they are too many."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise UsageError("the JSON schema is too large, or refers to itself without end")

    def resolve(self, reference: str) -> Any:
        """Return the sub-schema that a $ref names; nothing is ever fetched."""
        base = self.root.get("$id", "") if isinstance(self.root, dict) else ""
        document, _, fragment = reference.partition("#")
        if document and document != str(base).rstrip("#"):
            raise UsageError(f'"$ref": "{reference}" is in another document, and none is fetched')
        found = self.root
        if fragment and not fragment.startswith("/"):
            found = _anchored(found, fragment)
        for step in fragment.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, dict) and key in found:
                found = found[key]
            else:
                found = None
        if found is None:
            raise UsageError(f'"$ref": "{reference}" names nothing in the JSON schema')
        return found

    def overlap(self, first: Any, second: Any, depth: int = 0) -> bool:
        """Tell whether a value may satisfy both, as far as a look at the surface shows."""
        first, second = self._target(first), self._target(second)
        if depth > 2 or not (isinstance(first, dict) and isinstance(second, dict)):
            return first is not False and second is not False
        for schema in (first, second):
            check_shape(schema, "oneOf")
        constants = [constants_of(first), constants_of(second)]
        if constants[0] is not None and constants[1] is not None:
            return not constants[0].isdisjoint(constants[1])
        kinds = [{kind.replace("integer", "number") for kind in types_of(s)} for s in (first, second)]
        if kinds[0].isdisjoint(kinds[1]):
            return False
        ours, theirs = first.get("properties", {}), second.get("properties", {})
        return all(
            self.overlap(ours.get(name, True), theirs.get(name, True), depth + 1)
            for name in required_names(first)
            if name in required_names(second)
        )

    def _target(self, schema: Any) -> Any:
        if not (isinstance(schema, dict) and isinstance(schema.get("$ref"), str)):
            return schema
        return self.resolve(schema["$ref"]) if MEANINGFUL.isdisjoint(without(schema, "$ref")) else schema

    def merged(self, first: Any, second: Any, path: str) -> Any:
        """Return a schema for the values that satisfy both."""
        self.step()
        if first is True or first == {}:
            return second
        if second is True or second == {}:
            return first
        if first is False or second is False:
            return False
        for schema in (first, second):
            check_shape(schema, path)
        for schema, other in ((first, second), (second, first)):
            if "$ref" in schema:
                target = self.resolve(schema["$ref"])
                rest = self.merged(without(schema, "$ref"), target, path)
                return self.merged(rest, other, path)
        merged = dict(first)
        for keyword, value in second.items():
            if keyword not in merged or keyword not in MEANINGFUL or merged[keyword] == value:
                merged[keyword] = value
            else:
                merged[keyword] = self._both(keyword, merged[keyword], value, path)
        for side, other in ((first, second), (second, first)):
            if "additionalProperties" in side:
                ours, theirs = side.get("properties", {}), other.get("properties", {})
                for name in theirs.keys() - ours.keys():
                    joint = self.merged(merged["properties"][name], side["additionalProperties"], path)
                    merged["properties"] = {**merged["properties"], name: joint}
        return merged

    def _both(self, keyword: str, first: Any, second: Any, path: str) -> Any:
        """Return the value of a keyword that asks for what two of its values ask for."""
        if keyword in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"):
            return max(first, second)
        if keyword in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"):
            return min(first, second)
        if keyword == "properties":
            names = {**first, **second}
            return {
                name: self.merged(first.get(name, True), second.get(name, True), f"{path}/{name}")
                for name in names
            }
        if keyword == "required":
            return [*listed(first), *listed(second)]
        if keyword == "allOf":
            return [*first, *second]
        if keyword in ("items", "additionalProperties") and not isinstance(first, list):
            return self.merged(first, second, f"{path}/{keyword}")
        if keyword == "type":
            kinds = [
                {*listed(value), *(["integer"] if "number" in value else [])}
                for value in (first, second)
            ]
            both = kinds[0] & kinds[1]
            return sorted(both - {"integer"} if "number" in both else both)
        if keyword == "enum":
            texts = {json.dumps(value, sort_keys=True) for value in second}
            return [value for value in first if json.dumps(value, sort_keys=True) in texts]
        if keyword in ("anyOf", "oneOf"):
            return [self.merged(a, b, f"{path}/{keyword}") for a in first for b in second]
        raise UsageError(
            f'the JSON schema combines two values of "{keyword}" at {path}, which is not supported'
        )


def _number(text: str) -> int | float:
    """Return a number of the schema; 1.0 is 1 in JSON."""
    number = _finite(text)
    return int(number) if number.is_integer() else number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _anchored(schema: Any, name: str) -> Any:
    """Return the sub-schema whose $anchor is `name`."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if name in (found.get("$anchor"), found.get("$dynamicAnchor")):
                return found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found
    return None
