"""The engine seam: requests go in, events come out, whatever runs the model.

One streaming method serves one request or a million. `Engine.run` pulls a request only when it has
room for it, works on as many as fit together, and yields events, each with its request's id.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gptcli.errors import GptcliError
from gptcli.messages import Conversation
from gptcli.sampling import OutputConstraint, SamplingParams

# --------------------------------------------------------------------------------------- requests

Prompt = str | Conversation
"""Text continued as it stands, or a conversation: then the engine applies the chat template,
because the template belongs to the model (a remote server applies its own)."""

RequestId = int


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Write text. `logprobs`: report the K most likely alternatives of each token (None: none)."""

    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    constraint: OutputConstraint | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    thinking: bool = True  # False: ask the chat template for an answer without reasoning
    id: RequestId = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Ask for log P(continuation | prefix), in nats, of each continuation.

    Continuations that begin alike are evaluated together: thousands that are the beginnings of a few
    long ones, each with another last token, cost as much as those few. `beam`: of these only so many
    are gone on with, by their first tokens and the `priors` of their continuations, in nats; what the
    others have is -inf.

    `head`: a prompt that begins as this one, and many others, do: as it would without their texts. Then
    the result is the same to the last bit whatever else is worked on, where the processor and the model
    allow it. `beam` counts for nothing then.
    """

    prefix: Prompt
    continuations: tuple[str, ...]
    beam: int | None = None
    priors: tuple[float, ...] = ()
    head: Prompt | None = None
    id: RequestId = 0


@dataclass(frozen=True, slots=True)
class HiddenState:
    """A point of the network to read: what the blocks up to `layer`, from 1, make of the text.

    The last block's output is no such point: `layer` is less than `ModelInfo.layer_count`. `pooling`
    takes the state of the last token, or the mean over all tokens but the first, to which attention
    goes that has no other aim.
    """

    layer: int
    pooling: Literal["last", "mean"] = "last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Embed:
    """Ask for the text's embedding vector; with `states`, for those hidden states instead.

    Layers above the highest that is asked for are not evaluated.
    """

    text: str
    states: tuple[HiddenState, ...] = ()
    id: RequestId = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenize:
    """Ask for the exact prompt text and its tokens, without running the model.

    `keep` cuts to `limit` tokens: the head, the tail, or head and tail without the middle.
    """

    prompt: Prompt
    limit: int | None = None
    keep: Literal["head", "tail", "middle"] = "head"
    thinking: bool = True
    id: RequestId = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Ask that what is evaluated of a prompt is kept on the disk, for a later process."""

    prompt: Prompt
    thinking: bool = True
    id: RequestId = 0


Request = Generate | Score | Embed | Tokenize | Keep

# ----------------------------------------------------------------------------------------- events

FinishReason = Literal["stop", "length", "cancelled"]
Channel = Literal["answer", "thinking"]


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token's log-probability in nats, with the most likely alternatives at its place."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request. `cached_tokens` of the prompt were not evaluated again."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds of wall time of one request."""

    prompt_s: float = 0.0
    generate_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The request was admitted: its prompt is tokenized and about to be evaluated."""

    id: RequestId
    prompt_tokens: int
    context_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The next piece of text: never half a character, never part of a stop string."""

    id: RequestId
    text: str
    channel: Channel = "answer"
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """log P of each continuation, in nats, in the request's order; and their lengths in tokens."""

    id: RequestId
    logprobs: tuple[float, ...]
    token_counts: tuple[int, ...]
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The embedding: `ModelInfo.embedding_size` floats, of Euclidean length 1.

    Or, if they were asked for, hidden states in the request's order, each as many floats, as they are.
    """

    id: RequestId
    vector: tuple[float, ...] = ()
    states: tuple[array[float], ...] = ()
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenized:
    """The prompt as the model sees it.

    `token_count` counts the whole prompt (an estimate when it is hundreds of times too long),
    `kept_tokens` what is left after a cut to the request's limit, `text` is that rest.
    """

    id: RequestId
    text: str
    token_count: int
    kept_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """So many tokens are on the disk; 0: too few were evaluated, or this engine keeps none."""

    id: RequestId
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A Generate request is done."""

    id: RequestId
    reason: FinishReason
    usage: Usage
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """One request failed; others go on."""

    id: RequestId
    error: GptcliError


