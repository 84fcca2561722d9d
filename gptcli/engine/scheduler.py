"""Continuous batching: many requests on one model, each step one evaluation for all of them.

Knows nothing of ctypes: the backend is a protocol. A step evaluates one token of every answer that is
being written and, with what is left of the step, chunks of the prompts that are still to be read. What
prompts share is evaluated once: its cells are copied from the sequence that holds it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from gptcli.engine.answers import AnswerText
from gptcli.engine.api import (
    Embed,
    Event,
    Failed,
    Finished,
    Generate,
    Keep,
    Kept,
    Request,
    RequestId,
    Score,
    Started,
    Tokenize,
    Usage,
)
from gptcli.engine.backend import Aborted, Backend, Span
from gptcli.engine.chat_template import opens_thinking
from gptcli.engine.embedding import Embedder
from gptcli.engine.exact_scores import ExactScorer
from gptcli.engine.prompt_cache import PromptCache
from gptcli.engine.prompts import PromptEncoder
from gptcli.engine.shared_cache import BRANCHES, SharedCache
from gptcli.engine.strands import AnyStrand, Branch, GenerateStrand, ScoreStrand
from gptcli.errors import GptcliError
from gptcli.messages import Conversation

ROOM_FOR_ANSWER = 1024  # tokens of the window kept for an answer of unknown length
CHUNK_BESIDE_ANSWERS = 128  # prompt tokens a step while answers are written: half a second, not two
BEGUN_AGAIN = 256  # tokens: they are read sooner than an answer is waited for
LONG_STEP_S = 0.5  # a cancelled answer waits for the end of a shorter step
LEAST_CHUNK = 32  # prompt tokens of one request a step, where several wait: fewer would not pay


class Scheduler:
    """Turns requests into events. One thread calls `submit` and `step`; any may call `cancel`.

    `parallel`: how many requests are worked on at once. `prompt_cache` keeps evaluated prompts.
    """

    def __init__(
        self, backend: Backend, parallel: int = 1, prompt_cache: PromptCache | None = None
    ) -> None:
        self._backend = backend
        self._prompts = PromptEncoder(backend)
        self._parallel = parallel
        self._waiting: deque[Request] = deque()
        self._prepared: deque[AnyStrand] = deque()  # tokenized, in order, not on a sequence yet
        self._active: list[AnyStrand] = []
        self._embedder = Embedder(backend)
        self._exact = backend.tiled and ExactScorer(backend.tiled, self._prompts, prompt_cache)
        self._at_once: list[RequestId] = []  # that are answered by one step
        self._cancelled: set[RequestId] = set()
        self._step_s = 0.0  # that the last evaluation took
        self._cache = SharedCache(backend, parallel, self._active, prompt_cache)

    # ------------------------------------------------------------------------------------ requests

    def expect(self, *request_ids: RequestId) -> None:
        """Forget cancellations that came too late for earlier requests of these ids."""
        self._cancelled.difference_update(request_ids)

    def submit(self, request: Request) -> None:
        """Take a request; its events come from `step`."""
        self._waiting.append(request)

    def cancel(self, request_id: RequestId) -> None:
        """Stop a request, running or waiting: it finishes as `cancelled`."""
        self._cancelled.add(request_id)
        strands = list(self._active)
        running = self._at_once or [strand.request.id for strand in strands]
        if not running or not self._cancelled.issuperset(running):
            return
        # An abort empties the cache: a conversation would be read again from its start.
        is_short = self._step_s < LONG_STEP_S and all(strand.is_writing for strand in strands)
        if self._at_once or not is_short:
            self._backend.abort()

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._prepared or self._active)

    @property
    def has_room(self) -> bool:
        """Whether another request would be worked on soon."""
        return len(self._waiting) + len(self._prepared) < self._parallel

    def run(self, requests: Iterable[Request]) -> Iterator[Event]:
        """Yield the events of requests that are taken as there is room, in this thread."""
        source = iter(requests)
        is_exhausted = False
        while self.has_work or not is_exhausted:
            while self.has_room and not is_exhausted:
                request = next(source, None)
                is_exhausted = request is None
                if request is not None:
                    self.submit(request)
            yield from self.step()

    def step(self) -> list[Event]:
        """Return what one evaluation brings, for all requests that take part in it."""
        return list(self._step())

    def _step(self) -> Iterator[Event]:
        self._backend.resume()
        yield from self._end_cancelled()
        yield from self._prepare()
        yield from self._admit()
        spans, branches = self._plan()
        if not spans:
            return
        started = time.perf_counter()
        try:
            self._backend.evaluate(spans)
        except Aborted:
            self._lose_cache()
            return
        except GptcliError as error:
            self._lose_cache()
            yield from self._fail_active(error)
            return
        self._step_s = time.perf_counter() - started
        yield from self._take(spans, branches)

    # ----------------------------------------------------------------------------------- preparing

    def _prepare(self) -> Iterator[Event]:
        """Tokenize what will be worked on next; answer at once what needs no place in the cache.

        Embeddings and exact scores take a step, so that answers go on, and cancellations are heard.
        """
        while self._waiting and len(self._prepared) < self._parallel:
            request = self._waiting.popleft()
            try:
                match request:
                    case Generate():
                        self._prepared.append(self._generate_strand(request))
                    case Score() if self._exact and request.head is not None and request.continuations:
                        yield from self._score_exactly(self._exact, request)
                        return
                    case Score():
                        strand = self._score_strand(request)
                        if strand.continuations:
                            self._prepared.append(strand)
                        else:
                            yield from strand.finish()
                    case Embed():
                        yield from self._embed(request)
                        return
                    case Tokenize():
                        yield self._prompts.tokenized(request)
                    case Keep():
                        _, tokens = self._prompts.encode(request.prompt, thinking=request.thinking)
                        yield Kept(id=request.id, tokens=self._cache.keep_idle(tokens))
            except Aborted:  # the cancelled ones end with the next step
                self._waiting.appendleft(request)
                return
            except GptcliError as error:
                yield Failed(id=request.id, error=error)

    def _generate_strand(self, request: Generate) -> GenerateStrand:
        limit = request.sampling.max_tokens
        thinking = request.thinking and request.constraint is None
        text, tokens = self._prompts.encode(request.prompt, thinking=thinking)
        self._prompts.check_fits(len(tokens))
        is_chat = isinstance(request.prompt, Conversation) and request.constraint is None
        window = self._backend.info.context_limit
        room = min(ROOM_FOR_ANSWER if limit is None else limit, window - len(tokens))
        return GenerateStrand(
            request=request,
            tokens=list(tokens),
            prompt_tokens=len(tokens),
            room=room,
            limit=None if limit is None else room,
            sampler=self._backend.sampler(request.sampling, request.constraint),
            output=AnswerText(request, splits=is_chat, open_thinking=is_chat and opens_thinking(text)),
        )

    def _score_strand(self, request: Score) -> ScoreStrand:
        prefix, continuations = self._prompts.encode_continuations(request)
        self._prompts.check_fits(len(prefix))
        lengths = sorted((len(tokens) for tokens in continuations), reverse=True)
        if lengths:
            self._prompts.check_fits(len(prefix) + lengths[0] - 1)
        return ScoreStrand(
            request=request,
            tokens=prefix,
            prompt_tokens=len(prefix),
            room=sum(lengths[:BRANCHES]),
            continuations=continuations,
        )

    def _embed(self, request: Embed) -> Sequence[Event]:
        batch = self._embedder.take(request, self._waiting)
        requests = [text.request for text in batch]
        return self._answered_at_once(requests, lambda: self._embedder.embed(batch))

    def _score_exactly(self, scorer: ExactScorer, request: Score) -> Sequence[Event]:
        batch = scorer.take(request, self._waiting)
        return self._answered_at_once([text.request for text in batch], lambda: scorer.score(batch))

    def _answered_at_once(
        self, requests: Sequence[Request], answer: Callable[[], Sequence[Event]]
    ) -> Sequence[Event]:
        self._at_once = [request.id for request in requests]
        try:
            return answer()
        except Aborted:
            self._waiting.extendleft(reversed(requests[1:]))
            raise
        finally:
            self._at_once = []

    # ----------------------------------------------------------------------------------- admission

    def _admit(self) -> Iterator[Event]:
        """Give sequences to the next requests, in order, as there is room in the cache."""
        self._cache.end_waits()  # before the sequence that is waited for gets another request
        self._make_way()
        while self._prepared:
            strand = self._prepared[0]
            if not self._active and not self._cache.fits_empty(self._prepared):
                try:
                    self._cache.open(self._prepared)
                except GptcliError as error:
                    self._prepared.popleft().close()
                    yield Failed(id=strand.request.id, error=error)
                    continue
            free = [n for n in range(self._cache.slots) if all(s.sequence != n for s in self._active)]
            if not free or self._cache.must_drain or not self._cache.place(strand, free):
                return
            self._prepared.popleft()
            if self._is_alone:
                self._cache.mark_for_disk(strand)
            if not strand.started:
                yield Started(
                    id=strand.request.id,
                    prompt_tokens=strand.prompt_tokens,
                    context_size=min(self._cache.cells, self._backend.info.context_limit),
                )
            strand.started = strand.started or time.perf_counter()

    def _make_way(self) -> None:
        """Let a lone request begin again in company, if little is lost: its context has one sequence."""
        if self._active and self._prepared and self._cache.slots == 1 < self._parallel:
            (lone,) = self._active
            if lone.evaluated <= BEGUN_AGAIN:
                self._put_back(lone)

    # -------------------------------------------------------------------------------------- a step

    def _plan(self) -> tuple[list[Span], list[tuple[ScoreStrand, Branch, Span]]]:
        """Return what this step evaluates; where no cell is left, the youngest request gives up its."""
        while self._active:
            self._cache.end_waits()
            spans, branches = self._plan_spans()
            if spans:
                return spans, branches
            self._put_back(self._active[-1])
        return [], []

    def _plan_spans(self) -> tuple[list[Span], list[tuple[ScoreStrand, Branch, Span]]]:
        """Return a token of each answer, branches, then chunks of prompts, as far as there are cells."""
        budget = min(self._backend.batch_tokens, sum(strand.wanted for strand in self._active))
        budget = min(budget, self._cache.free(budget))
        spans = [strand.span(1) for strand in self._active if strand.is_writing][:budget]
        budget -= len(spans)
        branches = self._plan_branches(budget)
        budget -= sum(len(span.tokens) for _, _, span in branches)
        reading = [s for s in self._active if s.left and not s.is_writing and s.waits_for is None]
        if spans:
            budget = min(budget, CHUNK_BESIDE_ANSWERS)
        for n, strand in enumerate(reading):
            share = max(LEAST_CHUNK, budget // (len(reading) - n))
            span = strand.span(min(share, budget))
            if not span.tokens:
                break
            spans.append(span)
            budget -= len(span.tokens)
        return spans + [span for _, _, span in branches], branches

    def _plan_branches(self, budget: int) -> list[tuple[ScoreStrand, Branch, Span]]:
        planned: list[tuple[ScoreStrand, Branch, Span]] = []
        scratch = self._cache.scratch
        strands = [s for s in self._active if isinstance(s, ScoreStrand) and s.branches and not s.left]
        taken = {branch.sequence for strand in strands for branch in strand.branches}
        for strand in strands:
            for branch in strand.branches if scratch else strand.branches[:1]:
                if branch.sequence < 0 and not self._begin_branch(strand, branch, scratch, taken):
                    break
                if budget < 1:
                    return planned
                span = branch.span(strand.evaluated, budget)
                budget -= len(span.tokens)
                planned.append((strand, branch, span))
        return planned

    def _begin_branch(
        self, strand: ScoreStrand, branch: Branch, scratch: Sequence[int], taken: set[int]
    ) -> bool:
        """Give a branch a sequence that holds its prefix; without scratch sequences the strand's own."""
        if not scratch:
            branch.sequence = strand.sequence
            return True
        free = next((n for n in scratch if n not in taken), None)
        if free is None or not self._cache.fork(strand.sequence, free):
            return False
        branch.sequence = free
        taken.add(free)
        return True

    def _take(
        self, spans: Sequence[Span], branches: Sequence[tuple[ScoreStrand, Branch, Span]]
    ) -> Iterator[Event]:
        """Book what was evaluated, and pass the logits on."""
        by_sequence = {strand.sequence: strand for strand in self._active}
        of_branches = {id(span) for _, _, span in branches}
        for span in spans:
            self._cache.ledger.extend(span.sequence, span.tokens)
        for strand, branch, span in branches:
            strand.take_branch(self._backend, branch, span)
            if branch.is_over:
                self._leave_branch(strand, branch)
        for span in spans:
            if id(span) in of_branches:
                continue
            strand_ = by_sequence[span.sequence]
            strand_.evaluated += len(span.tokens)
            if strand_.evaluated == strand_.mark:
                self._cache.hold(strand_)
                if self._is_alone:
                    self._cache.keep_on_disk(strand_)
            if span.is_end:
                try:
                    yield from self._take_logits(strand_, span.last_row)
                except GptcliError as error:  # e.g. a grammar that leaves no token to go on with
                    yield self._fail(strand_, error)
        for strand in [s for s in self._active if isinstance(s, ScoreStrand) and s.is_over]:
            yield from self._end(strand)

    @property
    def _is_alone(self) -> bool:
        """Whether one request runs and none waits: a batch would fill the disk with its prompts."""
        return len(self._active) == 1 and not self._prepared

    def _take_logits(self, strand: AnyStrand, row: int) -> Iterator[Event]:
        if isinstance(strand, ScoreStrand):
            strand.take_logits(self._backend, row)
        else:
            yield from strand.take_logits(self._backend, row)
            window = min(self._cache.cells, self._backend.info.context_limit)
            if strand.is_over or len(strand.tokens) >= window:
                yield from self._end(strand)

    def _leave_branch(self, strand: ScoreStrand, branch: Branch) -> None:
        if branch.sequence != strand.sequence:
            self._cache.clear(branch.sequence)
        elif not self._cache.truncate(strand.sequence, len(strand.tokens)):
            self._cache.clear(strand.sequence)
            strand.evaluated, strand.mark = 0, None  # once more, for the next branch

    # ---------------------------------------------------------------------------------------- ends

    def _end(self, strand: AnyStrand) -> Iterator[Event]:
        self._active.remove(strand)
        self._cancelled.discard(strand.request.id)
        yield from strand.finish()

    def _end_cancelled(self) -> Iterator[Event]:
        cancelled = set(self._cancelled)
        if not cancelled:
            return
        for strand in [s for s in self._active if s.request.id in cancelled]:
            strand.is_cancelled = True
            self._clear_branches(strand)
            yield from self._end(strand)
        for strand in [s for s in self._prepared if s.request.id in cancelled]:
            self._prepared.remove(strand)
            if strand.started:
                strand.is_cancelled = True
                yield from strand.finish()
            else:
                strand.close()
                yield self._never_begun(strand.request)
        for request in [r for r in self._waiting if r.id in cancelled]:
            self._waiting.remove(request)
            yield self._never_begun(request)

    def _never_begun(self, request: Request) -> Finished:
        self._cancelled.discard(request.id)
        return Finished(id=request.id, reason="cancelled", usage=Usage())

    def _fail_active(self, error: GptcliError) -> Iterator[Event]:
        for strand in list(self._active):
            yield self._fail(strand, error)

    def _fail(self, strand: AnyStrand, error: GptcliError) -> Failed:
        self._active.remove(strand)
        self._cancelled.discard(strand.request.id)
        strand.close()
        return Failed(id=strand.request.id, error=error)

    def _lose_cache(self) -> None:
        """Begin all requests again that are not over: the cache is empty."""
        self._cache.ledger.clear()
        for strand in self._active:
            strand.begin_again()

    def _put_back(self, strand: AnyStrand) -> None:
        """Take a request's cells for older ones. It goes on where it was, once there is room again."""
        self._clear_branches(strand)
        self._cache.clear(strand.sequence)
        self._active.remove(strand)
        strand.begin_again()
        self._prepared.appendleft(strand)

    def _clear_branches(self, strand: AnyStrand) -> None:
        for branch in strand.branches if isinstance(strand, ScoreStrand) else ():
            if branch.sequence not in (-1, strand.sequence):
                self._cache.clear(branch.sequence)
