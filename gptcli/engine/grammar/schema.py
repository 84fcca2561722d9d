"""Compiles a JSON schema to the rules of the JSON texts that it allows."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gptcli.engine.grammar.document import SchemaDocument
from gptcli.engine.grammar.gbnf import read_gbnf
from gptcli.engine.grammar.json_rules import JsonRules, json_text
from gptcli.engine.grammar.keywords import (
    MEANINGFUL,
    NOT_FOLLOWED,
    TYPES,
    WITH_OTHER_NAMES,
    NoValueError,
    check_shape,
    is_of_type,
    required_names,
    types_of,
    without,
)
from gptcli.engine.grammar.numbers import FRACTION_DIGITS, INTEGER, NUMBER, bounds, number_pattern
from gptcli.engine.grammar.patterns import Either, Pattern, literal
from gptcli.engine.grammar.recursion import left_recursion, matching_rules
from gptcli.engine.grammar.regex import Regex
from gptcli.engine.grammar.rules import Encoder, quoted
from gptcli.engine.grammar.strings import CHARACTER, FORMATS, string_pattern
from gptcli.errors import UsageError

MAX_PAIRS = 1000  # alternatives of oneOf compared with each other


class SchemaCompiler:
    """Compiles one JSON schema (drafts 4 to 2020-12). Raises UsageError."""

    def __init__(self, source: str) -> None:
        self._document = SchemaDocument(source)
        self._rules = JsonRules()
        self._references: dict[str, str] = {}  # rules of $ref targets
        self.unsupported: dict[str, None] = {}

    def grammar(self) -> str:
        """Return the grammar; `unsupported` then names the keywords that it does not follow."""
        try:
            value = self._value(self._document.root, "#")
        except RecursionError as error:
            raise UsageError(
                "the JSON schema is nested too deeply, or refers to itself without end"
            ) from error
        except NoValueError as error:
            raise UsageError("no value satisfies the JSON schema") from error
        self._rules.add(value, "root")
        text = self._rules.text()
        rules = read_gbnf(text)
        if left_recursion(rules)[0] is not None:
            raise UsageError("the JSON schema refers to itself without end")
        if "root" not in matching_rules(rules, with_characters=True):
            raise UsageError("no value of finite size satisfies the JSON schema")
        return text

    def _value(self, schema: Any, path: str) -> str:
        """Return a term for the values that satisfy the schema: a name or a literal."""
        self._document.step()
        if schema is True or (isinstance(schema, dict) and MEANINGFUL.isdisjoint(schema)):
            return self._any()
        if schema is False:
            raise NoValueError
        check_shape(schema, path)
        if "if" in schema and ("then" in schema or "else" in schema):
            self.unsupported["if"] = None
        for keyword in NOT_FOLLOWED:
            if keyword in schema and keyword not in WITH_OTHER_NAMES:
                self._ignore(keyword, schema)
        if "$ref" in schema:
            return self._reference(schema, path)
        if "allOf" in schema:
            rest = without(schema, "allOf")
            for n, part in enumerate(schema["allOf"]):
                rest = self._document.merged(rest, part, f"{path}/allOf/{n}")
            return self._value(rest, path)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._alternatives(schema, keyword, path)
        if "const" in schema:
            return self._literals([schema["const"]], schema)
        if "enum" in schema:
            return self._literals(schema["enum"], schema)
        return self._union(
            functools.partial(self._typed, schema, kind, path) for kind in types_of(schema)
        )

    def _ignore(self, keyword: str, schema: dict[str, Any]) -> None:
        value = schema[keyword]
        if not any(value is harmless or value == harmless for harmless in NOT_FOLLOWED.get(keyword, ())):
            self.unsupported[keyword] = None

    def _union(self, options: Iterable[Callable[[], str]]) -> str:
        """Return a term for the values of all options that have any."""
        terms: dict[str, None] = {}
        for option in options:
            try:
                terms[option()] = None
            except NoValueError:
                continue
        if not terms:
            raise NoValueError
        return next(iter(terms)) if len(terms) == 1 else self._rules.add(" | ".join(terms))

    def _alternatives(self, schema: dict[str, Any], keyword: str, path: str) -> str:
        parts, rest = schema[keyword], without(schema, keyword)
        pairs = [(a, b) for n, a in enumerate(parts) for b in parts[:n]] if keyword == "oneOf" else []
        if len(pairs) > MAX_PAIRS or any(self._document.overlap(*pair) for pair in pairs):
            self.unsupported["oneOf"] = None

        def option(n: int) -> str:
            where = f"{path}/{keyword}/{n}"
            has_more = not MEANINGFUL.isdisjoint(rest)
            return self._value(
                self._document.merged(rest, parts[n], where) if has_more else parts[n], where
            )

        return self._union(functools.partial(option, n) for n in range(len(parts)))

    def _reference(self, schema: dict[str, Any], path: str) -> str:
        target = self._document.resolve(schema["$ref"])
        siblings = without(schema, "$ref")
        if not MEANINGFUL.isdisjoint(siblings):
            return self._value(self._document.merged(siblings, target, path), path)
        reference = schema["$ref"]
        if reference not in self._references:
            name = self._references[reference] = self._rules.new_name()
            self._rules.add(self._value(target, reference), name)
        return self._references[reference]

    # --------------------------------------------------------------------------- one type

    def _typed(self, schema: dict[str, Any], kind: str, path: str) -> str:
        match kind:
            case "object":
                return self._object(schema, path)
            case "array":
                return self._array(schema, path)
            case "string":
                return self._string(schema, path)
            case "number" | "integer":
                return self._number(schema, kind)
            case "boolean":
                return self._rules.part("boolean", lambda: '"true" | "false"')
            case _:
                return '"null"'

    def _any(self) -> str:
        return self._rules.part("value", self._any_body)

    def _any_body(self) -> str:
        kinds = ("object", "array", "string", "number", "boolean")
        return " | ".join([*(self._typed({}, kind, "#") for kind in kinds), '"null"'])

    def _literals(self, values: Sequence[Any], schema: dict[str, Any]) -> str:
        """Return a term for the JSON texts of the values that are of the schema's type."""
        kinds = types_of(schema) if "type" in schema else TYPES
        fitting = [value for value in values if any(is_of_type(value, kind) for kind in kinds)]
        for keyword in schema:
            if keyword in MEANINGFUL - {"type", "enum", "const"} - NOT_FOLLOWED.keys():
                self.unsupported[f"{keyword} beside enum or const"] = None
        if not fitting:
            raise NoValueError
        return self._pattern(Either(tuple(literal(json_text(value)) for value in fitting)))

    def _pattern(self, pattern: Pattern, encode: Encoder | None = None) -> str:
        return self._rules.add_pattern(pattern, encode=encode)

    def _string(self, schema: dict[str, Any], path: str) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        pattern, form = schema.get("pattern"), schema.get("format")
        if form is not None and (pattern is not None or form not in FORMATS):
            self.unsupported[f"format: {form}"] = None
        found = string_pattern(schema, path)
        if found is None:
            character = self._rules.part("character", lambda: CHARACTER)
            return self._rules.add(f'"\\"" {self._rules.counted(character, least, most, path)} "\\""')
        for keyword in ("minLength", "maxLength"):
            if schema.get(keyword):
                self.unsupported[f"{keyword} beside pattern or format"] = None
        name = self._pattern(found, self._rules.json_characters)
        return self._rules.add(f'"\\"" {name} "\\""')

    def _number(self, schema: dict[str, Any], kind: str) -> str:
        step = schema.get("multipleOf")
        if step is not None and not (kind == "integer" and step == 1):
            self.unsupported["multipleOf"] = None
        low, high = bounds(schema)
        if low is None and high is None:
            pattern = INTEGER if kind == "integer" else NUMBER
            return self._rules.part(kind, lambda: self._pattern(Regex(pattern).whole()))
        return self._pattern(number_pattern(low, high, 0 if kind == "integer" else FRACTION_DIGITS))

    # ------------------------------------------------------------------------ array, object

    def _array(self, schema: dict[str, Any], path: str) -> str:
        prefix, rest = schema.get("prefixItems", []), schema.get("items")
        if isinstance(rest, list):  # before draft 2020-12
            prefix, rest = rest, schema.get("additionalItems")
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if rest is None:
            rest = least > len(prefix) or not prefix
        first = [self._value(item, f"{path}/items/{n}") for n, item in enumerate(prefix[:most])]
        item = None
        if most is None or most > len(first):
            with contextlib.suppress(NoValueError):
                item = self._value(rest, f"{path}/items")
        return self._rules.enclosed("[]", first, item, least, most, path)

    def _object(self, schema: dict[str, Any], path: str) -> str:
        properties, required = schema.get("properties", {}), required_names(schema)
        others = schema.get("additionalProperties", not properties and not required)
        unnamed = schema.get("additionalProperties", True)
        properties = {**properties, **{name: unnamed for name in required if name not in properties}}
        members = self._members(properties, required, path)
        extra = self._extra(others, tuple(properties), path)
        if extra is not None:
            for keyword in WITH_OTHER_NAMES:
                if keyword in schema:
                    self._ignore(keyword, schema)
        least, most = schema.get("minProperties", 0), schema.get("maxProperties")
        if not members and extra is not None and (least or most is not None):
            return self._rules.enclosed("{}", [], None if most == 0 else extra, least, most, path)
        if least > sum(needed for _, needed in members):
            self.unsupported["minProperties"] = None
        if most is not None and (extra is not None or most < len(members)):
            self.unsupported["maxProperties"] = None
        return self._rules.ordered_object(members, extra)

    def _members(
        self, properties: dict[str, Any], required: Sequence[str], path: str
    ) -> list[tuple[str, bool]]:
        """Return (term, whether it must be there) of each property that may be there."""
        members = []
        for name, schema in properties.items():
            try:
                value = self._value(schema, f"{path}/properties/{name}")
            except NoValueError:
                if name in required:
                    raise
                continue
            term = self._rules.add(f"{quoted(json_text(name) + ':')} {self._rules.space()} {value}")
            members.append((term, name in required))
        return members

    def _extra(self, schema: Any, names: Sequence[str], path: str) -> str | None:
        """Return a term for a property of another name, or None if there may be none."""
        try:
            value = self._value(schema, f"{path}/additionalProperties")
        except NoValueError:
            return None
        key = self._rules.other_key(names) if names else self._typed({}, "string", path)
        return self._rules.add(f'{key} ":" {self._rules.space()} {value}')
