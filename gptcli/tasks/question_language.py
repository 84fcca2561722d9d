"""A question in another language than the texts that it is asked of is put into theirs.

Retrieval goes by words, and so does most of what speaks for a span: without that, nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from gptcli.documents.passages import Source
from gptcli.engine.api import Engine
from gptcli.errors import UsageError
from gptcli.languages import Language, find_language
from gptcli.tasks.detect import COMMON, detect
from gptcli.tasks.translate import TranslateTask, Translation, translate
from gptcli.tasks.translation_text import Protected

# A question is short: it must be clearly in one language, and not at all in the other.
SURE, NOT_AT_ALL = 0.8, 0.05
SOURCES, CHARACTERS = 20, 400  # that tell the language of a collection: so many of each source


@dataclass(frozen=True, slots=True)
class _Question:
    """A question as a unit of translation."""

    text: str
    source: Language
    target: Language
    protected: tuple[Protected, ...] = ()
    context: str = ""

    def check(self, _translation: str, /) -> str:
        return ""


def in_language_of(engine: Engine, question: str, sources: Iterable[Source]) -> str:
    """Return a question in the language of the texts it is asked of, translated if that is another.

    It comes back as it is if a language is not clear, or no translation is without a fault. Raises the
    error of a model that does not load.
    """
    foreign = other_language(question, sources)
    if foreign is None:
        return question
    for _, found in translate(engine, TranslateTask(), [_Question(question, *foreign)]):
        if isinstance(found, Translation) and not found.is_kept and found.text.strip():
            return found.text.strip()
    return question


def other_language(question: str, sources: Iterable[Source]) -> tuple[Language, Language] | None:
    """Return the languages of a question and of texts, where they are clear, and not the same."""
    asked = detect(question, COMMON)
    if asked.probability < SURE:
        return None
    sample = "\n".join(source.text[:CHARACTERS] for source in islice(sources, SOURCES))
    read = detect(sample, COMMON)
    if not read.is_sure or asked.probability_of(read.language) > NOT_AT_ALL:
        return None
    try:
        return find_language(asked.language), find_language(read.language)
    except UsageError:
        return None
