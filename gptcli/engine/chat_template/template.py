"""Renders conversations with a chat template, as far as it goes along with them."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gptcli.engine.chat_template.budget import Budget, LimitError, time_limit
from gptcli.engine.chat_template.sandbox import TemplateFailedError, compile_template, describe
from gptcli.engine.thinking import TAGS
from gptcli.errors import ModelFileError, UsageError
from gptcli.messages import Conversation, Message

if TYPE_CHECKING:
    from jinja2 import Template

MAX_SOURCE = 128 * 1024  # characters; known templates have up to 30,000
CONTINUE_MARK = "\ue002\ue003"  # private-use characters: here an unfinished answer goes on
PROBE = "gptcliprobe"


class ChatTemplate:
    """A chat template. `bos_token` and `eos_token` are the texts of the model's own tokens."""

    def __init__(self, source: str, bos_token: str, eos_token: str) -> None:
        self._source = source
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        self._budget = Budget()

    def render(
        self, conversation: Conversation, *, thinking: bool = True, now: datetime | None = None
    ) -> str:
        """Return the prompt for the next answer, or for the rest of an unfinished last one.

        A system message goes into the first user message if the template does not know the role.
        Raises ModelFileError when the template fails, or does too much.
        """
        import jinja2.ext
        import jinja2.sandbox  # noqa: F401 (before the clock runs)

        messages = conversation.messages
        if not messages:
            raise UsageError("the conversation has no messages")
        options = {"enable_thinking": thinking, "thinking": thinking, "strftime_now": _clock(now)}
        try:
            with time_limit():
                self._budget.start(sum(len(message.content) for message in messages))
                if messages[-1].role == "assistant":
                    return self._continue(messages, options)
                return self._fill(messages, {**options, "add_generation_prompt": True})
        except (TemplateFailedError, LimitError) as error:
            raise ModelFileError(
                f"the chat template of this model fails: {_reason(error, messages)}", hint="--raw"
            ) from error

    def _continue(self, messages: Sequence[Message], options: dict[str, Any]) -> str:
        *earlier, last = messages
        abilities, has_system = self._abilities, any(m.role == "system" for m in earlier)
        if not has_system or not abilities.takes_system or abilities.shows_system_to_the_end:
            marked = [*earlier, Message("assistant", last.content + CONTINUE_MARK)]
            with contextlib.suppress(TemplateFailedError):
                text = self._fill(marked, {**options, "add_generation_prompt": False})
                prompt, mark, _ = text.rpartition(CONTINUE_MARK)
                if mark:
                    return prompt
        return self._fill(earlier, {**options, "add_generation_prompt": True}) + last.content

    def _fill(self, messages: Sequence[Message], variables: dict[str, Any]) -> str:
        parts = self._abilities.takes_parts
        run = functools.partial(self._run, self._template, variables=variables, parts=parts)
        if all(message.role != "system" for message in messages):
            return run(messages)
        if not self._abilities.takes_system:
            return run(_without_system(messages))
        try:
            return run(messages)
        except TemplateFailedError:  # not at this place, perhaps, or not two of them
            with contextlib.suppress(TemplateFailedError):
                return run(_without_system(messages))
            raise

    @functools.cached_property
    def _abilities(self) -> _Abilities:
        asked = Message("user", PROBE)
        parts = not self._shows_probe(asked) and self._shows_probe(asked, parts=True)
        told = [Message("system", PROBE), Message("user", "x")]
        return _Abilities(
            takes_parts=parts,
            takes_system=self._shows_probe(*told, parts=parts),
            shows_system_to_the_end=self._shows_probe(*told, Message("assistant", "x"), parts=parts),
        )

    def _shows_probe(self, *messages: Message, parts: bool = False) -> bool:
        template = self._template  # it may not even compile: that is not what is asked here
        asks = messages[-1].role == "user"
        variables = {"add_generation_prompt": asks, "strftime_now": _clock(None)}
        with contextlib.suppress(TemplateFailedError):
            return PROBE in self._run(template, messages, variables, parts=parts)
        return False

    @functools.cached_property
    def _template(self) -> Template:
        if len(self._source) > MAX_SOURCE:
            raise TemplateFailedError(f"it is longer than {MAX_SOURCE} characters")
        return compile_template(self._source, self._budget)

    def _run(
        self, template: Template, messages: Sequence[Message], variables: dict[str, Any], *, parts: bool
    ) -> str:
        written: list[str] = []
        try:
            pieces = template.generate(
                messages=[_as_dict(message, parts=parts) for message in messages],
                tools=None,
                documents=None,
                **self._tokens,
                **variables,
            )
            written.extend(self._budget.made(piece) for piece in pieces)
        except Exception as error:  # a template may raise anything
            raise TemplateFailedError(describe(error)) from error
        return "".join(written)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Abilities:
    """What a template does with messages, found out by trying."""

    takes_parts: bool  # it wants each content as a list of parts, as templates for images do
    takes_system: bool
    shows_system_to_the_end: bool  # Mistral Nemo's does so only while a user message is the last one


def _as_dict(message: Message, *, parts: bool) -> dict[str, Any]:
    content = [{"type": "text", "text": message.content}] if parts else message.content
    return {"role": message.role, "content": content}


def opens_thinking(prompt: str) -> bool:
    """Tell whether the prompt ends inside a thinking block, so that the answer begins with thinking.

    An opener that another turn follows does not count: somebody only wrote about it.
    """
    openers = [(prompt.rfind(opener), opener) for opener in TAGS]
    openers += [(match.start(), match[0]) for match in _HARMONY_ANALYSIS.finditer(prompt)]
    start, opener = max(openers)
    rest = prompt[start + len(opener) :]
    return start >= 0 and TAGS.get(opener, "<|end|>") not in rest and not _TURN_MARK.search(rest)


# Where a turn begins or ends in the usual chat formats: <|im_end|>, <｜User｜>, [/INST], </s>, …
_TURN_MARK = re.compile(r"<[|｜]|[|｜]>|\[/?(?:INST|SYSTEM_PROMPT)\]|</?s>|<(?:start|end)_of_turn>")
_HARMONY_ANALYSIS = re.compile(r"<\|channel\|>(?!final)[^<]{1,64}<\|message\|>")


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """Return the messages with the system's texts at the start of the user message after them."""
    merged: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.content)
        elif not waiting:
            merged.append(message)
        elif message.role == "user":
            merged.append(Message("user", "\n\n".join([*waiting, message.content])))
            waiting = []
        else:
            merged += [Message("user", "\n\n".join(waiting)), message]
            waiting = []
    if waiting:
        merged.append(Message("user", "\n\n".join(waiting)))
    return merged


def _clock(now: datetime | None) -> Callable[[str], str]:
    moment = now or datetime.now().astimezone()

    def strftime_now(form: str) -> str:
        if len(form) > 100 or re.search(r"%\W*\d", form):  # glibc pads to any width
            raise LimitError(f"it asks for the time as {form[:20]!r}")
        return moment.strftime(form)

    return strftime_now


def _reason(error: BaseException, messages: Sequence[Message]) -> str:
    turns = [message.role for message in messages if message.role != "system"]
    expected = [("user", "assistant")[n % 2] for n in range(len(turns))]
    if turns == expected or isinstance(error, LimitError):
        return str(error)
    return f"it wants user and assistant to take turns, beginning with the user ({error})"
