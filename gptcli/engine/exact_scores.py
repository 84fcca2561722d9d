"""Scores that depend on their own request alone, to the last bit, whatever is scored beside it.

On a CPU, llama.cpp multiplies the weights by 16 rows of activations at a time, and the rest in other
ways. With at least 64 tokens to evaluate it attends to the cache in tiles of 64 cells, and how sums are
rounded depends on which cells of a sequence share a tile. So every evaluation here has at least 64
tokens, in sixteens, and what texts do not share begins at a tile, each text's and each branch's own. The
cells that this leaves over are held by fillers: restored copies of a state, which cost no evaluation.
Without all this the logits of a label differ by up to 0.3 nats (measured).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gptcli.engine.api import Failed, Prompt, Request, Score, Scored, Usage
from gptcli.engine.backend import Span, TiledContext
from gptcli.engine.cells import common_prefix
from gptcli.engine.prompt_cache import LEAST_TOKENS, PromptCache
from gptcli.engine.prompts import PromptEncoder
from gptcli.engine.strands import Branch, branches_of
from gptcli.engine.together import taken_together
from gptcli.errors import GptcliError

TILE = 64  # cells, and the fewest tokens of an evaluation
TEXTS = 32  # at once
BRANCHES = 32  # at once
BRANCH_TOKENS = 64  # at once: each has a row of logits, a megabyte of some vocabularies
MOST_FILLED = 448  # cells of a filler: less than the sliding windows that would let go of them
CELLS = TEXTS * TILE + 512  # for texts of 512 tokens in all, each in tiles of its own
SPARE = (
    MOST_FILLED + TILE
)  # cells behind the last text: of a filler before it is cut, and of added tokens
HEADS = 2  # whose states are at hand, where there are several: Chinese texts have one of their own
KIND = "exact"  # of what is kept on the disk: other prompts are evaluated in other ways
HEAD, FIRST_TEXT, FIRST_BRANCH = 0, 1, 1 + TEXTS  # sequences
FIRST_FILLER = FIRST_BRANCH + BRANCHES
FILLERS = CELLS // TILE + BRANCHES + 2  # at most: each fills a tile at least; a text alone needs one


@dataclass(slots=True, kw_only=True)
class ScoredText:
    """A request with its tokens, of which `shared` are those of its head, and what is found."""

    request: Score
    head: list[int]
    tokens: list[int]
    shared: int
    continuations: list[list[int]]
    sequence: int = -1
    logprobs: list[float] = field(default_factory=list)

    @property
    def own(self) -> list[int]:
        return self.tokens[self.shared :]

    def scored(self) -> Scored:
        counts = tuple(len(tokens) for tokens in self.continuations)
        return Scored(
            id=self.request.id,
            logprobs=tuple(self.logprobs),
            token_counts=counts,
            usage=Usage(
                prompt_tokens=len(self.tokens), cached_tokens=self.shared, completion_tokens=sum(counts)
            ),
        )


@dataclass(slots=True)
class _Filler:
    """A state of cells that hold the positions from `start`."""

    state: memoryview
    start: int
    length: int


class ExactScorer:
    """Answers Score requests that have a head, as many together as fit one evaluation."""

    def __init__(
        self,
        context: TiledContext,
        prompts: PromptEncoder,
        prompt_cache: PromptCache | None = None,
    ) -> None:
        self._context, self._prompts = context, prompts
        self._prompt_cache = prompt_cache
        self._cells = 0
        self._head: list[int] = []
        self._filler: _Filler | None = None
        self._free = 0  # the first free cell: all before are taken
        self._fillers = 0  # sequences that hold some
        self._encoded_head: tuple[Prompt, list[int]] | None = None
        self._states: dict[tuple[int, ...], memoryview] = {}  # of the last heads, the latest at the end

    def take(self, first: Score, waiting: deque[Request]) -> list[ScoredText]:
        """Return the text with those in the queue that have the same head.

        Raises GptcliError for what cannot be scored.
        """

        def encode(request: Request) -> ScoredText | None:
            if isinstance(request, Score) and request.head == first.head:
                return self._encoded(request)
            return None

        return taken_together(self._encoded(first), waiting, encode, self._fits)

    def _fits(self, batch: Sequence[ScoredText]) -> bool:
        own = sum(len(text.tokens) - text.shared for text in batch)
        return len(batch) <= TEXTS and own <= self._context.batch_tokens

    def score(self, batch: Sequence[ScoredText]) -> list[Scored | Failed]:
        """Return each text's result; a failure is that of all. Raises Aborted."""
        try:
            self._prepare(batch)
            for n, text in enumerate(batch):
                text.sequence = FIRST_TEXT + n
                self._context.share(HEAD, text.sequence, 0, text.shared)
            self._read(batch)
            self._read_branches(batch)
            self._drop(FIRST_TEXT, len(batch), fillers=0, back_to=len(self._head))
        except GptcliError as error:
            self._forget()
            return [Failed(id=text.request.id, error=error) for text in batch]
        except BaseException:
            self._forget()
            raise
        return [text.scored() for text in batch]

    def _encoded(self, request: Score) -> ScoredText:
        head = self._head_of(request)
        tokens, continuations = self._prompts.encode_continuations(request)
        longest = max((len(each) for each in continuations), default=1)
        self._prompts.check_fits(len(tokens) + longest - 1)
        # What is shared must not depend on other texts: a part of this very head, and not the last
        # token, whose logits are wanted.
        shared = min(common_prefix(head, tokens), len(tokens) - 1)
        return ScoredText(
            request=request, head=head, tokens=tokens, shared=shared, continuations=continuations
        )

    def _head_of(self, request: Score) -> list[int]:
        assert request.head is not None
        if self._encoded_head is None or self._encoded_head[0] != request.head:
            self._encoded_head = request.head, self._prompts.encode(request.head)[1]
        return self._encoded_head[1]

    # ---------------------------------------------------------------------------------- the context

    def _prepare(self, batch: Sequence[ScoredText]) -> None:
        """Have the head in the first cells, and room for the texts behind it."""
        head = batch[0].head
        needed = _in_tiles(len(head)) + max(CELLS, _in_tiles(len(batch[0].own))) + SPARE
        if any(len(tokens) > 1 for text in batch for tokens in text.continuations):
            needed += BRANCHES * TILE
        if needed > self._cells:
            self._forget()
            self._cells = 0
            cells = -(-needed // 1024) * 1024
            self._context.open(FIRST_FILLER + FILLERS, cells)
            self._cells = cells
        if self._filler is not None and self._head == head:
            return
        is_one_of_several = bool(self._head)
        self._forget()
        self._context.clear()
        if not self._restore(head):
            self._evaluate(HEAD, head, 0)
            self._keep(head)
        if is_one_of_several:
            self._have_at_hand(head)
        self._head, self._free = head, len(head)
        self._make_filler(head)

    def _restore(self, head: list[int]) -> bool:
        if (state := self._states.get(tuple(head))) is not None:
            return self._context.restore(HEAD, state)
        found = None
        if self._prompt_cache is not None and self._context.restores_parts:
            found = self._prompt_cache.find(head, len(head) - 1, only_whole=True, kind=KIND)
        return found is not None and self._context.restore(HEAD, found.state)

    def _keep(self, head: list[int]) -> None:
        if self._prompt_cache is not None and self._context.restores_parts and len(head) >= LEAST_TOKENS:
            self._prompt_cache.save(head, self._context.save(HEAD), kind=KIND)

    def _have_at_hand(self, head: list[int]) -> None:
        """Keep the state of a head that is asked for in turns with others, in memory."""
        if not self._context.restores_parts:
            return
        state = self._states.pop(tuple(head), None) or self._context.save(HEAD)
        self._states[tuple(head)] = state
        while len(self._states) > HEADS:
            del self._states[next(iter(self._states))]

    def _make_filler(self, head: list[int]) -> None:
        if len(head) >= TILE:
            start = max(0, len(head) - MOST_FILLED)
            self._context.share(HEAD, FIRST_FILLER, start, len(head))
            length = len(head) - start
        else:  # a state of so few cells would have to be restored too often
            start, length = 0, TILE
            tokens = ((head or [0]) * TILE)[:TILE]
            self._evaluate(FIRST_FILLER, tokens, 0)
        self._filler = _Filler(self._context.save(FIRST_FILLER), start, length)
        self._context.drop(FIRST_FILLER)

    def _evaluate(self, sequence: int, tokens: Sequence[int], start: int) -> None:
        for at in range(0, len(tokens), self._context.batch_tokens):
            part = tokens[at : at + self._context.batch_tokens]
            self._context.evaluate([Span(sequence, part, start + at, is_end=False)])

    def _forget(self) -> None:
        self._head, self._filler, self._free, self._fillers = [], None, 0, 0

    # -------------------------------------------------------------------------------------- a round

    def _read(self, batch: Sequence[ScoredText]) -> None:
        """Evaluate the texts, as many tokens at a time as a batch holds; take the first logits."""
        self._reserve([len(text.own) for text in batch])
        room, spans = self._context.batch_tokens, list[tuple[ScoredText, Span]]()
        for text in batch:
            at = text.shared
            while at < len(text.tokens):
                end = min(len(text.tokens), at + room)
                is_end = end == len(text.tokens)
                spans.append((text, Span(text.sequence, text.tokens[at:end], at, is_end=is_end)))
                room, at = room - (end - at), end
                if not room:
                    self._evaluate_texts(spans)
                    room, spans = self._context.batch_tokens, []
        if spans:
            self._evaluate_texts(spans)

    def _evaluate_texts(self, spans: Sequence[tuple[ScoredText, Span]]) -> None:
        self._context.evaluate([span for _, span in spans])
        for text, span in spans:
            if span.is_end:
                first = [tokens[0] for tokens in text.continuations]
                text.logprobs = self._context.logprobs(span.last_row, first)

    def _read_branches(self, batch: Sequence[ScoredText]) -> None:
        """Evaluate what continuations have behind their first token."""
        pending = deque(
            (text, branch)
            for text in batch
            for branch in branches_of(dict(enumerate(text.continuations)))
        )
        end_of_texts, fillers = self._free, self._fillers
        while pending:
            taken = list(self._fitting(pending))
            for n, (text, branch) in enumerate(taken):
                branch.sequence = FIRST_BRANCH + n
                self._context.share(text.sequence, branch.sequence, 0, len(text.tokens))
            self._reserve([branch.left for _, branch in taken])
            self._evaluate_branches(taken)
            self._drop(FIRST_BRANCH, len(taken), fillers=fillers, back_to=end_of_texts)

    def _fitting(self, pending: deque[tuple[ScoredText, Branch]]) -> Iterator[tuple[ScoredText, Branch]]:
        tokens, cells = BRANCH_TOKENS, self._cells - SPARE - _in_tiles(self._free)
        for n in range(BRANCHES):
            if not pending:
                return
            wanted = pending[0][1].left
            tokens, cells = tokens - wanted, cells - _in_tiles(wanted)
            if n and min(tokens, cells) < 0:
                return
            yield pending.popleft()

    def _evaluate_branches(self, branches: Sequence[tuple[ScoredText, Branch]]) -> None:
        while going_on := [(text, branch) for text, branch in branches if not branch.is_over]:
            spans, room = list[Span](), BRANCH_TOKENS
            for text, branch in going_on:
                if room:
                    spans.append(branch.span(len(text.tokens), room))
                    room -= len(spans[-1].tokens)
            self._context.evaluate(spans)
            for (_, branch), span in zip(going_on, spans, strict=False):
                branch.take_logits(self._context, span)
        for text, branch in branches:
            for index, score in branch.scores.items():
                text.logprobs[index] += score

    def _drop(self, first: int, count: int, *, fillers: int, back_to: int) -> None:
        """Free the cells of sequences, and those of all but the first fillers."""
        for sequence in (
            *range(first, first + count),
            *range(FIRST_FILLER + fillers, FIRST_FILLER + self._fillers),
        ):
            self._context.drop(sequence)
        self._fillers, self._free = fillers, back_to

    def _reserve(self, lengths: Sequence[int]) -> None:
        """Leave so many cells free, each part from the start of a tile; fillers take those between."""
        assert self._filler is not None
        places = [_in_tiles(self._free)]
        for length in lengths[:-1]:
            places.append(places[-1] + _in_tiles(length))
        first, last, filler = self._free, places[-1], self._filler
        starts = range(first, last, filler.length)
        sequences = range(FIRST_FILLER + self._fillers, FIRST_FILLER + self._fillers + len(starts))
        for sequence in sequences:
            if not self._context.restore(sequence, filler.state):
                raise GptcliError("llama.cpp did not restore a state of its own")
        gaps = [*zip(places, lengths[:-1], strict=False), (last, self._cells)]
        # All are there before one is cut: the next would be put into the gap.
        for sequence, start in zip(sequences, starts, strict=True):
            for place, length in gaps:
                low, high = max(place, start), min(place + length, start + filler.length)
                if low < high:
                    to_position = filler.start - start
                    self._context.drop(sequence, low + to_position, high + to_position)
        self._fillers += len(starts)
        self._free = last + lengths[-1]


def _in_tiles(cells: int) -> int:
    return -(-cells // TILE) * TILE
