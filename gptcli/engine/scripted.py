"""ScriptedEngine: an engine that says what it was told to say. Ships for tests, ours and others'."""

from __future__ import annotations

import json
import re
import time
from array import array
from collections import deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gptcli.engine.api import (
    Channel,
    Delta,
    Embed,
    Embedded,
    Event,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Keep,
    Kept,
    ModelInfo,
    Prompt,
    Request,
    Score,
    Scored,
    Started,
    Timings,
    Tokenize,
    Tokenized,
    TokenLogprob,
    Usage,
)
from gptcli.errors import ContextOverflowError, GptcliError, UsageError
from gptcli.messages import Conversation

SCRIPTED_MODEL: dict[str, Any] = {
    "name": "scripted",
    "context_length": 4096,
    "context_limit": 4096,
    "embedding_size": 2,
    "layer_count": 10,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The answer to one request: text to generate, scores, a vector, or an error.

    `text` comes word by word, each after `delay_s` seconds.
    """

    text: str = ""
    thinking: str = ""
    finish_reason: FinishReason = "stop"
    logprobs: tuple[float, ...] = ()
    vector: tuple[float, ...] = ()
    error: GptcliError | None = None
    delay_s: float = 0.0


class ScriptedEngine:
    """Answers requests with queued replies, in order; then with `default`.

    A token is a word with the white space before it. `requests` keeps what was asked, unless
    `keeps_requests` is False.
    """

    def __init__(
        self,
        replies: Iterable[Reply] = (),
        *,
        default: Reply | None = None,
        model: ModelInfo | None = None,
        keeps_requests: bool = True,
    ) -> None:
        self._replies = deque(replies)
        self._default = default
        self._model = model or ModelInfo(**SCRIPTED_MODEL)
        self._keeps_requests = keeps_requests
        self.requests: list[Request] = []

    @classmethod
    def from_file(cls, path: Path) -> ScriptedEngine:
        """Return an engine with a file's replies, one JSON object a line; the last one repeats.

        A line with the key `model` describes the model instead. Raises UsageError.
        """
        replies, model = [], None
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                members = json.loads(line)
                if "model" in members:
                    model = ModelInfo(**{**SCRIPTED_MODEL, **members["model"]})
                    continue
                if "error" in members:
                    members["error"] = GptcliError(members["error"])
                replies.append(Reply(**members))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f'cannot read the script "{path}": {error}') from error
        default = replies[-1] if replies else None
        return cls(replies, default=default, model=model, keeps_requests=False)

    @property
    def model(self) -> ModelInfo:
        return self._model

    def reply(self, text: str, *, thinking: str = "", finish_reason: FinishReason = "stop") -> None:
        self._replies.append(Reply(text=text, thinking=thinking, finish_reason=finish_reason))

    def fail(self, error: GptcliError) -> None:
        self._replies.append(Reply(error=error))

    def close(self) -> None:
        """There is nothing to close."""

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        for request in requests:
            if self._keeps_requests:
                self.requests.append(request)
            try:
                yield from self._answer(request)
            except GptcliError as error:
                yield Failed(id=request.id, error=error)

    def _answer(self, request: Request) -> Generator[Event, None, None]:
        match request:
            case Tokenize():
                yield _tokenized(request)
            case Keep():
                yield Kept(id=request.id, tokens=0)
            case Generate():
                yield from self._generate(request, self._next_reply())
            case Score():
                reply = self._next_reply()
                scores = reply.logprobs or tuple(-1.0 for _ in request.continuations)
                counts = tuple(len(_words(text)) for text in request.continuations)
                yield Scored(id=request.id, logprobs=scores, token_counts=counts)
            case Embed():
                vector = self._next_reply().vector or (1.0,) + (0.0,) * (self._model.embedding_size - 1)
                if request.states:
                    states = tuple(array("f", vector) for _ in request.states)
                    yield Embedded(id=request.id, states=states)
                else:
                    yield Embedded(id=request.id, vector=vector)

    def _generate(self, request: Generate, reply: Reply) -> Generator[Event, None, None]:
        prompt_tokens = len(prompt_text(request.prompt).split())
        window = self._model.context_limit
        if not prompt_tokens:
            raise UsageError("the prompt is empty")
        if prompt_tokens >= window:
            raise ContextOverflowError(
                f"the prompt has {prompt_tokens:,} tokens, and the context window holds {window:,}",
                prompt_tokens=prompt_tokens,
                context_size=window,
            )
        yield Started(id=request.id, prompt_tokens=prompt_tokens, context_size=window)
        for word in _words(reply.thinking):
            yield Delta(id=request.id, text=word, channel="thinking")
        count, reason = 0, reply.finish_reason
        limit = request.sampling.max_tokens
        text, stopped = _until_stop(reply.text, request.stop)
        for word in _words(text):
            if count == limit:
                reason, stopped = "length", False
                break
            if reply.delay_s:
                time.sleep(reply.delay_s)
            count += 1
            yield self._delta(request, word, "answer")
        yield Finished(
            id=request.id,
            reason="stop" if stopped else reason,
            usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=count),
            timings=Timings(prompt_s=0.001, generate_s=0.001 * count),
        )

    @staticmethod
    def _delta(request: Generate, word: str, channel: Channel) -> Delta:
        if request.logprobs is None:
            return Delta(id=request.id, text=word, channel=channel)
        logprob = TokenLogprob(word, -0.1, ((word, -0.1),) if request.logprobs else ())
        return Delta(id=request.id, text=word, channel=channel, logprobs=(logprob,))

    def _next_reply(self) -> Reply:
        reply = self._replies.popleft() if self._replies else self._default
        if reply is None:
            raise GptcliError("the script has no reply left")
        if reply.error is not None:
            raise reply.error
        return reply


def prompt_text(prompt: Prompt) -> str:
    """Return a prompt as text: a conversation as `role: content` lines."""
    if isinstance(prompt, Conversation):
        return "\n".join(f"{message.role}: {message.content}" for message in prompt.messages)
    return prompt


@lru_cache(maxsize=256)
def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\s*\S+\s*\Z|\s*\S+", text))


def _until_stop(text: str, stops: Iterable[str]) -> tuple[str, bool]:
    found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)


def _tokenized(request: Tokenize) -> Tokenized:
    text = prompt_text(request.prompt)
    words = _words(text)
    if request.limit is None or len(words) <= request.limit:
        return Tokenized(id=request.id, text=text, token_count=len(words), kept_tokens=len(words))
    tail = {"head": 0, "tail": request.limit, "middle": request.limit // 2}[request.keep]
    kept = words[: request.limit - tail] + words[len(words) - tail :]
    return Tokenized(
        id=request.id, text="".join(kept), token_count=len(words), kept_tokens=request.limit
    )
