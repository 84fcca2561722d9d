"""The form behind which a head reads the model: the user's own examples, then the text."""

from __future__ import annotations

from collections.abc import Sequence

from gptcli.prompts.labels import Example, LabelForm
from gptcli.prompts.sentiment import WITH_NEUTRAL

LINE = "Text: {text}\nLabel:"
# With this line for sentiment, 2 of 100 more sentences of SST-2 are right (292, two models).
SENTIMENT_LINE = "Review: {text}\nSentiment:"
EXAMPLES = 8  # in the prompt, and one of each class for up to twice as many classes
LONGEST_EXAMPLE = 400  # characters


def head_line(labels: Sequence[str]) -> str:
    """Return the line that shows a text, in words that fit the labels."""
    return SENTIMENT_LINE if set(labels) <= set(WITH_NEUTRAL) else LINE


def head_form(labels: Sequence[str], examples: Sequence[Example], line: str) -> LabelForm:
    """Return the form with these examples. Its last token's state holds what would be answered."""
    words = tuple((label,) for label in labels)
    return LabelForm(name="head", line=line, words=words, examples=tuple(examples))


def choose_examples(texts: Sequence[str], targets: Sequence[int], labels: int) -> list[int]:
    """Return the positions of the examples to show: as many of each class, of middle length, in turn.

    A class keeps at least three quarters of its examples to learn from.
    """
    each = max(1, EXAMPLES // labels)
    chosen: list[list[int]] = []
    for label in range(labels)[: 2 * EXAMPLES]:
        own = [n for n, target in enumerate(targets) if target == label]
        short = [n for n in own if len(texts[n]) <= LONGEST_EXAMPLE]
        short.sort(key=lambda n: (len(texts[n]), texts[n]))
        count = min(each, len(own) // 4, len(short))
        start = (len(short) - count) // 2
        chosen.append(short[start : start + count])
    rounds = range(max(map(len, chosen), default=0))
    return [own[n] for n in rounds for own in chosen if n < len(own)]
