"""What the scheduler asks of a model in this process. Nothing here knows of ctypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gptcli.engine.api import TokenLogprob
from gptcli.engine.embedding import EmbedBackend
from gptcli.engine.prompts import Vocabulary
from gptcli.sampling import OutputConstraint, SamplingParams


class Aborted(Exception):  # noqa: N818 (an event, not an error)
    """The evaluation was stopped by `Backend.abort`; the cache is empty now."""


@dataclass(slots=True)
class Span:
    """Tokens to evaluate behind what a sequence holds.

    Logits are wanted of each with `all_rows`, else of the last if `is_end`. `row` is where the first
    token's logits are, once evaluated.
    """

    sequence: int
    tokens: Sequence[int]
    start: int
    is_end: bool = True
    all_rows: bool = False
    row: int = 0

    @property
    def last_row(self) -> int:
        return self.row + len(self.tokens) - 1


class Rows(Protocol):
    """Where the logits of the last evaluation are."""

    def logprobs(self, row: int, tokens: Sequence[int]) -> list[float]: ...


class TiledContext(Rows, Protocol):
    """A context for exact scores, whose cells are taken in order, from the first that is free.

    `evaluate` takes at most `batch_tokens` tokens, adds some to have a tile's (`exact_scores.TILE`) at
    least, in sixteens, takes the cells of these back, and sets the spans' rows. It raises Aborted and
    GptcliError; the cache is empty then. `open` raises MemoryFitError. `restores_parts`: a state holds
    all that the sequence does.
    """

    batch_tokens: int
    restores_parts: bool

    def open(self, sequences: int, cells: int) -> None: ...
    def evaluate(self, spans: Sequence[Span]) -> None: ...
    def share(self, source: int, target: int, start: int, end: int) -> None: ...
    def drop(self, sequence: int, start: int = 0, end: int = -1) -> None: ...
    def save(self, sequence: int) -> memoryview: ...
    def restore(self, sequence: int, state: memoryview | bytearray) -> bool: ...
    def clear(self) -> None: ...


class TokenSampler(Protocol):
    """Chooses tokens for one request."""

    def accept_prompt(self, tokens: Sequence[int]) -> None: ...
    def sample(self, row: int) -> int: ...
    def close(self) -> None: ...


class Backend(Vocabulary, EmbedBackend, Rows, Protocol):
    """A model in this process, with one KV cache for several sequences.

    `evaluate` takes at most `batch_tokens` and sets each span's `row`; it and `embed` raise Aborted,
    and `evaluate` GptcliError, after it has emptied the cache. `copy`, `truncate` and `restore_state`
    return False where this model's memory cannot do it; then nothing has changed. `restores_parts`: a
    restored state can be cut. `window_asked`: the tokens of a window as the user wants it, or 0.
    `most_cells`: what the machine's memory allows. `tiled`: a context for exact scores, if this model
    on this processor can give them.
    """

    restores_parts: bool
    window_asked: int

    @property
    def tiled(self) -> TiledContext | None: ...
    def open(self, sequences: int, cells: int) -> int: ...
    def most_cells(self) -> int: ...
    def evaluate(self, spans: Sequence[Span]) -> None: ...
    def copy(self, source: int, target: int, length: int, held: int) -> bool: ...
    def truncate(self, sequence: int, length: int) -> bool: ...
    def clear(self, sequence: int) -> None: ...
    def save_state(self, sequence: int) -> memoryview | None: ...
    def restore_state(self, sequence: int, state: bytearray | memoryview) -> bool: ...
    def sampler(self, sampling: SamplingParams, constraint: OutputConstraint | None) -> TokenSampler: ...
    def token_logprob(self, token: int, alternatives: int, row: int) -> TokenLogprob: ...
    def abort(self) -> None: ...
    def resume(self) -> None: ...
