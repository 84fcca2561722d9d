"""Languages: from a BCP 47 tag or a name to one value, with the data of Unicode's CLDR.

Import `langcodes` where it is used: it costs other commands 30 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gptcli.errors import UsageError

LONGEST = 60  # characters of a tag or a name
NEAR = 3  # names that are suggested
# What people call the ones that CLDR calls otherwise.
MACROLANGUAGES: Mapping[str, str] = {"cmn": "zh", "nb": "no", "arb": "ar", "fil": "tl"}
KANA = re.compile(r"[\u3041-\u309f\u30a0-\u30ff\uff66-\uff9f]")
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
UNSPACED = frozenset({"Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})


@dataclass(frozen=True, slots=True)
class Language:
    """A language, perhaps of a region or in a script."""

    tag: str  # BCP 47: "fr", "pt-BR", "zh-Hant"
    name: str  # in English
    own_name: str  # in itself
    script: str  # ISO 15924: "Latn", "Hans"

    def __str__(self) -> str:
        return self.tag

    @property
    def primary(self) -> str:
        """The language alone, without region and script: "pt" for pt-BR, "zh" for cmn."""
        subtag = self.tag.partition("-")[0]
        return MACROLANGUAGES.get(subtag, subtag)

    @property
    def plain_name(self) -> str:
        """The English name as prompts say it: "Chinese", "Brazilian Portuguese"."""
        name, _, detail = self.name.partition(" (")
        adjective = _ADJECTIVES.get(detail.removesuffix(")"))
        return f"{adjective} {name}" if adjective else name if not detail else self.name

    @property
    def has_spaces(self) -> bool:
        """Whether spaces stand between its words, and between its sentences."""
        return self.script not in UNSPACED


_ADJECTIVES = {
    "Simplified": "Simplified",
    "Traditional": "Traditional",
    "Brazil": "Brazilian",
    "Portugal": "European",
    "United States": "American",
    "United Kingdom": "British",
    "Canada": "Canadian",
    "Mexico": "Mexican",
    "Austria": "Austrian",
    "Switzerland": "Swiss",
}


def find_language(text: str) -> Language:
    """Return the language that a tag, or a name in English or in the language itself, says.

    Raises UsageError for what is none, naming those whose names are near.
    """
    asked = text.strip()
    found = _by_tag(asked) or _by_name(asked)
    if found is None:
        near = _near(asked)
        raise UsageError(
            f'"{text[:LONGEST]}" is no language that is known',
            hint=", ".join(near) if near else "a BCP 47 tag or a name: fr, pt-BR, German, 日本語",
        )
    return found


def is_unspaced(text: str) -> bool:
    """Tell whether a text is in Chinese or Japanese for the most part."""
    letters = sum(map(str.isalpha, text))
    return 3 * (len(HAN.findall(text)) + len(KANA.findall(text))) > letters


def is_chinese(text: str) -> bool:
    """Tell whether a text is in Chinese for the most part, by its script alone."""
    return is_unspaced(text) and not KANA.search(text)


def name_in(language: Language, tag: str) -> str:
    """Return a language's name in another one, of which the tag is given: 法语 for French in zh."""
    import langcodes

    return langcodes.Language.get(language.tag).display_name(tag)


def _by_tag(tag: str) -> Language | None:
    import langcodes

    if not tag or len(tag) > LONGEST or not langcodes.tag_is_valid(tag):
        return None
    return _language(langcodes.Language.get(tag))


def _by_name(name: str) -> Language | None:
    import langcodes

    if not name or len(name) > LONGEST or (name.isascii() and len(name) < 4):
        return None  # CLDR has languages called E and U
    try:
        return _language(langcodes.find(name))
    except LookupError:
        return None


def _language(found: object) -> Language | None:
    import langcodes

    assert isinstance(found, langcodes.Language)
    if not found.language or found.language in ("und", "zxx", "mul", "mis"):
        return None
    script = found.maximize().script or "Latn"
    return Language(found.to_tag(), found.display_name("en"), found.autonym(), script)


def _near(name: str) -> list[str]:
    """Return names like this one, of languages that many people speak."""
    import difflib

    import langcodes
    from language_data.population_data import LANGUAGE_SPEAKING_POPULATION as SPEAKERS

    tags = [tag for tag, people in SPEAKERS.items() if people > 1_000_000 and "-" not in tag]
    names = {langcodes.Language.get(tag).display_name("en").lower(): tag for tag in tags}
    found = difflib.get_close_matches(name.lower(), names, n=NEAR, cutoff=0.7)
    return [langcodes.Language.get(names[each]).display_name("en") for each in found]
