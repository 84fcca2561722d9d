"""What can be seen wrong with a translation without knowing a better one."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gptcli.languages import Language
from gptcli.tasks.detect import UNKNOWN, detect
from gptcli.tasks.remarks import is_remark
from gptcli.tasks.repetition import repeated_share, word_ngrams


class Fault(StrEnum):
    """Kinds of faults, by the words in which they are told."""

    EMPTY = "no translation"
    PLACEHOLDERS = "placeholders"
    NUMBERS = "numbers"
    INVENTED = "numbers that the source lacks"
    LOOP = "repeats itself"
    LANGUAGE = "wrong language"
    LONG = "far longer than the source"
    SHORT = "far shorter than the source"
    LEFTOVER = "says something about the task"
    COPY = "not translated"
    LEFT = "words left untranslated"
    TERMS = "glossary"


# Better a translation that is doubtful so than none.
TOLERABLE = frozenset({Fault.SHORT, Fault.TERMS, Fault.INVENTED, Fault.LEFT})


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of one translation."""

    fault: Fault
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.fault}: {self.detail}" if self.detail else str(self.fault)

    @property
    def is_tolerable(self) -> bool:
        return self.fault in TOLERABLE


LOOP_TIMES = 3  # a passage so many times in a row is a loop, one word once more
LOOP_SHARE = 0.3  # of the n-grams: so many more than in the source were there before
LONG_RATIO, SHORT_RATIO = 3.0, 0.3  # of the source's length, in units
LONG_LEAST, SHORT_LEAST = 40, 40  # units: shorter texts vary more
LANGUAGE_LEAST = 24  # letters that it takes to be sure of a wrong language
LANGUAGE_PROBABILITY, TARGET_PROBABILITY = 0.7, 0.15
MOST_COMMON = 0.5  # of the n-grams of a translation may be those of one example in the prompt
COPY_LEAST = 12  # letters: shorter ones may be names
LEFT_RUN, LEFT_LETTERS = (
    3,
    4,
)  # words in a row, or letters of one word, that are the source's by no chance

