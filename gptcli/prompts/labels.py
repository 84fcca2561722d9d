"""The forms in which a model is asked for a label: one place for all of them.

The label is never generated. Each form ends where a label's word would follow, and the words that
stand for the labels are scored there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from gptcli.engine.api import Prompt
from gptcli.errors import UsageError
from gptcli.messages import Conversation, Message

# What a model could take for one of its control tokens: <|im_end|>, <end_of_turn>, [INST].
_CONTROL = re.compile(r"<(?=[^<>\s]{1,40}>)|\[(?=/?[A-Z_]{2,40}\])")


@dataclass(frozen=True, slots=True)
class Label:
    """A label: its name in results, and what it means, in the user's words."""

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """A text with the position of its label."""

    text: str
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelForm:
    """A prompt that ends where a label follows.

    `line` shows a text: `{text}` stands for it. `words` are the surface forms of each label; examples
    use the first. `stop` follows a word where one label's begins as another's, so that both are whole.
    With `is_chat` the line is a message of the user, and the word is the answer. With `is_multi` none or
    several of the labels may be right.
    """

    name: str
    line: str
    words: tuple[tuple[str, ...], ...]
    examples: tuple[Example, ...] = ()
    instruction: str = ""
    separator: str = "\n\n"
    stop: str = ""
    is_chat: bool = False
    is_multi: bool = field(default=False, repr=False)

    def prompt(self, text: str) -> Prompt:
        """Return the prompt for a text, whose white space and control tokens are made harmless."""
        if not self.is_chat:
            return self._head() + self._line(text)
        messages = [Message("system", self.instruction)] if self.instruction else []
        for example in self.examples:
            messages.append(Message("user", self._line(example.text)))
            messages.append(Message("assistant", self.words[example.label][0]))
        return Conversation((*messages, Message("user", self._line(text))))

    @property
    def head(self) -> Prompt:
        """Return the prompt without a text: what all of them begin with, and a little more."""
        return self.prompt("")

    @property
    def question_count(self) -> int:
        return 1

    def question(self, text: str, _: int = 0) -> tuple[Prompt, tuple[str, ...]]:
        """Return a prompt, and the continuations that are scored behind it."""
        return self.prompt(text), self.continuations

    @property
    def continuations(self) -> tuple[str, ...]:
        """Return all words of all labels, as they would follow the prompt."""
        space = "" if self.is_chat else " "
        return tuple(f"{space}{word}{self.stop}" for words in self.words for word in words)

    def scores(self, logprobs: Sequence[float]) -> tuple[float, ...]:
        """Return the log-probability of each label from those of all continuations, in nats.

        Where one of the labels is right, they are normalized.
        """
        found, at = [], 0
        for words in self.words:
            found.append(log_sum_exp(logprobs[at : at + len(words)]))
            at += len(words)
        return tuple(found) if self.is_multi else log_softmax(found)

    def _head(self) -> str:
        head = self.instruction + self.separator if self.instruction else ""
        shown = (
            f"{self._line(example.text)} {self.words[example.label][0]}{self.separator}"
            for example in self.examples
        )
        return head + "".join(shown)

    def _line(self, text: str) -> str:
        return self.line.replace("{text}", harmless(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelForm:
    """A form that asks the other way round: how likely the text is behind each label.

    That is the noisy channel of statistical translation, and of Min et al. 2022, "Noisy Channel Language
    Model Prompting for Few-Shot Text Classification". A liking of the model for a label has no part in
    it. `examples` come first, `line` shows a label: `{label}` stands for it, and the text follows.
    """

    name: str
    examples: str
    line: str
    words: tuple[str, ...]

    @property
    def head(self) -> Prompt:
        """Return what the prompts of all labels begin with."""
        return self.examples

    @property
    def question_count(self) -> int:
        return len(self.words)

    def question(self, text: str, label: int) -> tuple[Prompt, tuple[str, ...]]:
        """Return the prompt of a label, by its position, and the text as it would follow."""
        prompt = self.examples + self.line.replace("{label}", self.words[label])
        return prompt, (f" {harmless(text)}\n",)

    def scores(self, logprobs: Sequence[float]) -> tuple[float, ...]:
        """Return the log-probability of each label, if all are alike likely, from those of the text."""
        return log_softmax(logprobs)


AnyForm = LabelForm | ChannelForm


def harmless(text: str) -> str:
    """Return a text on one line in which nothing is a control token, so that it ends no prompt."""
    return _CONTROL.sub(lambda match: match[0] + " ", " ".join(text.split()))


def log_sum_exp(values: Sequence[float]) -> float:
    most = max(values)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(value - most) for value in values))


def log_softmax(values: Sequence[float]) -> tuple[float, ...]:
    whole = log_sum_exp(values)
    return tuple(value - whole for value in values)


def parse_labels(texts: Sequence[str]) -> tuple[Label, ...]:
    """Return the labels that are written as `name` or `name=description`.

    Raises UsageError for an empty or a repeated name, and for no label at all.
    """
    parts = [text.partition("=") for text in texts]
    labels = [Label(name.strip(), description.strip()) for name, _, description in parts]
    if not labels:
        raise UsageError("there are no labels", hint="--labels a,b,c")
    check_names([label.name for label in labels])
    return tuple(labels)


def check_names(names: Sequence[str]) -> None:
    """Raise UsageError for a name that is empty or no line of text, or is there twice."""
    for n, name in enumerate(names):
        if not name or not name.isprintable():
            raise UsageError(f"a label needs a name, in one line: {name!r} is none")
        if name in names[:n]:
            raise UsageError(f'the label "{name}" is there twice')
