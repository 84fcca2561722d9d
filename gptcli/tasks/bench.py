"""How fast a model reads prompts and writes answers, one at a time and many at once."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from gptcli.engine.api import (
    Delta,
    Engine,
    Event,
    Failed,
    Finished,
    Generate,
    Started,
    Tokenize,
    tokenize,
)
from gptcli.errors import ContextOverflowError, GptcliError
from gptcli.sampling import SamplingParams

TEXT = """\
The harbour office opens at six, long before the first ferry leaves, and the clerk writes down the
height of the water, the wind and the names of the boats that stayed out overnight. By seven the
market has filled the lower street. Fish is sold from crates, bread from the back of a van, and two
brothers repair nets on the steps of the old customs house. Most visitors walk past the museum on
the hill, although its windows look over the whole bay and its guide knows every wreck on the
chart. In winter the road to the lighthouse is closed for weeks, so letters, coal and oil are taken
there by sea, and on clear evenings the keepers signal to the village with a lamp"""
FITTING_TRIES = 32
WRITING_WORK = 8  # a token written takes as long as about so many that are read

Report = Callable[[int, str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTask:
    """What to measure: batch sizes, tokens of each prompt and of each answer, and how many times."""

    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    prompt_tokens: int = 512
    tokens: int = 64
    repeat: int = 3

    @property
    def work(self) -> int:
        """The whole work, in prompt tokens; each batch size is warmed up by reading its prompts once."""
        reading = (self.repeat + 1) * self.prompt_tokens
        return sum(self.batches) * (reading + self.repeat * self.tokens * WRITING_WORK)


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second: the median of the repeats, the slowest and the fastest."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Rate:
        return cls(statistics.median(samples), min(samples), max(samples))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One measurement of a batch. Rates in tokens per second, of all its requests together.

    `tokens`: written by all answers; `at_once`: the most requests that the engine worked on together.
    """

    prompt_rate: float
    decode_rate: float
    tokens: int
    at_once: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The measurements of one batch size."""

    batch: int
    rounds: tuple[Round, ...]

    @property
    def prompt(self) -> Rate:
        return Rate.of([each.prompt_rate for each in self.rounds])

    @property
    def decode(self) -> Rate:
        return Rate.of([each.decode_rate for each in self.rounds])

    @property
    def per_answer(self) -> float:
        """Tokens per second that one answer of the batch gets."""
        return self.decode.median / self.batch

    @property
    def tokens(self) -> int:
        """Tokens that the answers of a round had together, at least."""
        return min(each.tokens for each in self.rounds)

    @property
    def at_once(self) -> int:
        return min(each.at_once for each in self.rounds)


def bench(engine: Engine, task: BenchTask, report: Report = lambda *_: None) -> Iterator[BatchResult]:
    """Yield what is known of a batch size after each of its rounds: a later result replaces the earlier.

    `report` gets the work done, of `task.work`, and what is being done. Raises ContextOverflowError
    when prompt and answer exceed the context window, and what a request raises.
    """
    check_window(engine, task)
    progress = _Work(report)
    numbers = count(1)
    for batch in task.batches:
        progress.text = f"batch of {batch}"
        _warm_up(engine, _prompts(engine, numbers, batch, task), task, progress)
        rounds: tuple[Round, ...] = ()
        for _ in range(task.repeat):
            prompts = _prompts(engine, numbers, batch, task)
            prompt_rate = _read(engine, prompts, progress)
            # The prompts are in the cache now: what is timed next is writing alone.
            rounds += (_write(engine, prompts, task.tokens, prompt_rate, progress),)
            yield BatchResult(batch, rounds)


def check_window(engine: Engine, task: BenchTask) -> None:
    """Raise ContextOverflowError when a prompt and its answer exceed the context window."""
    wanted, window = task.prompt_tokens + task.tokens, engine.model.context_limit
    if wanted > window:
        raise ContextOverflowError(
            f"{task.prompt_tokens:,} prompt tokens and {task.tokens:,} of the answer exceed the context "
            f"window of {window:,}",
            hint="smaller --prompt-tokens and --tokens, or a larger --ctx-size",
            prompt_tokens=task.prompt_tokens,
            context_size=window,
        )


def fitted_prompt(engine: Engine, number: int, tokens: int) -> str:
    """Return a text of so many tokens as the model counts them, BOS included.

    Each number begins another text, so that no two share what an engine would evaluate once. Where
    no text of exactly this length is found, the result is a few tokens shorter.
    """
    words = TEXT.split()
    start = 7 * number
    body = (words[(start + n) % len(words)] for n in range(tokens))
    text = tokenize(
        engine, Tokenize(prompt=f"{number}. {' '.join(body)}", limit=tokens, keep="head")
    ).text
    best = text
    for _ in range(FITTING_TRIES):  # what was cut between tokens may be tokenized otherwise
        found = tokenize(engine, Tokenize(prompt=text)).token_count
        if found <= tokens:
            best = text
        if found == tokens:
            break
        text = text[:-1] if found > tokens else text + " a"
    return best


class _Work:
    """Counts the work done, in prompt tokens."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0
        self.text = ""

    def add(self, work: int) -> None:
        self._done += work
        self._report(self._done, self.text)