_WIDE = re.compile(r"[\u1100-\u11ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
_WIDE_UNITS = 3  # letters of other scripts that say as much as one such character
_NUMBER = re.compile(r"\d+(?:[.,'’\u00a0\u202f\u066b\u066c ]\d{3}(?!\d))*(?:[.,\u066b]\d+)?")
_DECADE = re.compile(r"(\d\d?) ?世[纪紀] ?(\d0)(?= ?年代)")
# Numbers in words, of which a translation may make digits.
_NUMERAL = re.compile(
    r"[一二三四五六七八九十百千万亿]|\b(?:\w*teen|ten|eleven|twelve|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
    r"|\w*hundred|\w*tausend|\w*hundert|\w+zig|\w+zehn|zwölf|elf|\w+ante|vingt|cent|mil\w*|thousand|\w*illion\w*"
    r"|onze|douze|\w+enta|veinte|cien\w*|noon|midnight|dozen|decade)\b",
    re.IGNORECASE,
)
_WORD = re.compile(rf"{_WIDE.pattern}|[^\W\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_LABEL = re.compile(
    r"(?:translation|traduction|übersetzung|traducción|翻译|译文|output|answer)\s*[:：]", re.I
)
# Languages whose texts the detection tells apart badly.
_RELATED = tuple(
    map(frozenset, ({"no", "nn", "da", "nb"}, {"hr", "bs", "sr", "sh"}, {"id", "ms"}, {"cs", "sk"}))
)


def findings(
    source: str, translation: str, source_language: Language, target: Language, *, was_cut: bool = False
) -> list[Finding]:
    """Return what is wrong with a translation of running text. `was_cut`: at the limit of tokens."""
    if not translation.strip():
        return [Finding(Fault.EMPTY)]
    found = []
    if is_looping(translation, source):
        found.append(Finding(Fault.LOOP))
    if was_cut or _is_long(source, translation):
        found.append(Finding(Fault.LONG))
    if units(source) >= SHORT_LEAST and units(translation) < SHORT_RATIO * units(source):
        found.append(Finding(Fault.SHORT))
    if numbers := number_faults(source, translation):
        found.append(Finding(Fault.NUMBERS, numbers))
    if invented := invented_numbers(source, translation):
        found.append(Finding(Fault.INVENTED, invented))
    if leftover := _leftover(source, translation, source_language, target):
        found.append(Finding(Fault.LEFTOVER, leftover))
    if is_copy(source, translation) and source_language.primary != target.primary:
        found.append(Finding(Fault.COPY))
    elif wrong := wrong_language(translation, target):
        found.append(Finding(Fault.LANGUAGE, wrong))
    elif left := left_words(source, translation, source_language, target):
        found.append(Finding(Fault.LEFT, left))
    return found


def is_looping(text: str, source: str = "") -> bool:
    """Tell whether a text repeats a passage, and more often than its source does."""
    times = _repeats(text)
    if times >= LOOP_TIMES and times > _repeats(source):
        return True
    return repeated_share(text) > LOOP_SHARE + repeated_share(source)


def _repeats(text: str) -> int:
    """Return how many times a passage comes in a row: of one word, one time less."""
    words = _WORD.findall(text.casefold())
    most = 1
    for length in range(1, min(24, len(words) // 2) + 1):
        run = 0
        for at in range(length, len(words)):
            run = run + 1 if words[at] == words[at - length] else 0
            # A run of `length` words that each equal the one before by `length` is one repetition.
            times = run // length + 1
            most = max(most, times - 1 if length == 1 or _is_wide(words[at - length : at]) else times)
    return most


def _is_wide(words: Sequence[str]) -> bool:
    return len(words) < 3 and all(_WIDE.match(word) for word in words)


def units(text: str) -> int:
    """Return how much a text says: its letters and signs, a Chinese character or the like for three."""
    wide = len(_WIDE.findall(text))
    return len("".join(text.split())) + wide * (_WIDE_UNITS - 1)


def _is_long(source: str, translation: str) -> bool:
    length = units(translation)
    return length > LONG_LEAST and length > LONG_RATIO * units(source)


def numbers_in(text: str) -> list[str]:
    """Return the numbers of a text as digits, without separators: 12,000.5 is 120005.

    The 80s of the 20th century, as Chinese says them, are 1980.
    """
    text = _DECADE.sub(lambda found: f"{int(found[1]) - 1}{found[2]}", text)
    return [_digits(found[0]) for found in _NUMBER.finditer(text)]


def number_spans(text: str) -> list[tuple[int, int]]:
    """Return where the numbers of a text stand."""
    return [found.span() for found in _NUMBER.finditer(text)]


def _digits(text: str) -> str:
    return "".join(str(unicodedata.digit(char)) for char in text if char.isdigit())


def number_faults(source: str, translation: str) -> str:
    """Return which numbers a translation lacks; "" if it has all, however their digits are grouped."""
    wanted = Counter(numbers_in(source))
    missing = wanted - Counter(numbers_in(translation))
    if missing:
        # "1,5" may stand as two numbers, or two as one: what counts is that the digits are there.
        digits = "".join(numbers_in(translation))
        missing = Counter(
            {number: n for number, n in missing.items() if digits.count(number) < wanted[number]}
        )
    return "missing " + " ".join(missing.elements()) if missing else ""


def invented_numbers(source: str, translation: str) -> str:
    """Return numbers of two digits or more that only a translation has, unless words may say it."""
    if _NUMERAL.search(source):
        return ""
    digits = "".join(numbers_in(source))
    new = Counter(numbers_in(translation)) - Counter(numbers_in(source))
    return " ".join(number for number in new if len(number) > 1 and number not in digits)


def _leftover(source: str, translation: str, source_language: Language, target: Language) -> str:
    names = (source_language.plain_name, target.plain_name)
    for name in names:
        if re.search(rf"\b{re.escape(name)}\s*:", translation) and f"{name}:" not in source:
            return f'"{name}:"'
    if (label := _LABEL.match(translation)) and not _LABEL.match(source):
        return f'"{label[0]}"'
    if is_remark(translation) and not is_remark(source):
        return "a remark"
    return ""


def is_from_examples(source: str, translation: str, examples: Iterable[tuple[str, str]]) -> bool:
    """Tell whether a translation is one of the prompt's examples, while the source is none."""
    return any(
        _common(translation, after) > MOST_COMMON >= _common(source, before)
        for before, after in examples
    )


def _common(text: str, other: str) -> float:
    """Return the share of a text's word n-grams that another text has: 0 for a text of few words."""
    mine, theirs = word_ngrams(text), word_ngrams(other)
    return len(mine & theirs) / len(mine) if mine else 0.0


def is_copy(source: str, translation: str) -> bool:
    """Tell whether a translation is the source, where that is no name or number."""
    if sum(map(str.isalpha, source)) < COPY_LEAST or (
        len(source.split()) < 3 and not _WIDE.search(source)
    ):
        return False
    return _folded(source) == _folded(translation)


# The letters of scripts, as a regular expression's and a GBNF grammar's class has them.
_CJK = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_LETTERS: Mapping[str, str] = {
    "Hans": _CJK, "Hant": _CJK, "Jpan": _CJK, "Kore": _CJK, "Cyrl": r"\u0400-\u052f",
    "Grek": r"\u0370-\u03ff", "Arab": r"\u0620-\u06ff", "Hebr": r"\u05d0-\u05ea",
    "Deva": r"\u0900-\u097f", "Thai": r"\u0e00-\u0e7f",
}  # fmt: skip
_PLAIN_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def foreign_letters(source: Language, target: Language) -> str:
    """Return the class of the letters that the source's script has and the target's lacks.

    "" where they share them, or where those are Latin ones: names stay in these in all scripts.
    """
    letters = _LETTERS.get(source.script, "")
    return letters if letters != _LETTERS.get(target.script, "") else ""


def left_words(source: str, translation: str, source_language: Language, target: Language) -> str:
    """Return words of the source that a translation has as they are, and that are no names.

    They are letters of a script that the target lacks; where only the target's is not Latin, words in
    small letters; else several of these in a row, as languages share single words.
    """
    if source_language.primary == target.primary:
        return ""
    if letters := foreign_letters(source_language, target):
        return " ".join(re.findall(f"[{letters}]+", translation))
    small = [word for word in _PLAIN_WORD.findall(source) if word[0].islower()]
    if source_language.script == "Latn" != target.script:
        known = {word for word in small if len(word) >= LEFT_LETTERS}
        latin = re.findall(r"[^\W\d_\u0370-\uffff]+", translation)
        return " ".join(word for word in latin if word in known)
    return _shared_run(_PLAIN_WORD.findall(source), _PLAIN_WORD.findall(translation))


def _shared_run(words: Sequence[str], others: Sequence[str]) -> str:
    """Return the first LEFT_RUN words in a row, all in small letters, that are in both."""
    runs = {tuple(words[at : at + LEFT_RUN]) for at in range(len(words) - LEFT_RUN + 1)}
    for at in range(len(others) - LEFT_RUN + 1):
        run = tuple(others[at : at + LEFT_RUN])
        if run in runs and all(word[0].islower() for word in run):
            return " ".join(run)
    return ""


def _folded(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def wrong_language(translation: str, target: Language) -> str:
    """Return which other language a translation surely is in; "" if it may be in the target."""
    letters = [char for char in translation if char.isalpha()]
    if not letters:
        return ""
    if script := _foreign_script(letters, target):
        return script
    if len(letters) * (_WIDE_UNITS if _WIDE.search(translation) else 1) < LANGUAGE_LEAST:
        return ""
    found = detect(translation)
    if found.language in (UNKNOWN, target.primary) or found.probability < LANGUAGE_PROBABILITY:
        return ""
    if found.probability_of(target.primary) > TARGET_PROBABILITY:
        return ""
    if any({found.language, target.primary} <= related for related in _RELATED):
        return ""
    return found.language


_SCRIPTS = {
    "Latn": "LATIN", "Cyrl": "CYRILLIC", "Grek": "GREEK", "Arab": "ARABIC", "Hebr": "HEBREW",
    "Deva": "DEVANAGARI", "Thai": "THAI", "Hans": "CJK", "Hant": "CJK", "Kore": "HANGUL",
}  # fmt: skip


def _foreign_script(letters: Iterable[str], target: Language) -> str:
    """Return the script that most letters have, if that is surely not the target's."""
    wanted = _SCRIPTS.get(target.script)
    if wanted is None:
        return ""
    scripts = Counter(unicodedata.name(char, "?").partition(" ")[0] for char in letters)
    (main, count), whole = scripts.most_common(1)[0], scripts.total()
    if main == wanted or scripts[wanted] > whole / 5 or count < 6:
        return ""
    # Names stay in Latin letters in many languages: few letters prove nothing.
    return main.lower() if main != "LATIN" or count >= LANGUAGE_LEAST else ""


def missing_terms(terms: Iterable[tuple[str, str]], translation: str) -> list[tuple[str, str]]:
    """Return the glossary's terms whose translations do not occur."""
    folded = translation.casefold()
    return [(term, wanted) for term, wanted in terms if wanted.casefold() not in folded]
