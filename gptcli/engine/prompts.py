"""From prompts to tokens: templates applied, lengths checked, control tokens guarded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from gptcli.engine.api import ModelInfo, Prompt, Score, Tokenize, Tokenized
from gptcli.engine.chat_template import ChatTemplate
from gptcli.engine.text import Utf8Stream
from gptcli.errors import ContextOverflowError, UsageError
from gptcli.messages import Conversation, Message

CHARACTERS_TO_COUNT = 2_000_000  # longer texts are counted by extrapolation
CHARACTERS_PER_TOKEN_AT_MOST = 32  # for cutting a huge text down before it is tokenized
FEW = 8  # continuations that are tokenized with their whole prefix: of more, with its last line
CONTENT_MARK = "\ue000{}\ue001"  # private-use characters: stand for a message's content


class Vocabulary(Protocol):
    """What of a model turns text into tokens and back."""

    info: ModelInfo

    def tokenize(self, text: str, *, add_bos: bool, parse_special: bool) -> list[int]: ...
    def piece(self, token: int) -> bytes: ...
    def special_piece(self, token: int) -> bytes: ...
    def is_end(self, token: int) -> bool: ...
    def is_control(self, token: int) -> bool: ...
    def bos(self) -> str: ...
    def eos(self) -> str: ...


class PromptEncoder:
    """Turns prompts into tokens. What a message says can never become a control token."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
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

    def tokenized(self, request: Tokenize) -> Tokenized:
        """Return the answer to a Tokenize request: the prompt as the model sees it, cut to the limit."""
        text, tokens, count = self.encode_for_count(request)
        if request.limit is None or len(tokens) <= request.limit:
            return Tokenized(id=request.id, text=text, token_count=count, kept_tokens=len(tokens))
        limit = request.limit
        tail = {"head": 0, "tail": limit, "middle": limit // 2}[request.keep]
        head = limit - tail
        parts = [tokens[:head], tokens[len(tokens) - tail :]]
        shown = ["".join(self._decoded(part)).strip() for part in parts if part]
        return Tokenized(id=request.id, text="\n[…]\n".join(shown), token_count=count, kept_tokens=limit)

    def check_fits(self, tokens: int) -> None:
        """Raise UsageError for an empty prompt, ContextOverflowError for one that leaves no room."""
        info = self._vocabulary.info
        if not tokens:
            raise UsageError("the prompt is empty")
        if tokens >= info.context_limit:
            raise overflow_error(tokens, info)

    def encode_continuations(self, request: Score) -> tuple[list[int], list[list[int]]]:
        """Return the prefix's tokens and each continuation's.

        As lm-evaluation-harness does: white space at the prefix's end goes to the continuations,
        and prefix and continuation are tokenized together, since " positive" is one token. But it stays
        where it is a token of its own in any case, as the line end of a chat template.
        """
        text, tokens = self.encode(request.prefix)
        kept = text.rstrip() or text
        moved = text[len(kept) :]
        prefix = self._tokens(kept) if moved else list(tokens)
        last_line = self._last_line(kept, prefix) if len(request.continuations) > FEW else None
        continuations = []
        for continuation in request.continuations:
            if last_line is None:
                whole, own = self._tokens(kept + moved + continuation), len(prefix)
            else:
                line, own = last_line
                whole = self._part(line + moved + continuation, is_first=False)
            if len(whole) <= own:
                raise UsageError(f"{continuation!r} adds no token to the prefix, so it has no score")
            continuations.append(whole[own:])
        space = tokens[len(prefix) :] if tokens[: len(prefix)] == prefix else []
        if space and all(
            each[: len(space)] == space and len(each) > len(space) for each in continuations
        ):
            return tokens, [each[len(space) :] for each in continuations]
        return prefix, continuations

    def _last_line(self, text: str, tokens: list[int]) -> tuple[str, int] | None:
        """Return the text's last line and its number of tokens, if it is tokenized as it is alone."""
        before, newline, line = text.rpartition("\n")
        own = self._part(line, is_first=False) if newline and line.strip() == line else []
        return (line, len(own)) if own and before and tokens[-len(own) :] == own else None

    def _decoded(self, tokens: Sequence[int]) -> Iterator[str]:
        stream = Utf8Stream()
        for token in tokens:
            yield stream.feed(self._vocabulary.piece(token))
        yield stream.flush()

    def _render(self, prompt: Conversation, thinking: bool) -> str:
        source = self._vocabulary.info.chat_template
        if source is None:
            raise UsageError("this model has no chat template: it is a base model", hint="--raw")
        if self._template is None:
            self._template = ChatTemplate(source, self._vocabulary.bos(), self._vocabulary.eos())
        return self._template.render(prompt, thinking=thinking)

    def _tokens(self, text: str) -> list[int]:
        # A template writes BOS itself; twice would be wrong.
        bos = self._vocabulary.bos()
        add_bos = not (bos and text.startswith(bos))
        return self._vocabulary.tokenize(text, add_bos=add_bos, parse_special=True)

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
            tokens += self._vocabulary.tokenize(message.content, add_bos=False, parse_special=False)
        return tokens + self._part(rest, is_first=not tokens)

    def _part(self, text: str, *, is_first: bool) -> list[int]:
        if is_first:
            return self._tokens(text)
        return self._vocabulary.tokenize(text, add_bos=False, parse_special=True)

    def _has_control_token(self, text: str) -> bool:
        tokens = self._vocabulary.tokenize(text, add_bos=False, parse_special=True)
        return any(self._vocabulary.is_control(token) for token in tokens)

    def _check_length(self, text: str) -> None:
        info = self._vocabulary.info
        if len(text) <= CHARACTERS_TO_COUNT:
            return
        sample = self._vocabulary.tokenize(
            text[:CHARACTERS_TO_COUNT], add_bos=False, parse_special=False
        )
        if len(sample) >= info.context_limit:
            estimate = len(sample) * len(text) // CHARACTERS_TO_COUNT // 1000 * 1000
            raise overflow_error(estimate, info, about=True)


def overflow_error(prompt_tokens: int, model: ModelInfo, *, about: bool = False) -> ContextOverflowError:
    """Return the error that names both token counts and what can be done."""
    count = f"about {prompt_tokens:,}" if about else f"{prompt_tokens:,}"
    larger, window = model.window_for(prompt_tokens), model.context_limit
    return ContextOverflowError(
        f"the prompt has {count} tokens, and the context window holds {window:,}",
        hint=f"--ctx-size {larger}" if larger else "a shorter text, or a model with a larger window",
        prompt_tokens=prompt_tokens,
        context_size=window,
    )
