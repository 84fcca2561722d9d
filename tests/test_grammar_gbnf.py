# ruff: noqa: E501 (tables)
"""Grammars that users write: those that llama.cpp takes, and those that are refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.engine.grammar import check_gbnf, to_gbnf
from gptcli.errors import UsageError
from gptcli.sampling import OutputConstraint
from tests.llama_matcher import Matcher, quick, refused


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= "a"',
        '\n# a comment\nroot ::= ( "a" | b ) # another\n\n  b::=[^x-z\\]-] "\\x41\\u00e9\\U0001F600\\t\\r\\n\\\\\\"\\[" .\r\n',
        'root ::= "a"* [b]+ .? ("c" "d"){2} e{1,} e{0,3} e{ 2 , 3 }\ne ::= ("x" |\n  "y"\n)',
        'root ::= "" | [] | "a" root\nunused ::= "b"',
        'root ::= "a" |\n"b"',
        "root ::= <[3]> !<[4]>",
        'root ::= "a"{2000} "b"{0,2000} ("c"{20}){20}',
        'root ::= a\na ::= "x" | "(" a ")"',
        'root ::= "x"{0} | "y"',
        'root ::= expr\nexpr ::= term ([-+*/] term)*\nterm ::= [0-9]+ | "(" expr ")"',
        "root ::= " + "(" * 90 + '"x"' + ")" * 90,
    ],
)
def test_grammars_that_llama_cpp_takes(llama: Matcher, grammar: str) -> None:
    check_gbnf(grammar)
    assert to_gbnf(OutputConstraint("grammar", grammar)) == grammar
    assert llama.takes(grammar)


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("", "the grammar is empty"),
        ("# only a comment\n", "the grammar is empty"),
        ('start ::= "a"', 'the grammar has no rule "root"'),
        ('root ::= "a" b\nc ::= "d"', 'grammar, line 1: there is no rule "b"'),
        ('root ::= "a"\n\n\nb ::= c\n', 'grammar, line 4: there is no rule "c"'),
        ('root = "a"', 'grammar, line 1: expected "::=" after "root", found \'=\''),
        ('root ::= my_rule\nmy_rule ::= "a"', "grammar, line 1: expected the end of the line, found '_': names have"),
        ('my_rule ::= "a"', 'grammar, line 1: expected "::=" after "my", found \'_\': names have'),
        ('root ::= "a"\n | "b"', "grammar, line 2: expected the name of a rule, found '|'"),
        ('root ::= "a', "grammar, line 1: the literal has no end"),
        ("root ::= [a", "grammar, line 1: the set of characters has no end"),
        ("root ::= [a-", "grammar, line 1: the set of characters has no end"),
        ('root ::= ("a"', 'grammar, line 1: expected ")" for the "(" in line 1, found the end'),
        ('root ::= "a")', "grammar, line 1: expected the end of the line, found ')'"),
        ('root ::= "\\q"', "grammar, line 1: unknown escape \\q"),
        ('root ::= "\\x4"', "grammar, line 1: unknown escape \\x"),
        ("root ::= [a-\\q]", "grammar, line 1: unknown escape \\q"),
        ("root ::= *", "grammar, line 1: nothing to repeat"),
        ('root ::= ""+', "grammar, line 1: nothing to repeat"),
        ('root ::= "a"{0}*', "grammar, line 1: nothing to repeat"),
        ('root ::= "a"{x}', 'grammar, line 1: expected a number after "{", found \'x\''),
        ('root ::= "a"{1', 'grammar, line 1: expected "}", found the end'),
        ('root ::= "a"{3,2}', "grammar, line 1: repeats 3 times at least and 2 times at most"),
        ('root ::= "a"{2001}', "grammar, line 1: repeats more often than llama.cpp counts (2000)"),
        ('root ::= "a"{0,2001}', "grammar, line 1: repeats more often than llama.cpp counts (2000)"),
        ('root ::= "a"{100}{100}', "repeats more often"),
        ("root ::= <think", "grammar, line 1: expected a token"),
        ("root ::= <[99999999999]>", "grammar, line 1: expected a token"),
        ('root ::= "a"\0', "grammar, line 1: a character that is no text"),
        ('root ::= "\ud800"', "grammar, line 1: a character that is no text"),
        ('root ::= root "a" | "b"', 'grammar, line 1: the rule "root" is left-recursive: it begins with itself'),
        ('root ::= a\na ::= b\nb ::= a "x" | "y"', "is left-recursive"),
        ('root ::= "x"\na ::= b "z"\nb ::= ("y")? a', "is left-recursive"),
        # llama.cpp's own check does not see this one, and eats all of the memory.
        ('root ::= a root "b" | "c"\na ::= b\nb ::= "x" | ""', 'line 1: the rule "root" is left-recursive'),
        ('root ::= "x"\na ::= ("y"*)*', 'line 2: the rule "a" is left-recursive: it repeats what may be empty, or begins with itself'),
        ("root ::= " + "(" * 200 + '"x"' + ")" * 200, "grammar, line 1: parentheses are nested too deeply"),
        ("root ::= " + "(" * 100_000, "nested too deeply"),
        ("".join(f"a{n} ::= a{n + 1}\n" for n in range(6000)) + 'a6000 ::= "x"\nroot ::= a0', "too many rules that begin with each other"),
        ("".join(f'a{n} ::= "{"x" * 900}"{{2000}}\n' for n in range(9)) + "root ::= a0", "grammar, line 2: the grammar is too large"),
        ("root ::= " + '"a" ' * 300_000, "the grammar is longer than"),
    ],
)  # fmt: skip
def test_grammars_that_are_refused(grammar: str, message: str) -> None:
    assert message in refused(check_gbnf, grammar)


PIECES = st.sampled_from(
    ['"x"', '""', "[a-z]", "[]", "a", "b-1", "root", "(", ")", "|", "*", "+", "?", "{2}", "{0,3}", "{1,}", "{0}", "{", "}", "\n", " ", "#c\n", ".", "<[5]>", "!<[5]>", "\\", "_", "::=", '"', "[", "]", "{1000}", "\r\n", "é", "a ::=", "root ::="]
)  # fmt: skip


@settings(quick, max_examples=400)
@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=5), st.lists(PIECES, max_size=4))
def test_every_grammar_that_passes_is_taken_by_llama_cpp(
    llama: Matcher, root: list[str], first: list[str], second: list[str]
) -> None:
    grammar = (
        f'root ::= "r" {" ".join(root)}\na ::= [a] {" ".join(first)}\nb-1 ::= . {" ".join(second)}\n'
    )
    with contextlib.suppress(UsageError):
        check_gbnf(grammar)
        assert llama.takes(grammar)
