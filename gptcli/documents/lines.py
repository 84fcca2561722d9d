"""Lines of a binary stream, each as soon as it is there."""

from __future__ import annotations

import codecs
import select
from collections import deque
from collections.abc import Iterator, Sequence
from io import RawIOBase

from gptcli.errors import UsageError

CHUNK_BYTES = 65536
OTHER_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class Lines(Iterator[bytes]):
    """An iterator over lines with their line ends, which counts them and can take lines back.

    It has no lock, as io.BufferedReader has: the process can end while a thread waits here for input.
    `number` is that of the last line handed out, from 1; `end` counts the bytes up to its end.
    """

    def __init__(self, stream: RawIOBase, name: str) -> None:
        self._stream, self._name = stream, name
        self._ready: deque[bytes] = deque()
        self._rest: list[bytes] = []  # pieces of a line without its end
        self._is_begun = False
        self.number = 0
        self.end = 0

    def __next__(self) -> bytes:
        while not self._ready:
            self._read()
        line = self._ready.popleft()
        self.number += 1
        self.end += len(line)
        return line

    def push_back(self, lines: Sequence[bytes]) -> None:
        """Take back the last lines handed out."""
        self._ready.extendleft(reversed(lines))
        self.number -= len(lines)
        self.end -= sum(map(len, lines))

    def first_text(self) -> bytes:
        """Return the first line that is not blank, as it is seen next; b"" if there is none."""
        seen = []
        for line in self:
            seen.append(line)
            if line.strip():
                break
        self.push_back(seen)
        return seen[-1].strip() if seen else b""

    def _read(self) -> None:
        """Read what is there into lines. Raises StopIteration at the end of the input."""
        chunk = self._stream.read(CHUNK_BYTES)
        if chunk is None:  # a pipe that somebody made non-blocking
            select.select([self._stream], [], [])
            return
        if not chunk:
            if not self._rest:
                raise StopIteration
            self._ready.append(b"".join(self._rest))
            self._rest = []
            return
        if not self._is_begun:
            while len(chunk) < len(codecs.BOM_UTF32_BE) and b"\n" not in chunk:
                if not (more := self._stream.read(CHUNK_BYTES)):
                    break
                chunk += more
            chunk = self._without_bom(chunk)
        *whole, rest = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join((*self._rest, whole[0]))
            self._rest = []
            self._ready.extend(line + b"\n" for line in whole)
        if rest:
            self._rest.append(rest)

    def _without_bom(self, chunk: bytes) -> bytes:
        self._is_begun = True
        if chunk.startswith(OTHER_BOMS):
            raise UsageError(
                f"{self._name} is not UTF-8 text: it begins with the mark of UTF-16 or UTF-32",
                hint="iconv -f UTF-16 -t UTF-8 <file | gptcli …",
            )
        if chunk.startswith(codecs.BOM_UTF8):
            self.end += len(codecs.BOM_UTF8)
            return chunk[len(codecs.BOM_UTF8) :]
        return chunk
