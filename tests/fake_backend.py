"""A simulated model for the scheduler: it keeps the books of a KV cache and checks every call.

Its "model" is a hash of the tokens before, so an answer depends on its own prompt and on nothing else.
"""

from __future__ import annotations

import json
import math
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from gptcli.engine.api import HiddenState, ModelInfo, TokenLogprob
from gptcli.engine.backend import Aborted, Span, TiledContext
from gptcli.errors import GptcliError
from gptcli.sampling import OutputConstraint, SamplingParams

END = 0
WORDS = tuple(f" {letter}" for letter in "abcdefghijklmnop")
ONE_ANSWER_IN = 12  # a token ends the answer

Memory = Literal["parts", "whole", "sliding"]
"""What can be copied and cut: any part; nothing but the whole, as in recurrent models; or a part, while
the last `sliding` tokens before its end are still there."""


class FakeBackend:
    """Tokens are words with the space before them, numbered as they appear.

    `answer`: pieces that every answer consists of, instead of the hash's words. `sequences` holds, by
    sequence, the cells it has; a cell is a number that is never used again, and `token_of` its token.
    `faults`: what the n-th evaluation (from 1) raises, or does first. `open_samplers` must be empty when
    all is done.
    """

    def __init__(
        self,
        answer: Sequence[bytes] | None = None,
        *,
        window: int = 50,
        control: Sequence[bytes] = (),
        memory: Memory = "parts",
        sliding: int = 16,
        batch_tokens: int = 512,
        most_cells: int = 1 << 20,
        faults: Mapping[int, Exception | Callable[[], None]] | None = None,
    ) -> None:
        self.info = ModelInfo(
            name="fake",
            context_length=window,
            context_limit=window,
            layer_count=5,
            chat_template="{% for m in messages %}{{ m.content }}{% endfor %}:",
        )
        self._pieces = [b"", *(word.encode() for word in WORDS)]
        self._control = set(control)
        self.answer = None if answer is None else [*map(self.number, answer), END]
        self.batch_tokens, self.copies_parts, self.window_asked = batch_tokens, memory != "whole", 0
        self._sliding = sliding if memory == "sliding" else 0
        self.restores_parts = memory == "parts"
        self._most_cells = most_cells
        self.tiled: TiledContext | None = None
        self.faults = faults or {}
        self._is_aborted = False
        self.aborts = 0
        self.sequences: list[list[int]] = []
        self._oldest: list[int] = []  # by sequence, the first position that is still remembered
        self.token_of: dict[int, int] = {}
        self._rows: dict[int, tuple[int, ...]] = {}
        self.cells = 0
        self.batches: list[list[Span]] = []
        self.open_samplers: list[FakeSampler] = []
        self.opened: list[tuple[int, int]] = []
        self.embedded_together: list[int] = []
        self.is_embedding: Callable[[], None] = lambda: None

    # ----------------------------------------------------------------------------------- vocabulary

    def number(self, piece: bytes) -> int:
        if piece not in self._pieces:
            self._pieces.append(piece)
        return self._pieces.index(piece)

    def tokenize(self, text: str, *, add_bos: bool, parse_special: bool) -> list[int]:
        marks = sorted(self._control) if parse_special else []
        for mark in marks:
            text = text.replace(mark.decode(), f"\0{mark.decode()}\0")
        words = text.replace(" ", "\0 ").split("\0")
        # Where control tokens are not wanted, their text is made of common letters.
        plain = set() if parse_special else self._control
        pieces = (piece for word in words for piece in (word if word.encode() in plain else [word]))
        return [self.number(piece.encode()) for piece in pieces if piece]

    def piece(self, token: int) -> bytes:
        piece = self._pieces[token]
        return b"" if piece in self._control else piece

    def special_piece(self, token: int) -> bytes:
        return self._pieces[token]

    def is_end(self, token: int) -> bool:
        return token == END

    def is_control(self, token: int) -> bool:
        return self._pieces[token] in self._control

    def bos(self) -> str:
        return ""

    def eos(self) -> str:
        return ""

    # --------------------------------------------------------------------------------------- memory

    @property
    def used(self) -> int:
        """Distinct cells that some sequence holds."""
        return len({cell for sequence in self.sequences for cell in sequence})

    @property
    def evaluated(self) -> int:
        """Tokens evaluated so far."""
        return sum(len(span.tokens) for batch in self.batches for span in batch)

    def open(self, sequences: int, cells: int) -> int:
        assert sequences > 0 < cells
        self.sequences = [[] for _ in range(sequences)]
        self._oldest = [0] * sequences
        self.cells = cells
        self.opened.append((sequences, cells))
        return cells

    def most_cells(self) -> int:
        return self._most_cells

    def evaluate(self, spans: Sequence[Span]) -> None:
        assert 0 < sum(len(span.tokens) for span in spans) <= self.batch_tokens
        assert all(span.tokens for span in spans), "an empty span"
        assert len({span.sequence for span in spans}) == len(spans), "a sequence twice in a batch"
        self.batches.append(list(spans))
        self._rows.clear()
        self._meet_fault()
        row = 0
        for span in spans:
            span.row = row
            held = self.sequences[span.sequence]
            assert span.start == len(held), "positions of a sequence must follow each other"
            for offset, token in enumerate(span.tokens):
                cell = len(self.token_of)
                self.token_of[cell] = token
                held.append(cell)
                if span.all_rows or (span.is_end and offset == len(span.tokens) - 1):
                    self._rows[row + offset] = self._history(span.sequence)
            row += len(span.tokens)
            if self._sliding:
                forgotten = len(held) - self._sliding
                self._oldest[span.sequence] = max(self._oldest[span.sequence], forgotten)
        assert self.used <= self.cells, "more cells than there are"

    def _meet_fault(self) -> None:
        fault = self.faults.get(len(self.batches))
        if callable(fault):
            fault()
        error = Aborted() if self._is_aborted else fault
        if isinstance(error, Exception):
            for n in range(len(self.sequences)):
                self.clear(n)
            raise error

    def _history(self, sequence: int) -> tuple[int, ...]:
        return tuple(self.token_of[cell] for cell in self.sequences[sequence])

    def copy(self, source: int, target: int, length: int, held: int) -> bool:
        assert not self.sequences[target], "copied into a sequence that is not empty"
        assert held == len(self.sequences[source])
        assert 0 < length <= held
        if length != held and not (self.copies_parts and self._reaches_back(source, length)):
            return False
        self.sequences[target] = self.sequences[source][:length]
        self._oldest[target] = self._oldest[source]
        return True

    def truncate(self, sequence: int, length: int) -> bool:
        assert length <= len(self.sequences[sequence])
        if not (self.copies_parts and self._reaches_back(sequence, length)):
            return False
        del self.sequences[sequence][length:]
        return True

    def clear(self, sequence: int) -> None:
        self.sequences[sequence] = []
        self._oldest[sequence] = 0

    def save_state(self, sequence: int) -> memoryview:
        tokens = [self.token_of[cell] for cell in self.sequences[sequence]]
        return memoryview(json.dumps(tokens).encode())

    def restore_state(self, sequence: int, state: bytearray | memoryview) -> bool:
        assert not self.sequences[sequence], "restored into a sequence that is not empty"
        for token in json.loads(bytes(state)):
            cell = len(self.token_of)
            self.token_of[cell] = token
            self.sequences[sequence].append(cell)
        length = len(self.sequences[sequence])
        self._oldest[sequence] = max(0, length - self._sliding) if self._sliding else 0
        return True

    def _reaches_back(self, sequence: int, length: int) -> bool:
        return not self._sliding or self._oldest[sequence] <= max(0, length - self._sliding)

    # ------------------------------------------------------------------------------------- sampling

    def sampler(self, sampling: SamplingParams, constraint: OutputConstraint | None) -> FakeSampler:
        sampler = FakeSampler(self, constraint)
        self.open_samplers.append(sampler)
        return sampler

    def history(self, row: int) -> tuple[int, ...]:
        """Return the tokens up to a row, for which logits must have been asked."""
        assert row in self._rows, "no logits were asked for at this row"
        return self._rows[row]

    def number_of(self, history: Sequence[int]) -> int:
        """Return the model's number for a text: 32 bits that look random."""
        return zlib.crc32(b"\0".join(self._pieces[token] for token in history))

    def logprobs(self, row: int, tokens: Sequence[int]) -> list[float]:
        history = self.history(row)
        return [-math.log1p(self.number_of((*history, token)) / 1000) for token in tokens]

    def token_logprob(self, token: int, alternatives: int, row: int) -> TokenLogprob:
        (logprob,) = self.logprobs(row, [token])
        return TokenLogprob(self._pieces[token].decode(), logprob)

    def embed(self, tokens: Sequence[int]) -> tuple[float, ...]:
        self.is_embedding()
        if self._is_aborted:
            raise Aborted
        return (float(self.number_of(tokens)),)

    def hidden_states(
        self, texts: Sequence[Sequence[int]], states: Sequence[HiddenState]
    ) -> list[tuple[array[float], ...]]:
        self.embedded_together.append(len(texts))
        numbers = [self.embed(text)[0] for text in texts]
        return [tuple(array("f", [number / state.layer]) for state in states) for number in numbers]

    def abort(self) -> None:
        self.aborts += 1
        self._is_aborted = True

    def resume(self) -> None:
        self._is_aborted = False


class FakeSampler:
    """Takes the model's word. With a constraint it fails after `source` tokens."""

    def __init__(self, backend: FakeBackend, constraint: OutputConstraint | None) -> None:
        self._backend = backend
        self._script = None if backend.answer is None else iter(backend.answer)
        self._left = math.inf if constraint is None else float(constraint.source)
        self._is_prompt_known = False

    def accept_prompt(self, tokens: Sequence[int]) -> None:
        assert not self._is_prompt_known
        self._is_prompt_known = True

    def sample(self, row: int) -> int:
        assert self in self._backend.open_samplers, "used after close"
        assert self._is_prompt_known
        history = self._backend.history(row)
        if self._left == 0:
            raise GptcliError("the grammar leaves the model no token to go on with")
        self._left -= 1
        if self._script is not None:
            return next(self._script)
        number = self._backend.number_of(history)
        return END if number % ONE_ANSWER_IN == 0 else 1 + number // ONE_ANSWER_IN % len(WORDS)

    def close(self) -> None:
        assert self in self._backend.open_samplers, "closed twice"
        self._backend.open_samplers.remove(self)
