# ruff: noqa: E501 (tables)
"""JSON schemas: what is let through, and what is refused."""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.engine.grammar import check_gbnf, unsupported_keywords
from gptcli.errors import UsageError
from tests.json_schema_check import satisfies
from tests.llama_matcher import Matcher, quick, refused, schema

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name"],
    "additionalProperties": False,
}
LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"value": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}},
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/node",
}
TAGGED = {
    "oneOf": [
        {"properties": {"kind": {"const": "n"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
        {"properties": {"kind": {"const": "s"}}, "required": ["kind"]},
    ]
}
CASES: list[tuple[Any, list[str], list[str]]] = [
    (
        PERSON,
        ['{"name": "x"}', '{"name":"","age":120}', '{"name": "é", "age": 0, "tags": ["a", "b"]}', '{\n  "name": "x"\n}'],
        ["{}", '{"age": 1}', '{"name":"x","age":121}', '{"name":"x","age":-1}', '{"name":"x","age":07}', '{"name":"x","tags":[]}', '{"name":"x","tags":["a","a","a"]}', '{"name":"x","x":1}', '{"name":1}'],
    ),
    (LIST, ['{"value":1}', '{"value":1,"next":{"value":2,"next":{"value":3}}}'], ['{"next":{"value":1}}']),
    (TAGGED, ['{"kind":"n","n":1}', '{"kind":"s"}'], ['{"kind":"n"}', '{"kind":"s","n":1}', "{}"]),
    (
        {"enum": ['a"b', "c\nd", "é", "\ud800", 3, 1.5, None, True, {"k": [1]}]},
        ['"a\\"b"', '"c\\nd"', '"é"', '"\\ud800"', "3", "1.5", "null", "true", '{"k": [1]}'],
        ['"a"', "4", "false"],
    ),
    ({"type": "string", "enum": ["a", 1]}, ['"a"'], ["1"]),
    ({"const": {"a": "b"}}, ['{"a": "b"}'], ["{}"]),
    (
        True,
        ['{"a":[1,{"b":null}]}', '"x"', "-1.5e+10", "[]", "{ }", "true", "0", "-0.5", '{\n\t"a": [\n 1 ]\n}'],
        ["{a:1}", "01", "'x'", "nul", "1.", '"\t"', '"\\x"', '"\\ud800"', "[1,]", " 1", "1 "],
    ),
    ({}, ["1", "[]"], ["x"]),
    ({"title": "only words"}, ["1", "[]"], ["x"]),
    ({"type": "object"}, ["{}", '{"a": 1}'], ["[]"]),
    ({"type": ["integer", "null"], "minimum": 3}, ["3", "12", "null"], ["2", "-3", "3.5"]),
    ({"type": "integer", "minimum": -5, "maximum": 17}, [*map(str, range(-5, 18))], ["-6", "18", "-0", "00", "1.0"]),
    ({"type": "integer", "exclusiveMinimum": 98, "exclusiveMaximum": 1002}, ["99", "100", "1001"], ["98", "1002"]),
    ({"type": "integer", "minimum": 10, "exclusiveMinimum": True}, ["11", "99999"], ["10", "9"]),
    ({"type": "integer", "maximum": -1}, ["-1", "-100"], ["0", "1"]),
    ({"type": "integer", "minimum": 10**20}, [str(10**20), str(2 * 10**20)], [str(10**20 - 1)]),
    ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "1", "0.5", "1.0", "0.123456"], ["1.1", "-0.1", "1.000001"]),
    ({"exclusiveMinimum": -1.5, "maximum": 2.25}, ["-1.4", "2.25", "-1", "0", "-1.499999"], ["-1.5", "2.26", "3"]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"\\n\\n"', '"日本語"', '"\\u00e9x"'], ['"a"', '"abcd"']),
    ({"type": "string", "maxLength": 2500}, ['""', f'"{"a" * 1999}"', f'"{"a" * 2500}"'], [f'"{"a" * 2501}"']),
    ({"type": "string", "minLength": 2500}, [f'"{"a" * 2500}"', f'"{"a" * 3000}"'], [f'"{"a" * 2499}"']),
    ({"type": "string", "pattern": '^a\\d+"$'}, ['"a12\\""'], ['"a\\""', '"xa1\\""', '"a1"']),
    ({"pattern": "b\\d"}, ['"b1"', '"xxb1\\nyy"'], ['"b"', '"1b"']),
    ({"pattern": "^a|b$|^(?<n>c|d$)"}, ['"ab"', '"axx"', '"xxb"', '"cx"', '"d"'], ['"xa"', '"bx"', '"dx"']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"', '"1999-12-31"'], ['"2023-02-29"', '"2023-04-31"', '"2023-13-01"']),
    ({"format": "date-time"}, ['"2024-02-29T23:59:59Z"', '"2024-01-01T00:00:00.5+02:00"'], ['"2024-01-01T24:00:00Z"']),
    ({"format": "ipv4"}, ['"10.0.255.1"'], ['"10.0.256.1"', '"1.2.3"', '"01.2.3.4"']),
    ({"format": "email"}, ['"a.b+c@example.org"'], ['"a@b"', '"@example.org"']),
    ({"format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e4567"']),
    ({"type": "array", "items": {"type": "boolean"}, "minItems": 2}, ["[true,false]", "[ true, true, true ]"], ["[true]", "[]"]),
    ({"type": "array", "maxItems": 0}, ["[]", "[ ]"], ["[1]"]),
    ({"type": "array", "items": {"const": 0}, "maxItems": 2500}, ["[]", f"[{'0,' * 2499}0]"], [f"[{'0,' * 2500}0]"]),
    ({"prefixItems": [{"type": "integer"}, {"type": "string"}]}, ['[1, "a"]'], ["[1]", '["a",1]', '[1,"a",2]']),
    ({"prefixItems": [{"const": 1}], "items": {"const": 2}, "minItems": 2}, ["[1,2]", "[1,2,2]"], ["[1]", "[1,1]"]),
    ({"items": [{"const": 1}], "additionalItems": False}, ["[1]"], ["[1,1]", "[]"]),
    (
        {"properties": {"a": {"const": 1}, "b": {"const": 2}}, "additionalProperties": {"type": "null"}},
        ["{}", '{"a":1,"c":null}', '{"b":2,"aa":null,"":null}', '{"c":null}'],
        ['{"a":null}', '{"c":1}', '{"b":2,"a":1}', '{"a":1,"a":null}'],
    ),
    (
        {"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]},
        ['{"b":2}', '{"a":1,"b":2}', '{"b":2,"c":3}', '{"a":1,"b":2,"c":3}'],
        ["{}", '{"a":1}', '{"c":3}', '{"a":1,"c":3}'],
    ),
    ({"required": ["x"]}, ['{"x": [1]}'], ["{}", '{"y":1}']),
    ({"properties": {"a": False, "b": True}}, ["{}", '{"b":1}'], ['{"a":1}']),
    ({"additionalProperties": {"const": 1}, "minProperties": 1, "maxProperties": 2}, ['{"a":1}', '{"a":1,"b":1}'], ["{}", '{"a":1,"b":1,"c":1}']),
    ({"properties": {'q"\n': {"const": 1}}, "required": ['q"\n']}, ['{"q\\"\\n": 1}'], ["{}"]),
    ({"anyOf": [{"type": "string", "maxLength": 1}, {"type": "null"}, False]}, ['"a"', "null"], ['"ab"', "1"]),
    (
        {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        ['{"a":1}', '{"b":2}', '{"a":1,"b":2}'],
        ["{}"],
    ),
    (
        {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"a": {"minimum": 5}, "b": {}}}]},
        ['{"a":5}', '{"a":7,"b":null}'],
        ['{"b":1}', '{"a":4}'],
    ),
    ({"$defs": {"s": {"type": "string"}}, "$ref": "#/$defs/s", "maxLength": 1}, ['"a"', '""'], ['"ab"']),
    ({"definitions": {"a/b~c d": {"const": 1}}, "items": {"$ref": "#/definitions/a~1b~0c%20d"}}, ["[1]"], ["[2]"]),
    ({"$defs": {"x": {"$anchor": "here", "const": 1}}, "$ref": "#here"}, ["1"], ["2"]),
    ({"$id": "https://example.org/s", "$defs": {"x": {"const": 1}}, "$ref": "https://example.org/s#/$defs/x"}, ["1"], ["2"]),
    ({"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]}, ["null", "[[null],[]]"], ["1"]),
    ({"$id": "value", "type": "object", "properties": {"x": {"$ref": "value"}, "y": {}}}, ['{"y":5}'], ['{"x":5}']),
]  # fmt: skip


@pytest.mark.parametrize(("value", "good", "bad"), CASES, ids=lambda value: json.dumps(value)[:60])
def test_json_schemas(llama: Matcher, value: Any, good: list[str], bad: list[str]) -> None:
    grammar = schema(value)
    check_gbnf(grammar)
    assert unsupported_keywords(json.dumps(value)) == ()
    for text in good:
        assert llama.accepts(grammar, text), text
        assert satisfies(json.loads(text), value, value), text
    for text in bad:
        assert not llama.accepts(grammar, text), text


@pytest.mark.parametrize("value", [case[0] for case in CASES], ids=lambda value: json.dumps(value)[:60])
def test_whatever_is_written_satisfies_the_schema(llama: Matcher, value: Any) -> None:
    grammar = schema(value)
    written = [llama.write(grammar, random.Random(seed), most=400) for seed in range(12)]
    for text in written:
        assert text is None or satisfies(json.loads(text), value, value), text


NUMBERS = st.integers(-1200, 1200) | st.integers(-120000, 120000).map(lambda n: n / 100)


@settings(quick, max_examples=150)
@given(NUMBERS, NUMBERS, st.booleans(), st.booleans(), NUMBERS)
def test_any_bounds(
    llama: Matcher, low: float, high: float, strict_low: bool, strict_high: bool, tried: float
) -> None:
    wanted = {
        "exclusiveMinimum" if strict_low else "minimum": low,
        "exclusiveMaximum" if strict_high else "maximum": high,
    }
    for kind in ("integer", "number"):
        fits = satisfies(tried, {"type": kind, **wanted}, None)
        grammar = ""
        with contextlib.suppress(UsageError):
            grammar = schema({"type": kind, **wanted})
        assert (grammar != "" and llama.accepts(grammar, str(tried))) is fits


@pytest.mark.parametrize(
    ("value", "keywords"),
    [
        ({"type": "integer", "multipleOf": 3}, ["multipleOf"]),
        ({"type": "integer", "multipleOf": 1}, []),
        ({"type": "array", "uniqueItems": True}, ["uniqueItems"]),
        ({"type": "array", "uniqueItems": False}, []),
        ({"not": {"type": "null"}}, ["not"]),
        ({"type": "string", "if": {}, "then": {"minLength": 1}}, ["if"]),
        ({"type": "array", "contains": {"const": 1}}, ["contains"]),
        ({"patternProperties": {"^x": {"type": "null"}}}, ["patternProperties"]),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, []),
        ({"properties": {"a": {}, "b": {}}, "maxProperties": 1}, ["maxProperties"]),
        ({"properties": {"a": {}}, "minProperties": 1}, ["minProperties"]),
        ({"type": "string", "format": "iri"}, ["format: iri"]),
        ({"type": "string", "format": "date", "maxLength": 3}, ["maxLength beside pattern or format"]),
        ({"enum": ["a", "bb"], "maxLength": 1}, ["maxLength beside enum or const"]),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, ["oneOf"]),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, []),
        ({"items": {"items": {"not": {"const": 1}}}}, ["not"]),
        ({"x-unknown": 1, "nullable": True, "description": "d", "default": 1}, []),
    ],
)
def test_keywords_that_the_output_may_violate_are_named(value: Any, keywords: list[str]) -> None:
    assert list(unsupported_keywords(json.dumps(value))) == keywords


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{", "the JSON schema is not JSON: Expecting property name"),
        ('{"minimum": NaN}', "the JSON schema is not JSON: NaN is no number"),
        ('{"minimum": 1e999}', "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "the JSON schema at # is neither an object nor true or false"),
        ('"string"', "at # is neither"),
        ('{"items": 3}', "the JSON schema at #/items is neither"),
        ('{"type": "text"}', 'has "type" at # that is not a type: "text"'),
        ('{"type": []}', "no value satisfies"),
        ('{"properties": []}', 'has "properties" at # that is not an object: []'),
        ('{"minLength": -1}', 'has "minLength" at # that is not a count: -1'),
        ('{"minimum": "1"}', 'has "minimum" at # that is not a number: "1"'),
        ('{"anyOf": 1}', 'has "anyOf" at # that is not a list: 1'),
        ("false", "no value satisfies the JSON schema"),
        ('{"type": "integer", "minimum": 2, "maximum": 1}', "no value satisfies"),
        ('{"minItems": 2, "maxItems": 1}', "no value satisfies"),
        ('{"allOf": [{"type": "string"}, {"type": "null"}]}', "no value satisfies"),
        ('{"required": ["a"], "additionalProperties": false}', "no value satisfies"),
        ('{"type": "integer", "minimum": 1e300}', "a bound that is too large"),
        ('{"minLength": 1000000}', "counts to more than"),
        ('{"$ref": "https://example.org/s.json"}', "is in another document, and none is fetched"),
        ('{"$ref": "other.json#/x"}', "is in another document"),
        ('{"$ref": "#/$defs/none"}', '"$ref": "#/$defs/none" names nothing in the JSON schema'),
        ('{"$ref": "#none"}', "names nothing"),
        ('{"$ref": 1}', 'has "$ref" at # that is not text'),
        ('{"$ref": "#"}', "refers to itself without end"),
        ('{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}', "without end"),
        ('{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}', "without end"),
        ('{"allOf": [{"$ref": "#"}]}', "without end"),
        ('{"allOf": [{"$ref": "#"}, {"minLength": 1}]}', "without end"),
        ('{"properties": {"x": {"$ref": "#"}}, "required": ["x"]}', "no value of finite size"),
        ('{"pattern": "(a)\\\\1"}', "the pattern at # has a backreference"),
        ('{"properties": {"p": {"pattern": "["}}}', "the pattern at #/properties/p is not valid: unterminated"),
        ('{"allOf": [{"pattern": "a"}, {"pattern": "b"}]}', 'combines two values of "pattern"'),
    ],
)  # fmt: skip
def test_schemas_that_are_no_use(source: str, message: str) -> None:
    assert message in refused(unsupported_keywords, source)


def test_bombs_are_refused() -> None:
    options = [{"anyOf": [{"required": [f"{letter}{n}"]} for letter in "abcdefgh"]} for n in range(12)]
    assert "too large" in refused(unsupported_keywords, json.dumps({"allOf": options}))
    nested: Any = {"type": "null"}
    for _ in range(300):
        nested = {"type": "array", "items": nested}
    assert "nested too deeply" in refused(unsupported_keywords, json.dumps(nested))


@pytest.mark.parametrize("keyword", ["anyOf", "allOf"])
def test_references_to_references_stay_small(keyword: str) -> None:
    laughs = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 9} for n in range(20)}
    assert len(schema({"$defs": {**laughs, "d20": {"minLength": 1}}, "$ref": "#/$defs/d0"})) < 3000


KEYWORDS = st.sampled_from(
    ["type", "enum", "const", "properties", "required", "additionalProperties", "items", "prefixItems", "$ref", "anyOf", "oneOf", "allOf", "minimum", "maxLength", "minItems", "pattern", "format", "not", "$defs", "minProperties"]
)  # fmt: skip
JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(-3, 9) | KEYWORDS
    | st.sampled_from(["object", "array", "string", "integer", "#", "#/$defs/a", "^a+$", "date", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | st.just("a"), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(quick, max_examples=300)
@given(JSON_VALUES)
def test_any_json_is_compiled_or_refused(llama: Matcher, value: Any) -> None:
    with contextlib.suppress(UsageError):
        assert llama.takes(schema(value))
