"""Sets of characters: what one place of a text may hold."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]
"""Code points, as ranges in order that do not touch each other."""

# NUL would end llama.cpp's text, and surrogates are no characters.
EVERYTHING: Ranges = ((1, 0xD7FF), (0xE000, 0x10FFFF))


def as_ranges(spans: Iterable[tuple[int, int]]) -> Ranges:
    """Return spans of any order as ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def intersection(first: Ranges, second: Ranges) -> Ranges:
    """Return the characters that are in both."""
    spans = []
    for low, high in first:
        at = bisect.bisect_left(second, low, key=lambda span: span[1])
        while at < len(second) and second[at][0] <= high:
            spans.append((max(low, second[at][0]), min(high, second[at][1])))
            at += 1
    return tuple(spans)


def complement(ranges: Ranges) -> Ranges:
    """Return every character that is not in `ranges`."""
    edges = [0, *(edge for low, high in ranges for edge in (low - 1, high + 1)), 0x110000]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return intersection(EVERYTHING, tuple((low, high) for low, high in gaps if low <= high))


@functools.cache
def class_members(character_class: str) -> Ranges:
    r"""Return the characters that Python's re takes for a class, as \w."""
    every = "".join(map(chr, range(0x110000)))
    runs = re.finditer(f"{character_class}+", every)
    return intersection(EVERYTHING, tuple((run.start(), run.end() - 1) for run in runs))


@functools.cache
def _cased() -> str:
    """Return the characters that have a case; the others match only themselves."""
    return "".join(c for c in map(chr, range(1, 0x1F000)) if c.lower() != c or c.upper() != c)


def ignoring_case(ranges: Ranges) -> Ranges:
    """Return what matches the characters when case is ignored, as Python's re sees it."""
    plain = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)
    found = re.findall(f"[{plain}]", _cased(), re.IGNORECASE) if ranges else []
    return as_ranges([*ranges, *((ord(c), ord(c)) for c in found)])
