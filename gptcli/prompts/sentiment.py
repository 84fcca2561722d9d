"""The forms in which a model is asked for a text's sentiment, with examples of our own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

from gptcli.languages import is_chinese
from gptcli.prompts.labels import Example, LabelForm

# Of examples and sample: of several languages, or Chinese. A model that was calibrated on English texts
# finds Chinese ones too positive: the 270M base is right in 0.77 of hotel reviews then, else in 0.85.
Language = Literal["any", "chinese"]

BINARY = ("negative", "positive")
WITH_NEUTRAL = ("negative", "neutral", "positive")

CHAT_SHOTS = 4  # examples of each label in a conversation

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


def sentiment_forms(
    labels: Sequence[str], *, is_chat: bool, language: Language = "any"
) -> tuple[LabelForm, ...]:
    """Return the forms that a model may be asked in; `is_chat`: it has a chat template."""
    kind = "Text" if len(labels) > 2 else "Review"
    examples = tuple(_in_turns(_sentences(language)["examples"], labels))

    def form(name: str, line: str, words: Mapping[str, tuple[str, ...]]) -> LabelForm:
        return LabelForm(
            name=name,
            line=f"{kind}: {{text}}\n{line}:",
            words=tuple(words[label] for label in labels),
            examples=examples,
        )

    forms = [form("sentiment", "Sentiment", SENTIMENT), form("verdict", "Verdict", VERDICT)]
    if is_chat:
        choice = ", ".join(labels[:-1]) + f" or {labels[-1]}"
        forms.append(
            LabelForm(
                name="chat",
                line="{text}",
                words=tuple(SENTIMENT[label] for label in labels),
                examples=examples[: CHAT_SHOTS * len(labels)],
                instruction=f"Is the text {choice}? Answer with one word.",
                is_chat=True,
            )
        )
    return tuple(forms)


def sentiment_sample(labels: Sequence[str], language: Language = "any") -> list[Example]:
    """Return texts with the positions of their labels, alike many of each, in turns."""
    sample = _sentences("any")["sample"]
    if language == "chinese":
        own = _sentences(language)["sample"]
        sample = {label: [*filter(is_chinese, sample[label]), *own[label]] for label in labels}
    return _in_turns(sample, labels)


def _in_turns(texts: Mapping[str, Sequence[str]], labels: Sequence[str]) -> list[Example]:
    """Return examples of the labels in turns; each round begins with another label than the last."""
    found = []
    for number, texts_of_round in enumerate(zip(*(texts[label] for label in labels), strict=True)):
        for n in range(len(labels)):
            at = (n + number) % len(labels)
            found.append(Example(texts_of_round[at], at))
    return found


@cache
def _sentences(language: Language) -> Mapping[str, Mapping[str, Sequence[str]]]:
    name = "sentiment_zh.toml" if language == "chinese" else "sentiment.toml"
    source = files("gptcli.prompts").joinpath(name)
    found: Mapping[str, Mapping[str, Sequence[str]]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return found
