"""Plans a long text: the titles of its sections."""

from __future__ import annotations

import re

from gptcli.engine.api import Engine, Generate, complete
from gptcli.prompts.longform import LongPrompts
from gptcli.sampling import OutputConstraint, SamplingParams

WORDS_PER_SECTION = 180  # what small models write about one heading before they wander off
MOST_SECTIONS = 40
TITLE_TOKENS = 24
LONGEST_TITLE = 12  # words

_MARK = re.compile(
    r"^\s*(?:[#>*•–-]+|\(?\d+[.):]|(?:section|part|chapter|title)\s*\d*\s*[:.)])\s*", re.IGNORECASE
)
_NOT_IN_TITLE = r" \n\r\t#*_:.|<>()\[\]"
_WRAPPING = " \t*_#\"'“”‘’`:."


def section_count(words: int) -> int:
    """Return how many sections a text of so many words has."""
    return max(1, min(round(words / WORDS_PER_SECTION), MOST_SECTIONS))


def write_outline(
    engine: Engine, prompts: LongPrompts, sections: int, sampling: SamplingParams
) -> list[str]:
    """Return at most so many titles; fewer, or none, when the model gives no usable ones."""
    request = Generate(
        prompt=prompts.outline(sections),
        sampling=sampling,
        constraint=OutputConstraint("grammar", _grammar(sections)),
        stop=("\n\n",),
        thinking=False,
    )
    return parse_titles(complete(engine, request).text)[:sections]


def parse_titles(text: str) -> list[str]:
    """Return the titles in a model's list, without marks and numbers, each once."""
    titles: dict[str, str] = {}
    for line in text.splitlines():
        title = clean_title(line)
        if title:
            titles.setdefault(title.casefold(), title)
    return list(titles.values())


def clean_title(line: str) -> str:
    """Return a line as a title; "" when it cannot be one."""
    title = line.strip()
    while (bare := _MARK.sub("", title, count=1).strip(_WRAPPING)) != title:
        title = bare
    is_title = (
        re.search(r"[^\W\d_]", title) and len(title.split()) <= LONGEST_TITLE and len(title) <= 100
    )
    return title if is_title else ""


def _grammar(sections: int) -> str:
    lines = " ".join(f'"{number}. " title "\\n"' for number in range(1, sections + 1))
    return (
        f"root ::= {lines}\n"
        'title ::= first (" " word){0,7}\n'
        f"first ::= [^{_NOT_IN_TITLE}0-9] [^{_NOT_IN_TITLE}]{{1,20}}\n"
        f"word ::= [^{_NOT_IN_TITLE}]{{1,20}}\n"
    )
