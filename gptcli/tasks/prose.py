"""Running text: how long it is, where its sentences end, and how to cut it between two lengths."""

from __future__ import annotations

import re

# Scripts that put no spaces between words. Han and kana: one character is one word, as office
# programs count. Thai, Lao, Burmese, Khmer: six characters, vowel signs included, make about a word.
_HAN_KANA = (
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
UNSPACED = _HAN_KANA + _UNSPACED  # of a character class
_HAS_NO_SPACES = re.compile(f"[{UNSPACED}]")
_WORD = re.compile(
    rf"[{_HAN_KANA}]|[{_UNSPACED}]{{1,6}}|[^\s{_HAN_KANA}{_UNSPACED}]*\w[^\s{_HAN_KANA}{_UNSPACED}]*"
)

_CLOSERS = "\"'”’»)\\]}*_"
_CJK_END = re.compile(r"[。！？｡]+[」』”’）]*(?=[^」』”’）。！？])")
# A full stop counts when something follows that is not a lower-case word.
_END = re.compile(rf"[.!?…।؟۔]+[{_CLOSERS}]*(?=\s+(\S))")
_ENDS_SENTENCE = re.compile(rf"([.!?…।؟۔][{_CLOSERS}]*|[。！？｡][」』”’）]*)\s*\Z")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Mx|Dr|Prof|St|Sr|Jr|vs|Gen|Col|Lt|Sgt|Capt|Rev|Hon|No|Fig|Vol|Mt|Nr|Hr|Fr|Abs|bzw|ca)"
    r"|(?<![\w.])[A-Z](?:\.[A-Z])*|^\s*\d+|e\.g|i\.e|z\.B|d\.h)\.\Z",
    re.MULTILINE,
)
_CLAUSE_END = re.compile(r"[,;:—–，、；：](?=\s|[^\x00-\u2fff]|\Z)")
LONGEST_SENTENCE = 90  # words; a longer one is passed on in pieces
LONGEST_CHARACTERS = 1200


def count_words(text: str) -> int:
    """Return the number of words: `len(text.split())`, as `wc -w` counts.

    Where words are not separated by spaces: one for each Chinese character or kana, one for six
    characters of Thai, Lao, Burmese or Khmer.
    """
    if _HAS_NO_SPACES.search(text) is None:
        return len(text.split())
    return sum(1 for _ in _WORD.finditer(text))


def ends_sentence(text: str) -> bool:
    """Tell whether a text ends where a sentence does."""
    return _ENDS_SENTENCE.search(text[-40:]) is not None  # a whole text may be long


def ends_abbreviation(text: str) -> bool:
    """Tell whether the full stop at a text's end is that of an abbreviation or of a list's number."""
    return _ABBREVIATION.search(text[-40:]) is not None


class SentenceStream:
    """Turns growing text into whole sentences and lines; joined, they are the text again.

    White space before a sentence belongs to it.
    """

    def __init__(self, start: str = "") -> None:
        self.rest = start

    def feed(self, text: str) -> list[str]:
        """Return the sentences that are complete now."""
        self.rest += text
        found = []
        while (end := self._end()) is not None:
            found.append(self.rest[:end])
            self.rest = self.rest[end:]
        return found

    def _end(self) -> int | None:
        body = len(self.rest) - len(self.rest.lstrip())
        ends = [
            end
            for end in (self._line_end(body), self._full_stop(body), self._cjk_end(body))
            if end is not None
        ]
        if ends:
            return min(ends)
        return self._forced_end(body)

    def _line_end(self, body: int) -> int | None:
        at = self.rest.find("\n", body)
        return at if at >= 0 else None

    def _full_stop(self, body: int) -> int | None:
        for match in _END.finditer(self.rest, body):
            is_title = match[0] == "." and _ABBREVIATION.search(self.rest[body : match.end()])
            if not is_title and not match[1].islower():
                return match.end()
        return None

    def _cjk_end(self, body: int) -> int | None:
        match = _CJK_END.search(self.rest, body)
        return match.end() if match else None

    def _forced_end(self, body: int) -> int | None:
        if count_words(self.rest) <= LONGEST_SENTENCE and len(self.rest) <= LONGEST_CHARACTERS:
            return None
        piece = cut_at_clause(self.rest, LONGEST_SENTENCE // 2, LONGEST_SENTENCE)
        return max(len(piece), body + 1)


def cut_at_clause(text: str, at_least: int, at_most: int) -> str:
    """Return a text's beginning, at most so many words, up to a clause's end if there is one."""
    clauses = [match.end() for match in _CLAUSE_END.finditer(text)]
    for end in reversed(clauses):
        if at_least <= count_words(text[:end]) <= at_most:
            return text[:end]
    return cut_at_word(text, at_most)


def cut_at_word(text: str, at_most: int) -> str:
    """Return the beginning of a text, exactly `at_most` words if it has more."""
    if _HAS_NO_SPACES.search(text) is None:
        ends = [match.end() for match in re.finditer(r"\S+", text)]
    else:
        ends = [match.end() for match in _WORD.finditer(text)]
    return text if len(ends) <= at_most else text[: ends[at_most - 1]] if at_most > 0 else ""


def separator(before: str, after: str) -> str:
    """Return what stands between two sentences: a space, or nothing where the script has none."""
    if not before or before[-1].isspace():
        return ""
    return (
        ""
        if _HAS_NO_SPACES.match(before[-1:])
        or _HAS_NO_SPACES.match(after[:1])
        or before[-1] in "。！？」』”"
        else " "
    )
