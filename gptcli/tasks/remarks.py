"""Tells a text from what a model says about it: announcements, comments, headings of its own.

The patterns are English, and so are nearly all such remarks.
"""

from __future__ import annotations

import re

_KIND = (
    r"(?:text|article|story|tale|post|blog post|essay|section|part|chapter|paragraph|outline"
    r"|draft|version)"
)
_TELLS = (
    r"(?:ends|serves|follows|teaches|reminds|highlights|explores?|discuss(?:es)?|covers|describes"
    r"|is about|will)"
)
_REMARKS = (
    r"(?:sure|certainly|of course|absolutely|okay|great)(?: thing| question)?!",
    r"(?:sure|certainly|of course|absolutely|okay)\b.*\bhere(?:'s|’s| is| are)\b",
    rf"here(?:'s|’s| is| are)\b[^.]*\b{_KIND}\b.*",
    rf"(?:in )?(?:this|the (?:next|following)) {_KIND},? "
    r"(?:we|i)(?:'ll|’ll| will| are going to| explore| discuss)\b",
    rf"(?:this|the) {_KIND}\b(?: also)? {_TELLS}\b",
    r"i hope (?:this|you)\b.*\b(?:helps?|helpful|useful|enjoy)",
    r"(?:please )?(?:let me know|feel free to)\b",
    r"thank you(?:,| (?:so|very) much| for (?:your|reading))?[ .!]",
    r"(?:i|we)(?:'m|’m| am) (?:glad|happy) (?:to|i could) help\b",
    r"(?:word count|to be continued|\[continued)\b",
    r".*\b(?:as an ai\b|(?:ai )?language model\b)",
    rf"write (?:a|an|the) (?:\w+ ){{0,3}}{_KIND}\b",
)
_REMARK = re.compile("|".join(f"(?:{remark})" for remark in _REMARKS), re.IGNORECASE)
_HEADING = re.compile(
    r"#{1,6}\s.*|\*\*[^*]{1,80}\*\*:?|__[^_]{1,80}__:?"
    r"|(?:section|part|chapter|title|heading)(?: \w+)?(?:[:.–-] .{0,60})?",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\W*(?:in conclusion|to conclude|in summary|to sum up|to summarize|overall|all in all"
    r"|in the end|and (?:so|they) lived|the end\b|(?:final )?conclusions?\b|summary\b)",
    re.IGNORECASE,
)
_GENERIC = re.compile(
    r"(?:introduction|intro|overview|setting|background|conclusions?|summary|title|section|part)"
    r"(?: \d+)?",
    re.IGNORECASE,
)


def is_remark(sentence: str) -> bool:
    """Tell whether a sentence is about the task or the text, and no part of it."""
    return _REMARK.match(sentence) is not None


def is_heading(line: str) -> bool:
    """Tell whether a line is a heading that the model wrote by itself."""
    return _HEADING.fullmatch(line) is not None


def is_closing(sentence: str) -> bool:
    """Tell whether a sentence, or a heading, begins the end of a text."""
    return _CLOSING.match(sentence) is not None


def is_generic_title(title: str) -> bool:
    """Tell whether a heading says nothing about what is below it."""
    return _GENERIC.fullmatch(title) is not None
