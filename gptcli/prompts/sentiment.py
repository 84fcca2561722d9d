"""The forms in which a model is asked for a text's sentiment, with examples of our own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from gptcli.prompts.labels import Example, LabelForm

BINARY = ("negative", "positive")
WITH_NEUTRAL = ("negative", "neutral", "positive")

# The words that stand for the labels, in forms of different kinds.
SENTIMENT = {
    "negative": ("negative", "Negative"),
    "neutral": ("neutral", "Neutral"),
    "positive": ("positive", "Positive"),
}
VERDICT = {
    "negative": ("bad", "Bad"),
    "neutral": ("okay", "Okay"),
    "positive": ("good", "Good"),
}


def sentiment_forms(labels: Sequence[str], *, is_chat: bool) -> tuple[LabelForm, ...]:
    """Return the forms that a model may be asked in; `is_chat`: it has a chat template."""
    kind = "Text" if len(labels) > 2 else "Review"
    forms = [
        _form("sentiment", f"{kind}: {{text}}\nSentiment:", labels, SENTIMENT, shots=12),
        _form("verdict", f"{kind}: {{text}}\nVerdict:", labels, VERDICT, shots=12),
    ]
    if is_chat:
        choice = ", ".join(labels[:-1]) + f" or {labels[-1]}"
        instruction = f"Is the text {choice}? Answer with one word."
        forms.append(
            _form("chat", "{text}", labels, SENTIMENT, shots=4, instruction=instruction, is_chat=True)
        )
    return tuple(forms)


def sentiment_sample(labels: Sequence[str]) -> list[Example]:
    """Return texts with the positions of their labels, alike many of each, in turns."""
    return _in_turns(_sentences()["sample"], labels, most=None)


def _form(
    name: str,
    line: str,
    labels: Sequence[str],
    words: Mapping[str, tuple[str, ...]],
    *,
    shots: int,
    instruction: str = "",
    is_chat: bool = False,
) -> LabelForm:
    return LabelForm(
        name=name,
        line=line,
        words=tuple(words[label] for label in labels),
        examples=tuple(_in_turns(_sentences()["examples"], labels, most=shots)),
        instruction=instruction,
        is_chat=is_chat,
    )


def _in_turns(
    texts: Mapping[str, Sequence[str]], labels: Sequence[str], most: int | None
) -> list[Example]:
    """Return examples of the labels in turns; each round begins with another label than the last."""
    found = []
    for number, texts_of_round in enumerate(
        zip(*(texts[label][:most] for label in labels), strict=True)
    ):
        for n in range(len(labels)):
            at = (n + number) % len(labels)
            found.append(Example(texts_of_round[at], at))
    return found


@cache
def _sentences() -> Mapping[str, Mapping[str, Sequence[str]]]:
    source = files("gptcli.prompts").joinpath("sentiment.toml")
    found: Mapping[str, Mapping[str, Sequence[str]]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return found
