"""Compiles what an output must look like to GBNF, the grammar notation of llama.cpp.

Choices and regular expressions become an automaton with one rule a state: then llama.cpp follows a
few short stacks at a time, and nothing it is given can make it recurse without end.
A JSON schema becomes rules for the JSON texts of some of its values, enough of them to say
everything: properties in the schema's order, no properties that it does not name, and numbers of up to
16 digits. Whatever the rules let through is valid, except for the keywords `unsupported_keywords` names.
"""

from __future__ import annotations

from collections.abc import Sequence

from gptcli.engine.grammar.gbnf import read_gbnf
from gptcli.engine.grammar.patterns import Either, literal
from gptcli.engine.grammar.recursion import check_recursion
from gptcli.engine.grammar.regex import Regex
from gptcli.engine.grammar.rules import Rules
from gptcli.engine.grammar.schema import SchemaCompiler
from gptcli.errors import UsageError
from gptcli.sampling import OutputConstraint


def to_gbnf(constraint: OutputConstraint) -> str:
    r"""Return the grammar of the outputs that `constraint` allows; its root rule is `root`.

    A regular expression is one of Python's, and the whole output matches it. \d and \s are ASCII's
    digits and spaces, and \D, \S, \w and \W Unicode's: so what comes out matches in Python too.
    Raises UsageError for a constraint that is not valid, not supported or too large.
    """
    match constraint.kind:
        case "choices":
            return _choices_grammar(constraint.choices)
        case "regex":
            return _regex_grammar(constraint.source)
        case "json_schema":
            return SchemaCompiler(constraint.source).grammar()
        case "grammar":
            check_gbnf(constraint.source)
            return constraint.source


def check_gbnf(text: str) -> None:
    """Raise UsageError, with the line, if llama.cpp would not take this grammar or would crash on it.

    Left to check is only whether the model has the tokens that the grammar names (<think>).
    """
    check_recursion(read_gbnf(text))


def unsupported_keywords(schema: str) -> tuple[str, ...]:
    """Return the keywords of a JSON schema that an output may violate all the same.

    Raises UsageError as `to_gbnf` does.
    """
    compiler = SchemaCompiler(schema)
    compiler.grammar()
    return tuple(compiler.unsupported)


def _choices_grammar(choices: Sequence[str]) -> str:
    if not choices:
        raise UsageError("no choices are given")
    if "" in choices:
        raise UsageError("one of the choices is empty")
    rules = Rules()
    rules.add_pattern(Either(tuple(map(literal, choices))), "root")
    return rules.text()


def _regex_grammar(pattern: str) -> str:
    rules = Rules()
    rules.add_pattern(Regex(pattern).whole(), "root")
    if rules.text() == 'root ::= ""\n':
        raise UsageError("the regular expression matches only the empty text")
    return rules.text()
