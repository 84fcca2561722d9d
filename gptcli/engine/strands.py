"""The requests that are worked on at once: what each has evaluated, and what it wants next."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gptcli.engine.answers import AnswerText
from gptcli.engine.api import (
    Event,
    Finished,
    FinishReason,
    Generate,
    Request,
    Score,
    Scored,
    Timings,
    TokenLogprob,
    Usage,
)
from gptcli.engine.backend import Backend, Rows, Span, TokenSampler
from gptcli.engine.thinking import MARKERS


@dataclass(slots=True, kw_only=True)
class Strand:
    """One request on one sequence: `tokens` to evaluate, of which `evaluated` are in the cache.

    `shared` tokens came from another sequence. `mark`: where the evaluation stops once, so that the
    sequence holds exactly a prefix that others want. `waits_for`: a sequence, and the tokens that it
    will hold, which begin this one too.
    """

    request: Request
    tokens: list[int]
    prompt_tokens: int
    room: int  # tokens that may still come; below 0 for an answer without a limit that became long
    sequence: int = -1
    evaluated: int = 0
    shared: int = 0
    mark: int | None = None
    waits_for: tuple[int, int] | None = None
    is_cancelled: bool = False
    started: float = 0.0
    prompt_s: float = 0.0

    def begin_again(self) -> None:
        """Note that the cells were lost; what was written remains."""
        self.evaluated, self.mark, self.waits_for = 0, None, None

    @property
    def promised(self) -> int:
        """Cells that this strand will still take, shared ones not included."""
        to_come = self.waits_for[1] if self.waits_for is not None else self.evaluated
        return self.cells - to_come

    @property
    def cells(self) -> int:
        """Cells that this strand takes at most, shared ones included."""
        return len(self.tokens) + max(0, self.room)

    @property
    def left(self) -> int:
        """Tokens that are not evaluated yet."""
        return len(self.tokens) - self.evaluated

    @property
    def wanted(self) -> int:
        """Tokens that could be evaluated next."""
        return 0 if self.waits_for is not None else self.left

    @property
    def is_writing(self) -> bool:
        """Whether the next token of an answer is all that is to be evaluated."""
        return self.prompt_s > 0 and self.left == 1

    def span(self, most: int) -> Span:
        """Return the next tokens to evaluate, at most so many."""
        end = min(self.evaluated + most, len(self.tokens))
        if self.mark is not None and self.evaluated < self.mark:
            end = min(end, self.mark)
        return Span(
            self.sequence,
            self.tokens[self.evaluated : end],
            self.evaluated,
            is_end=end == len(self.tokens),
        )


@dataclass(slots=True, kw_only=True)
class GenerateStrand(Strand):
    """A Generate request. `limit`: tokens of the answer at most; None: as many as there is room for."""

    request: Generate
    sampler: TokenSampler
    output: AnswerText
    limit: int | None
    count: int = 0
    reason: FinishReason = "length"

    def take_logits(self, backend: Backend, row: int) -> Iterator[Event]:
        """Choose the next token; yield what it adds to the answer. Then `is_over`, or `left` is 1."""
        if not self.prompt_s:
            self.sampler.accept_prompt(self.tokens)
            self.prompt_s = max(time.perf_counter() - self.started, 1e-9)
        if self.limit == 0:
            return
        self.count += 1
        token = self.sampler.sample(row)
        if backend.is_end(token):
            self.reason = "stop"
            return
        yield from self.output.feed(_bytes(backend, token), self._logprob(backend, token, row))
        if self.output.stopped:
            self.reason = "stop"
            return
        self.tokens.append(token)
        self.room -= 1

    @property
    def is_over(self) -> bool:
        is_long_enough = self.limit is not None and self.count >= self.limit
        return self.reason == "stop" or is_long_enough

    def finish(self) -> Iterator[Event]:
        """Yield the last events, and free the sampler."""
        yield from self.output.flush()
        self.close()
        now = time.perf_counter()
        yield Finished(
            id=self.request.id,
            reason="cancelled" if self.is_cancelled else self.reason,
            usage=Usage(
                prompt_tokens=self.prompt_tokens,
                cached_tokens=self.shared,
                completion_tokens=self.count,
            ),
            timings=Timings(
                prompt_s=self.prompt_s,
                generate_s=now - self.started - self.prompt_s if self.prompt_s else 0.0,
            ),
        )

    def close(self) -> None:
        self.sampler.close()

    def _logprob(self, backend: Backend, token: int, row: int) -> TokenLogprob | None:
        if self.request.logprobs is None:
            return None
        return backend.token_logprob(token, self.request.logprobs, row)


@dataclass(slots=True, kw_only=True)
class Branch:
    """Continuations that are scored behind their prefix, on a sequence of its own.

    They are evaluated as one, `tokens`: each differs from its beginning in its last token at most.
    `scores` are their log-probabilities so far, by index, behind the first token.
    """

    tokens: Sequence[int]
    continuations: Mapping[int, Sequence[int]]
    sequence: int = -1
    evaluated: int = 0
    scores: dict[int, float] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Tokens that are not evaluated yet: the last one's logits nobody wants."""
        return len(self.tokens) - 1 - self.evaluated

    @property
    def is_over(self) -> bool:
        return self.left == 0

    def span(self, start: int, most: int) -> Span:
        """Return the next tokens, at most so many."""
        tokens = self.tokens[self.evaluated : self.evaluated + min(most, self.left)]
        return Span(self.sequence, tokens, start + self.evaluated, all_rows=True)

    def take_logits(self, rows: Rows, span: Span) -> None:
        """Add the log-probabilities of the tokens that follow the span's."""
        for n in range(len(span.tokens)):
            at = self.evaluated + n + 1
            going_on = {i: tokens[at] for i, tokens in self.continuations.items() if len(tokens) > at}
            logprobs = rows.logprobs(span.row + n, list(going_on.values()))
            for index, logprob in zip(going_on, logprobs, strict=True):
                self.scores[index] = self.scores.get(index, 0.0) + logprob
        self.evaluated += len(span.tokens)

    def begin_again(self) -> None:
        self.sequence, self.evaluated = -1, 0
        self.scores.clear()


