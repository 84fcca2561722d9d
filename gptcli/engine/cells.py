"""Which sequence of a KV cache holds which tokens, and how many cells that takes.

Sequences that share a prefix share its cells, as llama.cpp's unified cache does.
"""

from __future__ import annotations

from collections.abc import Sequence


class _Segment:
    """A run of cells, and how many sequences hold it."""

    __slots__ = ("holders", "length")

    def __init__(self, length: int) -> None:
        self.length = length
        self.holders = 1


class CellLedger:
    """The books of a cache: tokens by sequence, and the cells in use over all of them."""

    def __init__(self, sequences: int) -> None:
        self._tokens: list[list[int]] = [[] for _ in range(sequences)]
        self._segments: list[list[_Segment]] = [[] for _ in range(sequences)]
        self.used = 0

    def tokens(self, sequence: int) -> Sequence[int]:
        """Return what a sequence holds; not to be changed."""
        return self._tokens[sequence]

    def extend(self, sequence: int, tokens: Sequence[int]) -> None:
        """Note that tokens were evaluated behind those of the sequence."""
        segments = self._segments[sequence]
        if segments and segments[-1].holders == 1:
            segments[-1].length += len(tokens)
        else:
            segments.append(_Segment(len(tokens)))
        self._tokens[sequence].extend(tokens)
        self.used += len(tokens)

    def truncate(self, sequence: int, length: int) -> None:
        """Note that a sequence keeps only its first `length` tokens."""
        segments = self._segments[sequence]
        surplus = len(self._tokens[sequence]) - length
        while surplus > 0:
            last = segments[-1]
            if last.length > surplus:
                self._split(sequence, len(segments) - 1, last.length - surplus)
                continue
            surplus -= last.length
            segments.pop()
            last.holders -= 1
            if last.holders == 0:
                self.used -= last.length
        del self._tokens[sequence][length:]

    def copy(self, source: int, target: int, length: int) -> None:
        """Note that the empty sequence `target` now shares the first `length` tokens of `source`."""
        rest = length
        for n, segment in enumerate(self._segments[source]):
            if rest == 0:
                break
            if segment.length > rest:
                self._split(source, n, rest)
                segment = self._segments[source][n]
            segment.holders += 1
            self._segments[target].append(segment)
            rest -= segment.length
        self._tokens[target] = self._tokens[source][:length]

    def clear(self) -> None:
        """Note that the whole cache is empty."""
        self.__init__(len(self._tokens))  # type: ignore[misc]

    def _split(self, sequence: int, index: int, length: int) -> None:
        """Cut a segment in two, for every sequence that holds it."""
        whole = self._segments[sequence][index]
        rest = _Segment(whole.length - length)
        rest.holders = whole.holders
        whole.length = length
        for segments in self._segments:
            for n, segment in enumerate(segments):
                if segment is whole:
                    segments.insert(n + 1, rest)
                    break


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many tokens two lists begin with in common. Slices compare in C: bisection is quick."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
