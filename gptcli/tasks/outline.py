"""Plans a long text: the titles of its sections."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gptcli.engine.api import Engine, Generate, Prompt, complete
from gptcli.sampling import OutputConstraint, SamplingParams
from gptcli.tasks.remarks import is_generic_title

WORDS_PER_SECTION = 180  # what small models write about one heading before they wander off
MOST_SECTIONS = 40
TITLE_TOKENS = 32
TRIES = 4
TEMPERATURE = 0.8
ALIKE = 0.7  # share of common words that makes two titles the same
LONGEST_TITLE = 70

_MARK = re.compile(
    r"^\s*(?:[#>*•–-]+|\(?\d+[.):]|(?:section|part|chapter|title)\s*\d*\s*[:.)])\s*", re.IGNORECASE
)
_NOT_IN_TITLE = r"\n\r\t#*_:.|<>()\[\]"
_WRAPPING = " \t*_#\"'“”‘’`:.,;-–—"


def section_count(words: int) -> int:
    """Return how many sections a text of so many words has."""
    return max(1, min(round(words / WORDS_PER_SECTION), MOST_SECTIONS))


def write_outline(
    engine: Engine, prompt: Prompt, sections: int, next_seed: Callable[[], int]
) -> list[str]:
    """Return at most so many titles; fewer, or none, when the model gives no usable ones."""
    titles: list[str] = []
    for _ in range(TRIES):
        sampling = SamplingParams(
            temperature=TEMPERATURE, seed=next_seed(), max_tokens=sections * TITLE_TOKENS
        )
        request = Generate(
            prompt=prompt,
            sampling=sampling,
            constraint=OutputConstraint("grammar", _grammar(sections)),
            stop=("\n\n",),
            thinking=False,
        )
        titles = parse_titles(complete(engine, request).text, titles)
        if len(titles) >= sections:
            break
    return titles[:sections]


def parse_titles(text: str, known: Sequence[str] = ()) -> list[str]:
    """Return the titles known, and those in a model's list, without marks; of similar ones the first."""
    titles = list(known)
    for line in text.splitlines():
        title = clean_title(line)
        if title and not is_generic_title(title) and not is_like_any(title, titles):
            titles.append(title)
    return titles


def clean_title(line: str) -> str:
    """Return a line as a title; "" when it cannot be one."""
    title = line.strip()
    while (bare := _MARK.sub("", title, count=1).strip(_WRAPPING)) != title:
        title = bare
    if len(title) >= LONGEST_TITLE - 1:
        head = title[:LONGEST_TITLE]
        title = head[: head.rfind(" ") + 1 or LONGEST_TITLE].strip(_WRAPPING)  # no word cut in two
    return title if re.search(r"[^\W\d_]", title) else ""


def is_like_any(title: str, others: Sequence[str]) -> bool:
    """Tell whether a title has most of its words in common with another one."""
    words = set(title.casefold().split())
    for other in others:
        theirs = set(other.casefold().split())
        if len(words & theirs) > ALIKE * min(len(words), len(theirs)):
            return True
    return False


def _grammar(sections: int) -> str:
    lines = " ".join(f'"{number}. " title "\\n"' for number in range(1, sections + 1))
    rest = LONGEST_TITLE - 1
    return f"root ::= {lines}\ntitle ::= [^{_NOT_IN_TITLE} 0-9-] [^{_NOT_IN_TITLE}]{{1,{rest}}}\n"
