"""Labels on a terminal: a line a text with a bar of its probability, and a summary."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gptcli.errors import GptcliError
from gptcli.output.amounts import counted
from gptcli.output.bars import bar_text, has_blocks
from gptcli.output.console import RED, RESET, Output, visible
from gptcli.output.records import Fields, PlainLines, Written, cell, one_line
from gptcli.output.widths import columns_of, fitted

if TYPE_CHECKING:
    from rich.text import Text

BAR = 10  # columns
LEAST_TEXT = 12  # columns: a narrower terminal has the text on a line of its own
WIDTH = 100  # columns where there is no terminal
WIDEST_LABEL = 24
DOUBTFUL_FIELD = "doubtful"

GOOD, BAD, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m"
PALETTE = ("\x1b[36m", "\x1b[35m", "\x1b[33m", "\x1b[34m", "\x1b[32m", "\x1b[31m")
BY_NAME = {"positive": GOOD, "negative": BAD, "neutral": PLAIN}
# Behind black words, by how much they speak for the label (in nats) or against it.
FOR = ((2.0, "black on color(40)"), (0.7, "black on color(114)"), (0.2, "black on color(194)"))
AGAINST = ((2.0, "black on color(203)"), (0.7, "black on color(217)"), (0.2, "black on color(224)"))


class PlainLabels(PlainLines):
    """A label a line, with a question mark if it is doubtful."""

    def record(self, fields: Fields, added: Fields, /) -> str:
        line = super().record(fields, added)
        return line.replace("\n", "?\n") if added.get(DOUBTFUL_FIELD) else line


@dataclass(slots=True, kw_only=True)
class LabelTable:
    """Writes records as lines for people. `names`: the fields of the label, its score, all scores."""

    output: Output
    labels: Sequence[str]
    text_field: str
    names: tuple[str, str, str]
    shows_all: bool = False  # the other labels too
    least: float | None = None  # below this probability a label is doubtful
    can_resume: bool = False
    dropped: Collection[str] = ()
    counts: Counter[str] = field(default_factory=Counter)
    doubtful: int = 0
    blank: int = 0

    def head(self) -> str:
        return ""

    def record(self, fields: Fields, added: Fields, /) -> str:
        label, score, scores = (added[name] for name in self.names)
        text = visible(one_line(cell(fields.get(self.text_field))))
        if label is None:
            self.blank += 1
            return self._line("–", None, text)
        self.counts[label] += 1
        is_doubtful = self.least is not None and score < self.least
        self.doubtful += is_doubtful
        shown = self._line(label, score, text, is_doubtful=is_doubtful)
        for other, value in list(scores.items())[1:] if self.shows_all else ():
            shown += self._line(other, value, "")
        if words := added.get("words"):
            shown += self._heat_map(cell(fields.get(self.text_field)), words)
        for part in added.get("sentences", ()):
            shown += self._line(part["label"], part["score"], visible(one_line(part["text"])), indent=2)
        return shown

    def failed(self, fields: Fields, error: GptcliError, /) -> str:
        text = visible(one_line(cell(fields.get(self.text_field))))
        return self._line("error", None, text or error.message, color=RED)

    def tail(self) -> str:
        """Return the summary: how many texts have which label, and how many are doubtful."""
        total = self.counts.total()
        if total < 2:
            return ""
        lines = ["\n"]
        shown = (
            [label for label in self.labels if self.counts[label]]
            if len(self.labels) > 12
            else self.labels
        )
        for label in shown:
            share = self.counts[label] / total
            lines.append(self._line(label, share, counted(self.counts[label], "text")))
        if self.doubtful:
            lines.append(f"{self.doubtful:,} below {self.least:.0%}, marked with ?\n")
        if self.blank:
            lines.append(f"{self.blank:,} blank\n")
        return "".join(lines)

    def read_back(self, _lines: Iterable[bytes]) -> Iterator[Written]:
        raise ValueError("a table cannot be resumed")

    def belongs(self, _written: Written, _fields: Fields, /) -> bool:
        return False

    # --------------------------------------------------------------------------------------- lines

    def _line(
        self,
        label: str,
        share: float | None,
        text: str,
        *,
        is_doubtful: bool = False,
        indent: int = 0,
        color: str = "",
    ) -> str:
        wide = min(WIDEST_LABEL, max(map(columns_of, (*self.labels, "error"))))
        mark = "?" if is_doubtful else " "
        name = fitted(visible(one_line(label)), wide)
        name += " " * (wide - columns_of(name))
        bar = "" if share is None else bar_text(share * BAR, blocks=has_blocks(self.output))
        percent = "" if share is None else f"{share:.0%}"
        width = self._width - indent - wide - BAR - 9
        head = f"{' ' * indent}{self._colored(name + mark, color or self._color(label))} "
        head += f"{self._colored(f'{bar:<{BAR}}', color or self._color(label))} {percent:>4}"
        if not text:
            return head.rstrip() + "\n"
        if width < LEAST_TEXT:
            return f"{head.rstrip()}\n{' ' * (indent + 2)}{fitted(text, self._width - indent - 2)}\n"
        return f"{head}  {fitted(text, width)}\n"

    def _heat_map(self, text: str, words: Sequence[Mapping[str, Any]]) -> str:
        """Return the text with each word on the colour of its weight; else a list."""
        if not self.output.stdout_color:
            heaviest = sorted(words, key=lambda word: -abs(word["weight"]))[:8]
            return "".join(
                f"  {word['weight']:+6.2f}  {visible(one_line(text[word['start'] : word['end']]))}\n"
                for word in heaviest
            )
        from rich.padding import Padding

        buffer = io.StringIO()
        console = self.output.rich_console(buffer, color=True)
        console.print(Padding(_heated(text, words), (0, 0, 0, 2), expand=False))
        console.print(Padding(_legend(), (0, 0, 0, 2), expand=False))
        return "".join(f"{line.rstrip()}\n" for line in buffer.getvalue().splitlines())

    def _color(self, label: str) -> str:
        if label in BY_NAME:
            return BY_NAME[label]
        return PALETTE[self.labels.index(label) % len(PALETTE)] if label in self.labels else ""

    def _colored(self, text: str, color: str) -> str:
        return f"{color}{text}{RESET}" if color and self.output.stdout_color else text

    @property
    def _width(self) -> int:
        return self.output.width if self.output.stdout_is_tty else WIDTH


def _heated(text: str, words: Sequence[Mapping[str, Any]]) -> Text:
    from rich.text import Text

    shown, at = Text(), 0
    for word in words:
        shown.append(visible(text[at : word["start"]]))
        shown.append(visible(text[word["start"] : word["end"]]), _heat(word["weight"]))
        at = word["end"]
    return shown.append(visible(text[at:]))


def _heat(weight: float) -> str | None:
    styles = FOR if weight > 0 else AGAINST
    return next((style for least, style in styles if abs(weight) >= least), None)


def _legend() -> Text:
    from rich.text import Text

    spans = (" against ", AGAINST[0][1]), (" a little ", FOR[2][1]), (" for it ", FOR[0][1])
    return Text(" ").join((Text("speaks", "dim"), *(Text(name, style) for name, style in spans)))