def _prompts(engine: Engine, numbers: Iterator[int], batch: int, task: BenchTask) -> list[str]:
    return [fitted_prompt(engine, next(numbers), task.prompt_tokens) for _ in range(batch)]


def _events(engine: Engine, prompts: Sequence[str], max_tokens: int) -> Generator[Event, None, None]:
    sampling = SamplingParams(temperature=0, max_tokens=max_tokens)
    requests = [Generate(prompt=text, sampling=sampling, id=n) for n, text in enumerate(prompts)]
    with contextlib.closing(engine.run(requests)) as events:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            yield event


def _warm_up(engine: Engine, prompts: Sequence[str], task: BenchTask, progress: _Work) -> None:
    """Let the engine make room for the batch and touch all weights: until every answer has begun."""
    silent = set(range(len(prompts)))
    with contextlib.closing(_events(engine, prompts, task.tokens)) as events:
        for event in events:
            if isinstance(event, Delta | Finished) and event.id in silent:
                silent.remove(event.id)
                progress.add(task.prompt_tokens)
            if not silent:
                break


def _read(engine: Engine, prompts: Sequence[str], progress: _Work) -> float:
    """Return the prompt tokens read per second: one token of each answer is waited for."""
    tokens = 0
    begun = time.perf_counter()
    for event in _events(engine, prompts, 1):
        if isinstance(event, Finished):
            tokens += event.usage.prompt_tokens - event.usage.cached_tokens
            progress.add(event.usage.prompt_tokens)
    return tokens / max(time.perf_counter() - begun, 1e-9)


def _write(
    engine: Engine, prompts: Sequence[str], limit: int, prompt_rate: float, progress: _Work
) -> Round:
    """Measure the answers of one batch from when all are being written.

    Where the engine has no room for all at once: from the first token on.
    """
    begun: dict[int, tuple[float, int]] = {}  # by request: its first token's time, pieces until then
    pieces = tokens = running = at_once = 0
    overlap = False
    now = time.perf_counter()
    for event in _events(engine, prompts, limit):
        now = time.perf_counter()
        if isinstance(event, Started):
            running += 1
            at_once = max(at_once, running)
        elif isinstance(event, Delta):
            pieces += 1  # nearly always a token each
            begun.setdefault(event.id, (now, pieces))
            overlap |= running == len(begun) == len(prompts)
            progress.add(WRITING_WORK)
        elif isinstance(event, Finished):
            running -= 1
            tokens += event.usage.completion_tokens
            if event.id in begun:
                # Text may be held back for a moment to be sent with the next; the engine's clock knows.
                arrived, before = begun[event.id]
                begun[event.id] = (min(arrived, now - event.timings.generate_s), before)
    since, before = (max if overlap else min)(begun.values(), default=(now, tokens))
    if tokens <= before:
        raise GptcliError("the answers end at once: there is nothing to measure", hint="another model")
    rate = (tokens - before) / max(now - since, 1e-9)
    return Round(prompt_rate=prompt_rate, decode_rate=rate, tokens=tokens, at_once=at_once)
