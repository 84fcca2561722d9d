"""The forms in which a model is asked which of a user's labels fits a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from gptcli.prompts.labels import Label, LabelForm

LISTED_CHARACTERS = 1500  # of labels in the prompt; with more, they are only scored


@dataclass(frozen=True, slots=True)
class _Case:
    """An example of the task with labels of its own."""

    labels: str
    texts: tuple[tuple[str, str], ...]


# Each shows that the labels differ from case to case, and that none of them is usual.
_CASES = (
    _Case(
        "cooking, gardening, travel",
        (
            ("The night train to Lisbon leaves at nine.", "travel"),
            ("Prune the roses before the first frost.", "gardening"),
            ("Let the dough rest for an hour.", "cooking"),
        ),
    ),
    _Case(
        "question, complaint, order",
        (
            ("My parcel arrived open and half empty.", "complaint"),
            ("Please send me two more of the blue ones.", "order"),
            ("Do you also deliver on Saturdays?", "question"),
        ),
    ),
)
# Texts about many things, and about nothing: what a model answers to them is its liking for a label.
SAMPLE = (
    "N/A",
    "…",
    "Hello.",
    "It is what it is.",
    "The meeting was moved to Thursday.",
    "She opened the door and looked outside.",
    "There were about forty people in the room.",
    "Prices went up by three percent last year.",
    "He scored twice in the second half.",
    "The new version is out and fixes several problems.",
    "Doctors recommend half an hour of walking a day.",
    "The minister will speak about the plan on Monday.",
    "I could not log in this morning.",
    "We had dinner by the river and took the last train.",
    "Researchers found traces of water in the rock.",
    "The band plays two more concerts in May.",
    "Thank you, that was quick.",
    "This is not what I ordered.",
    "Die Straße ist bis Freitag gesperrt.",
    "今天下午有雨。",
)


def label_form(labels: Sequence[Label], *, is_multi: bool = False) -> LabelForm:
    """Return the form for a user's labels."""
    names = [label.name for label in labels]
    listed = ", ".join(names)
    described = "".join(f"{label.name}: {label.description}\n" for label in labels if label.description)
    head = "".join(
        f"Labels: {case.labels}\n"
        + "".join(f"Text: {text}\nLabel: {label}\n" for text, label in case.texts)
        + "\n"
        for case in _CASES
    )
    if len(listed) + len(described) <= LISTED_CHARACTERS:
        head += f"Labels: {listed}\n{described}"
    return LabelForm(
        name="each label" if is_multi else "labels",
        instruction=head.rstrip("\n"),
        separator="\n",
        line="Text: {text}\nLabel:",
        words=tuple((name,) for name in names),
        is_multi=is_multi,
        stop="\n" if _overlap(names) else "",
    )


def _overlap(names: Sequence[str]) -> bool:
    """Tell whether one name begins as another."""
    ordered = sorted(names)
    return any(after.startswith(name) for name, after in pairwise(ordered))
