"""Choices and regular expressions: what is let through, and what is refused."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gptcli.engine.grammar import check_gbnf
from gptcli.errors import UsageError
from tests.llama_matcher import Matcher, choices, quick, refused, regex

# --------------------------------------------------------------------------------------- choices


@pytest.mark.parametrize(
    "texts",
    [
        ("yes", "no"),
        ("a", "ab", "abc", "b", "ab"),
        ('say "hi"', "back\\slash", "\\n", "two\nlines", "tab\t", "]", "^", "-", "[a-z]", "#", "'"),
        ("é", "e\u0301", "日本語", "😀", "\u2028", "\x7f", "\x01"),
        (" positive", "positive "),
    ],
)
def test_each_choice_is_accepted_and_nothing_else(llama: Matcher, texts: tuple[str, ...]) -> None:
    grammar = choices(*texts)
    check_gbnf(grammar)
    for text in texts:
        assert llama.accepts(grammar, text)
        for other in (text[:-1], text + "x", "x" + text, text.swapcase(), text * 2):
            assert llama.accepts(grammar, other) is (other in texts)


@quick
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1),
    st.text(),
)
def test_any_choices(llama: Matcher, texts: list[str], other: str) -> None:
    grammar = choices(*texts)
    check_gbnf(grammar)
    assert all(llama.accepts(grammar, text) for text in texts)
    assume("\0" not in other and other.isascii())
    assert llama.accepts(grammar, other) is (other in texts)


def test_common_beginnings_are_shared() -> None:
    assert choices("de-AT", "de-CH", "en") == 'root ::= "de-" r1 | "en"\nr1 ::= "AT" | "CH"\n'


def test_choices_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="no choices"):
        choices()
    with pytest.raises(UsageError, match="empty"):
        choices("a", "")
    for text in ("a\0", "\ud800"):
        with pytest.raises(UsageError, match="cannot write"):
            choices(text)


# ------------------------------------------------------------------------------------------ regex


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        (r"abc", "abc ab abcd"),
        (r"\d{4}-\d{2}-\d{2}", "2024-01-31 2024-1-31 2024-01-3١"),
        (r"[a-z]+@[a-z]+\.(com|org)", "a@b.com ab@cd.org a@b.net @b.com"),
        (r"^(?:yes|no)$", "yes no maybe yesno"),
        (r"\A(?P<sign>[+-])?\d+\Z", "1 +12 -3 ++1"),
        (r"a?b*c+", "c abc bbc accc a ab"),
        (r"a{2,4}?b{,2}c{2,}d{3}", "aaccddd aaaabbcccddd accddd aaaaaccddd"),
        (r"(a*)*b", "b aaab a"),
        (r"(a?){3}b", "b ab aaab aaaab"),
        (r"(|a|ab)(c|bcd)", "c ac abc bcd abcd abbcd"),
        (r"(?i)straße|K", "STRAßE straße STRAẞE ſtraße strasse k K \u212a"),
        (r"(?i:a)b", "ab Ab aB"),
        (r"(?i)[^a-c]", "d A b é"),
        (r"(?i)[α-γ]", "α Β γ a"),
        (r"(?s).x", "ax éx \nx"),
        (r".x", "ax éx \nx"),
        (r"[^a-c]x", "dx ax éx 😀x \nx"),
        (r"[^é-ü]", "a é ò ÿ 日 😀"),
        (r"[\]\-^\\]+", "]-^\\ a"),
        (r"[]a]", "] a"),
        (r"\w+", "aé9_ 日本 a-b"),
        (r"(?a)\w+", "a9_ é"),
        (r"\W\D\S", "-a- a-- -1- --\u00a0 -١-"),
        (r"[^\W\d_]+", "é日 a1 a_ a²"),
        (r"[\s\d]+", "1\t2 1\n x"),
        (r"\x41\u00e9\t\.", "Aé\t. Aé\tx"),
        (r"[a-z&&b]", "& b"),
        (r"(?x) a b  # comment", "ab a"),
        (r"a|b|(?:c|d)|", "a b c d e"),
        (r"(?:^a|b)c(?:d$|e)", "acd ace bcd bce acx"),
        (r".*a.{9}", "aaaaaaaaaa a123456789 xxa123456789 a12345678"),
    ],
)
@pytest.mark.filterwarnings("ignore:Possible set:FutureWarning")
def test_what_a_regex_accepts_is_what_python_matches(llama: Matcher, pattern: str, texts: str) -> None:
    grammar = regex(pattern)
    check_gbnf(grammar)
    for text in ["", *texts.split(" ")]:
        # \d and \s are ASCII's only.
        expected = re.fullmatch(pattern, text) is not None and not ("١" in text and r"\d" in pattern)
        assert llama.accepts(grammar, text) is expected, text


LATIN = st.characters(codec="latin-1", exclude_characters="\0\x1c\x1d\x1e\x1f\x85\xa0")
ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "é",
        "1",
        r"\.",
        " ",
        "-",
        '"',
        r"\\",
        ".",
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        r"\W",
        r"\S",
        "[ab1]",
        "[a-c]",
        "[^a]",
        r"[^\d]",
        r"[\w-]",
        r"[^\s\w]",
        "[^a-zé]",
        r"[\x01-\x60]",
    ]
)
QUANTIFIERS = st.sampled_from(
    ["?", "*", "+", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}?", "{,2}", "{2,}", "{0}"]
)


def _larger(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(parts, max_size=4).map("".join),
        st.lists(parts, min_size=1, max_size=3).map("|".join).map("({})".format),
        st.tuples(parts, QUANTIFIERS).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        parts.map("(?s:{})".format),
        parts.map("(?i:{})".format),
    )


# Quantifiers in quantifiers make texts that are exponentially long.
PATTERNS = st.recursive(ATOMS, _larger, max_leaves=8).filter(lambda pattern: pattern.count("(?:") <= 4)


@settings(quick, max_examples=250)
@given(PATTERNS, st.data())
def test_any_regex_agrees_with_python(llama: Matcher, pattern: str, data: st.DataObject) -> None:
    grammar = ""
    with contextlib.suppress(UsageError):
        grammar = regex(pattern)
    if not grammar:
        assert "empty text" in refused(regex, pattern)
        return
    check_gbnf(grammar)
    texts = st.from_regex(pattern, fullmatch=True, alphabet=LATIN)
    text = data.draw(texts.filter(lambda text: len(text) < 16))
    assert llama.accepts(grammar, text)
    at = data.draw(st.integers(0, len(text)))
    inserted = data.draw(st.text(LATIN, max_size=2))
    changed = text[:at] + inserted + text[at + data.draw(st.integers(0, 2)) :]
    assert llama.accepts(grammar, changed) is (re.fullmatch(pattern, changed) is not None)


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        (r"(a)\1", "a backreference"),
        (r"(?P<x>a)(?P=x)", "a backreference"),
        (r"(a)(?(1)b|c)", "a conditional group"),
        (r"a(?=b)", "a lookahead or lookbehind"),
        (r"(?<!a)b", "a lookahead or lookbehind"),
        (r"a(?!)", "a lookahead or lookbehind"),
        (r"\bab", "a word boundary"),
        (r"a\B", "a word boundary"),
        (r"a++", "a possessive quantifier"),
        (r"(?>a)b", "an atomic group"),
        (r"a$b", "an anchor inside"),
        (r"(?:^a)*", "an anchor inside"),
    ],
)
def test_what_a_grammar_cannot_say_is_named(pattern: str, what: str) -> None:
    assert (
        refused(regex, pattern) == f"the regular expression has {what}, which a grammar cannot express"
    )


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("[a", "is not valid: unterminated character set at position 0"),
        ("a**", "is not valid: multiple repeat at position 2"),
        ("(" * 5000 + ")" * 5000, "is too large"),
        ("a{99999999999999}", "is too large"),
        ("a{1,100000}", "too large"),
        ("((a{100}){100}){100}", "too large"),
        ("(" + "a?" * 999 + "){1,9}", "too large"),
        (r"[^\s\S]", "matches no text"),
        ("\0", "matches no text"),
        ("", "matches only the empty text"),
        ("$", "matches only the empty text"),
    ],
)
def test_regexes_that_are_no_use(pattern: str, message: str) -> None:
    assert message in refused(regex, pattern)


def test_long_repetitions(llama: Matcher) -> None:
    grammar = regex(r"[a-z]{3000,5000}")
    check_gbnf(grammar)
    assert llama.accepts(grammar, "a" * 3000)
    assert llama.accepts(grammar, "a" * 5000)
    assert not llama.accepts(grammar, "a" * 2999)
    assert not llama.accepts(grammar, "a" * 5001)


def test_many_ways_stay_small(llama: Matcher) -> None:
    for pattern in (r"(x+x+)+y", r"(.*a.{9}){3}", r"(a|b|ab)*c{100}", r".*a.{3000}"):
        grammar = regex(pattern)
        assert llama.takes(grammar)
        assert len(grammar) < 300_000