Event = Started | Delta | Scored | Embedded | Tokenized | Kept | Finished | Failed
FINAL_EVENTS = (Scored, Embedded, Tokenized, Kept, Finished, Failed)

# ----------------------------------------------------------------------------------------- engine


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What the loaded model says of itself."""

    name: str
    title: str = ""  # what its makers call it, e.g. "Gemma 3 270m"
    path: str = ""
    architecture: str = ""
    description: str = ""  # e.g. "gemma3 270M Q4_K - Medium"
    parameter_count: int = 0
    size_bytes: int = 0
    vocab_size: int = 0
    embedding_size: int = 0
    layer_count: int = 0
    context_length: int = 0  # tokens the model was trained with
    context_limit: int = 0  # tokens the engine will open at most
    chat_template: str | None = None  # Jinja source; None: a base model
    sampling: SamplingParams = field(default_factory=SamplingParams)  # the model's own defaults
    gpu_layers: int = 0
    threads: int = 0
    build: str = ""  # what runs the model: its version and what it was built with
    devices: tuple[str, ...] = ()  # the GPUs it sees
    load_s: float = 0.0
    notes: tuple[str, ...] = ()  # what the engine did by itself, for --verbose

    @property
    def is_chat(self) -> bool:
        return self.chat_template is not None

    def window_for(self, tokens: int) -> int | None:
        """Return a larger context window that has room behind so many tokens; None if there is none."""
        size = 1 << max(9, tokens.bit_length())
        return size if self.context_limit < self.context_length and size <= self.context_length else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How to open an engine. 0 for `ctx_size` and `threads`: chosen by the engine."""

    model_path: str
    model_name: str
    ctx_size: int = 0
    threads: int = 0
    gpu_layers: int | Literal["auto", "all"] = "auto"
    parallel: int = 0


class Engine(Protocol):
    """A loaded model. Closing the generator of `run` cancels its requests; the engine stays usable."""

    @property
    def model(self) -> ModelInfo: ...

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]: ...

    def close(self) -> None: ...


# ------------------------------------------------------------------------------- convenient forms


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer."""

    text: str
    thinking: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    logprobs: tuple[TokenLogprob, ...] = ()


def stream(engine: Engine, request: Request) -> Generator[Event, None, None]:
    """Yield one request's events; raise its error instead of yielding `Failed`."""
    with contextlib.closing(engine.run((request,))) as events:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            yield event


def complete(
    engine: Engine, request: Generate, on_delta: Callable[[Delta], object] | None = None
) -> Completion:
    """Return one request's whole answer; `on_delta` sees it grow. Raises what the request raised."""
    answer: dict[Channel, list[str]] = {"answer": [], "thinking": []}
    logprobs: list[TokenLogprob] = []
    for event in stream(engine, request):
        if isinstance(event, Delta):
            answer[event.channel].append(event.text)
            logprobs.extend(event.logprobs)
            if on_delta is not None:
                on_delta(event)
        elif isinstance(event, Finished):
            return Completion(
                text="".join(answer["answer"]),
                thinking="".join(answer["thinking"]),
                finish_reason=event.reason,
                usage=event.usage,
                timings=event.timings,
                logprobs=tuple(logprobs),
            )
    raise GptcliError("the engine ended without finishing the request")


def score_all(engine: Engine, requests: Iterable[Score]) -> Iterator[Scored | Failed]:
    """Yield each request's result as it is done, in any order."""
    for event in engine.run(requests):
        if isinstance(event, Scored | Failed):
            yield event


def tokenize(engine: Engine, request: Tokenize) -> Tokenized:
    """Return the prompt as the model sees it, and its token count."""
    for event in stream(engine, request):
        if isinstance(event, Tokenized):
            return event
    raise GptcliError("the engine ended without finishing the request")
