"""Serves requests on one backend: prompts to tokens, tokens to text, cancellation.

Knows nothing of ctypes: the backend is a protocol. Requests are served one after another; what a
prompt shares with the one before it stays in the KV cache.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Protocol

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
    ModelInfo,
    Prompt,
    Request,
    RequestId,
    Score,
    Scored,
    Started,
    Timings,
    Tokenize,
    Tokenized,
    TokenLogprob,
    Usage,
)
from gptcli.engine.chat_template import ChatTemplate, opens_thinking
from gptcli.engine.text import StopStream, Utf8Stream
from gptcli.engine.thinking import MARKERS, ThinkingSplitter
from gptcli.errors import ContextOverflowError, GptcliError, UsageError
from gptcli.messages import Conversation, Message
from gptcli.sampling import OutputConstraint, SamplingParams

ROOM_FOR_ANSWER = 1024  # tokens of the window kept for an answer of unknown length
CHARACTERS_TO_COUNT = 2_000_000  # longer texts are counted by extrapolation
CHARACTERS_PER_TOKEN_AT_MOST = 32  # for cutting a huge text down before it is tokenized
CONTENT_MARK = "\ue000{}\ue001"  # private-use characters: stand for a message's content


class Aborted(Exception):  # noqa: N818 (an event, not an error)
    """The evaluation was stopped by `Backend.abort`."""


class TokenSampler(Protocol):
    """Chooses tokens for one request."""

    def accept_prompt(self, tokens: Sequence[int]) -> None: ...
    def sample(self) -> int: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """A model in this process. `prefill`, `extend`, `continuation_logprob` and `embed` raise Aborted."""

    info: ModelInfo

    def tokenize(self, text: str, *, add_bos: bool, parse_special: bool) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def special_piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...
    def bos(self) -> str: ...
    def eos(self) -> str: ...
    def is_control(self, token: int) -> bool: ...
    def reserve(self, tokens: int) -> int: ...
    def prefill(self, tokens: Sequence[int]) -> int: ...
    def extend(self, token: int) -> None: ...
    def sampler(self, sampling: SamplingParams, constraint: OutputConstraint | None) -> TokenSampler: ...
    def token_logprob(self, token: int, alternatives: int) -> TokenLogprob: ...
    def continuation_logprob(self, prefix: Sequence[int], continuation: Sequence[int]) -> float: ...
    def embed(self, tokens: Sequence[int]) -> tuple[float, ...]: ...
    def abort(self) -> None: ...
    def resume(self) -> None: ...


class Scheduler:
    """Turns requests into events. `run` belongs to one thread; `cancel` may come from another."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._prompts = PromptEncoder(backend)
        self._current: RequestId | None = None
        self._cancelled: set[RequestId] = set()

    def expect(self, request_id: RequestId) -> None:
        """Forget a cancellation that came too late for an earlier request of this id."""
        self._cancelled.discard(request_id)

    def cancel(self, request_id: RequestId) -> None:
        """Stop a request, running or waiting: it finishes as `cancelled`."""
        self._cancelled.add(request_id)
        if self._current == request_id:
            self._backend.abort()

    def run(self, request: Request) -> Iterator[Event]:
        """Yield the request's events; the last one is in FINAL_EVENTS."""
        self._backend.resume()
        self._current = request.id
        try:
            if request.id in self._cancelled:
                raise Aborted
            yield from self._serve(request)
        except Aborted:
            yield Finished(id=request.id, reason="cancelled", usage=Usage())
        except GptcliError as error:
            yield Failed(id=request.id, error=error)
        finally:
            self._current = None
            self._cancelled.discard(request.id)

    def _serve(self, request: Request) -> Iterator[Event]:
        match request:
            case Generate():
                yield from self._generate(request)
            case Score():
                yield self._score(request)
            case Embed():
                tokens = self._backend.tokenize(request.text, add_bos=True, parse_special=False)
                vector = self._backend.embed(tokens)
                usage = Usage(prompt_tokens=len(tokens))
                yield Embedded(id=request.id, vector=vector, usage=usage)
            case Tokenize():
                yield self._tokenize(request)

    # ----------------------------------------------------------------------------------- generate

    def _generate(self, request: Generate) -> Iterator[Event]:
        backend, limit = self._backend, request.sampling.max_tokens
        thinking = request.thinking and request.constraint is None
        text, tokens = self._prompts.encode(request.prompt, thinking=thinking)
        window = self._open_window(tokens, ROOM_FOR_ANSWER if limit is None else limit)
        yield Started(id=request.id, prompt_tokens=len(tokens), context_size=window)
        sampler = backend.sampler(request.sampling, request.constraint)
        try:
            started = time.perf_counter()
            cached = backend.prefill(tokens)
            sampler.accept_prompt(tokens)
            prompt_s = time.perf_counter() - started
            is_chat = isinstance(request.prompt, Conversation) and request.constraint is None
            output = AnswerText(request, splits=is_chat, open_thinking=is_chat and opens_thinking(text))
            room = window - len(tokens)
            count = 0
            most = room if limit is None else min(limit, room)
            reason: FinishReason = "length"
            while count < most:
                count += 1
                token = sampler.sample()
                if backend.is_end(token):
                    reason = "stop"
                    break
                yield from output.feed(self._bytes(token), self._logprob(request, token))
                if output.stopped:
                    reason = "stop"
                    break
                if count == most:
                    break
                if not self._extend(request, token):
                    reason = "cancelled"
                    break
            yield from output.flush()
            generate_s = time.perf_counter() - started - prompt_s
        finally:
            sampler.close()
        yield Finished(
            id=request.id,
            reason=reason,
            usage=Usage(prompt_tokens=len(tokens), cached_tokens=cached, completion_tokens=count),
            timings=Timings(prompt_s=prompt_s, generate_s=generate_s),
        )

    def _extend(self, request: Generate, token: int) -> bool:
        """Evaluate a token; False when the request was cancelled."""
        if request.id in self._cancelled:
            return False
        try:
            self._backend.extend(token)
        except Aborted:
            return False
        return True

    def _open_window(self, tokens: Sequence[int], room: int) -> int:
        if not tokens:
            raise UsageError("the prompt is empty")
        window = self._backend.reserve(len(tokens) + room)
        if len(tokens) >= window:
            raise overflow_error(len(tokens), window, self._backend.info.context_length)
        return window

    def _bytes(self, token: int) -> bytes:
        shown = self._backend.piece(token)
        if shown:
            return shown
        # Control tokens are not text, except those that say where the thinking begins and ends.
        special = self._backend.special_piece(token)
        return special if special.decode("utf-8", "replace") in MARKERS else b""

    def _logprob(self, request: Generate, token: int) -> TokenLogprob | None:
        if request.logprobs is None:
            return None
        return self._backend.token_logprob(token, request.logprobs)

    # ----------------------------------------------------------------------- score, tokenize

    def _score(self, request: Score) -> Scored:
        prefix, continuations = self._prompts.encode_continuations(request)
        longest = max((len(tokens) for tokens in continuations), default=0)
        self._open_window(prefix, longest)
        logprobs = tuple(self._backend.continuation_logprob(prefix, tokens) for tokens in continuations)
        counts = tuple(len(tokens) for tokens in continuations)
        usage = Usage(prompt_tokens=len(prefix), completion_tokens=sum(counts))
        return Scored(id=request.id, logprobs=logprobs, token_counts=counts, usage=usage)

    def _tokenize(self, request: Tokenize) -> Tokenized:
        text, tokens, count = self._prompts.encode_for_count(request)
        if request.limit is None or len(tokens) <= request.limit:
            return Tokenized(id=request.id, text=text, token_count=count, kept_tokens=len(tokens))
        limit = request.limit
        tail = {"head": 0, "tail": limit, "middle": limit // 2}[request.keep]
        head = limit - tail
        parts = [tokens[:head], tokens[len(tokens) - tail :]]
        shown = ["".join(self._decoded(part)).strip() for part in parts if part]
        return Tokenized(id=request.id, text="\n[…]\n".join(shown), token_count=count, kept_tokens=limit)

    def _decoded(self, tokens: Sequence[int]) -> Iterator[str]:
        stream = Utf8Stream()
        for token in tokens:
            yield stream.feed(self._backend.piece(token))
        yield stream.flush()


class AnswerText:
    """From one request's tokens to its deltas: whole characters, thinking apart, stops cut off."""

    def __init__(self, request: Generate, *, splits: bool, open_thinking: bool) -> None:
        self._id = request.id
        self._utf8 = Utf8Stream()
        self._splitter = ThinkingSplitter(open=open_thinking) if splits else None
        self._stops = StopStream(request.stop)
        self._logprobs: list[TokenLogprob] = []

    @property
    def stopped(self) -> bool:
        return self._stops.stopped

    def feed(self, data: bytes, logprob: TokenLogprob | None) -> Iterator[Delta]:
        if logprob is not None:
            self._logprobs.append(logprob)
        text = self._utf8.feed(data)
        if text:
            yield from self._split(text)

    def flush(self) -> Iterator[Delta]:
        yield from self._split(self._utf8.flush())
        rest = self._splitter.flush() if self._splitter is not None else []
        for channel, piece in rest:
            yield from self._emit(channel, piece)
        if not self.stopped:
            yield from self._delta("answer", self._stops.flush())

    def _split(self, text: str) -> Iterator[Delta]:
        pieces: list[tuple[Channel, str]] = (
            [("answer", text)] if self._splitter is None else self._splitter.feed(text)
        )
        for channel, piece in pieces:
            yield from self._emit(channel, piece)

    def _emit(self, channel: Channel, piece: str) -> Iterator[Delta]:
        yield from self._delta(channel, self._stops.feed(piece) if channel == "answer" else piece)

    def _delta(self, channel: Channel, text: str) -> Iterator[Delta]:
        if text:
            logprobs, self._logprobs = tuple(self._logprobs), []
            yield Delta(id=self._id, text=text, channel=channel, logprobs=logprobs)


class PromptEncoder:
    """Turns prompts into tokens. What a message says can never become a control token."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._template: ChatTemplate | None = None

    def encode(self, prompt: Prompt, *, thinking: bool = True) -> tuple[str, list[int]]:
        """Return the prompt's text as the model sees it, and its tokens.

        Raises UsageError for a conversation with a model that has no chat template, ModelFileError
        for a template that fails, ContextOverflowError for a text too long to be worth tokenizing.
        """
        if isinstance(prompt, str):
            self._check_length(prompt)
            return prompt, self._tokens(prompt)
        text = self._render(prompt, thinking)
        self._check_length(text)
        if any(self._has_control_token(message.content) for message in prompt.messages):
            return text, self._encode_guarded(prompt, thinking)
        return text, self._tokens(text)

    def encode_for_count(self, request: Tokenize) -> tuple[str, list[int], int]:
        """Return a prompt's text, its tokens, and their number in the whole prompt.

        A text far too long for the request's limit is cut to what may be kept before it is
        tokenized; its number of tokens is then an estimate from the part.
        """
        text = request.prompt
        if isinstance(text, Conversation):
            shown, tokens = self.encode(text, thinking=request.thinking)
            return shown, tokens, len(tokens)
        most = (request.limit or 0) * CHARACTERS_PER_TOKEN_AT_MOST
        if request.limit is None or len(text) <= max(CHARACTERS_TO_COUNT, 2 * most):
            tokens = self._tokens(text)
            return text, tokens, len(tokens)
        part = text[:most] + text[-most:]
        tokens = self._tokens(part)
        return part, tokens, len(tokens) * len(text) // len(part)

    def encode_continuations(self, request: Score) -> tuple[list[int], list[list[int]]]:
        """Return the prefix's tokens and each continuation's.

        As lm-evaluation-harness does: white space at the prefix's end goes to the continuations,
        and prefix and continuation are tokenized together, since " positive" is one token.
        """
        text, _ = self.encode(request.prefix)
        kept = text.rstrip() or text
        moved = text[len(kept) :]
        prefix = self._tokens(kept)
        continuations = []
        for continuation in request.continuations:
            whole = self._tokens(kept + moved + continuation)
            if len(whole) <= len(prefix):
                raise UsageError(f"{continuation!r} adds no token to the prefix, so it has no score")
            continuations.append(whole[len(prefix) :])
        return prefix, continuations

    def _render(self, prompt: Conversation, thinking: bool) -> str:
        source = self._backend.info.chat_template
        if source is None:
            raise UsageError("this model has no chat template: it is a base model", hint="--raw")
        if self._template is None:
            self._template = ChatTemplate(source, self._backend.bos(), self._backend.eos())
        return self._template.render(prompt, thinking=thinking)

    def _tokens(self, text: str) -> list[int]:
        # A template writes BOS itself; twice would be wrong.
        bos = self._backend.bos()
        add_bos = not (bos and text.startswith(bos))
        return self._backend.tokenize(text, add_bos=add_bos, parse_special=True)

    def _encode_guarded(self, prompt: Conversation, thinking: bool) -> list[int]:
        marked = Conversation(
            tuple(
                Message(message.role, CONTENT_MARK.format(n))
                for n, message in enumerate(prompt.messages)
            )
        )
        rest = self._render(marked, thinking)
        tokens: list[int] = []
        for n, message in enumerate(prompt.messages):
            before, mark, rest = rest.partition(CONTENT_MARK.format(n))
            if not mark:
                raise UsageError("the text contains control tokens of this model", hint="--raw")
            tokens += self._part(before, is_first=not tokens)
            tokens += self._backend.tokenize(message.content, add_bos=False, parse_special=False)
        return tokens + self._part(rest, is_first=not tokens)

    def _part(self, text: str, *, is_first: bool) -> list[int]:
        if is_first:
            return self._tokens(text)
        return self._backend.tokenize(text, add_bos=False, parse_special=True)

    def _has_control_token(self, text: str) -> bool:
        tokens = self._backend.tokenize(text, add_bos=False, parse_special=True)
        return any(self._backend.is_control(token) for token in tokens)

    def _check_length(self, text: str) -> None:
        info = self._backend.info
        if len(text) <= CHARACTERS_TO_COUNT:
            return
        sample = self._backend.tokenize(text[:CHARACTERS_TO_COUNT], add_bos=False, parse_special=False)
        if len(sample) >= info.context_limit:
            estimate = len(sample) * len(text) // CHARACTERS_TO_COUNT // 1000 * 1000
            raise overflow_error(estimate, info.context_limit, info.context_length, about=True)


def overflow_error(
    prompt_tokens: int, window: int, trained: int, *, about: bool = False
) -> ContextOverflowError:
    """Return the error that names both token counts and what can be done."""
    count = f"about {prompt_tokens:,}" if about else f"{prompt_tokens:,}"
    larger = next((size for size in (1 << n for n in range(9, 31)) if size > prompt_tokens), 0)
    hint = "--overflow head, tail or middle keeps a part of the text"
    if window < trained and larger <= trained:
        hint = f"--ctx-size {larger}, or {hint}"
    return ContextOverflowError(
        f"the prompt has {count} tokens, and the context window holds {window:,}",
        hint=hint,
        prompt_tokens=prompt_tokens,
        context_size=window,
    )