def branches_of(continuations: Mapping[int, Sequence[int]]) -> list[Branch]:
    """Return branches that cover all continuations of several tokens, in order of the first ones."""
    longest: list[Sequence[int]] = []
    members: list[dict[int, Sequence[int]]] = []
    by_first: dict[int, list[int]] = {}
    for index in sorted(continuations, key=lambda n: -len(continuations[n])):
        tokens = continuations[index]
        body = tokens[:-1]
        if not body:
            continue
        own = by_first.setdefault(tokens[0], [])
        found = next((n for n in own if longest[n][: len(body)] == body), None)
        if found is None:
            found = len(longest)
            own.append(found)
            longest.append(tokens)
            members.append({})
        members[found][index] = tokens
    branches = [
        Branch(tokens=tokens, continuations=own) for tokens, own in zip(longest, members, strict=True)
    ]
    return sorted(branches, key=lambda branch: min(branch.continuations))


@dataclass(slots=True, kw_only=True)
class ScoreStrand(Strand):
    """A Score request: after its prefix, branches for the continuations of several tokens."""

    request: Score
    continuations: list[list[int]]
    logprobs: list[float] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)

    @property
    def needs_branches(self) -> bool:
        """Whether several continuations of several tokens are to be scored."""
        return sum(len(tokens) > 1 for tokens in self.continuations) > 1

    def take_logits(self, backend: Backend, row: int) -> None:
        """Take the first tokens' log-probabilities."""
        if self.logprobs:
            return  # the prefix was evaluated again for a branch
        self.prompt_s = max(time.perf_counter() - self.started, 1e-9)
        self.logprobs = backend.logprobs(row, [tokens[0] for tokens in self.continuations])
        self.branches = branches_of(dict(enumerate(self.continuations)))
        if self.request.beam is not None:
            self._keep_likeliest(self.request.beam)

    def _keep_likeliest(self, beam: int) -> None:
        """Give up all branches but `beam` of them, by their first tokens and priors."""

        def promise(branch: Branch) -> float:
            first = self.logprobs[min(branch.continuations)]
            return first + max(
                (self.request.priors[n] for n in branch.continuations if self.request.priors),
                default=0.0,
            )

        likeliest = sorted(self.branches, key=promise, reverse=True)
        for branch in likeliest[beam:]:
            for index in branch.continuations:
                self.logprobs[index] = -math.inf
            self.branches.remove(branch)

    def take_branch(self, backend: Backend, branch: Branch, span: Span) -> None:
        """Take the log-probabilities of a branch's span."""
        branch.take_logits(backend, span)
        if branch.is_over:
            for index, score in branch.scores.items():
                self.logprobs[index] += score
            self.branches.remove(branch)

    def begin_again(self) -> None:
        """Note that the cells were lost; the scores of whole continuations remain."""
        Strand.begin_again(self)  # super() does not work in a dataclass with slots
        for branch in self.branches:
            branch.begin_again()

    @property
    def wanted(self) -> int:
        """Tokens that could be evaluated next."""
        if self.waits_for is not None:
            return 0
        return self.left or sum(branch.left for branch in self.branches)

    @property
    def is_over(self) -> bool:
        return self.prompt_s > 0 and not self.branches

    def finish(self) -> Iterator[Event]:
        """Yield the scores."""
        counts = tuple(len(tokens) for tokens in self.continuations)
        usage = Usage(
            prompt_tokens=self.prompt_tokens, cached_tokens=self.shared, completion_tokens=sum(counts)
        )
        if self.is_cancelled:
            yield Finished(id=self.request.id, reason="cancelled", usage=usage)
        else:
            yield Scored(
                id=self.request.id, logprobs=tuple(self.logprobs), token_counts=counts, usage=usage
            )

    def close(self) -> None:
        self.branches.clear()


AnyStrand = GenerateStrand | ScoreStrand


def _bytes(backend: Backend, token: int) -> bytes:
    shown = backend.piece(token)
    if shown:
        return shown
    # Control tokens are not text, except those that say where the thinking begins and ends.
    special = backend.special_piece(token)
    return special if special.decode("utf-8", "replace") in MARKERS else b""
