"""Tables, and the probabilities of tokens as a heat map."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gptcli.engine.api import TokenLogprob
from gptcli.output.console import Output, visible
from gptcli.output.widths import columns_of

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

GAP = "  "
BAR_CELLS = 20

# Backgrounds by probability, for black text: at least this probable, colour, name in the legend.
HEAT = (
    (0.9, "green3", "≥ 90%"),
    (0.5, "dark_olive_green2", "≥ 50%"),
    (0.1, "gold1", "≥ 10%"),
    (0.01, "dark_orange", "≥ 1%"),
    (0.0, "indian_red1", "< 1%"),
)


def print_table(
    output: Output,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
) -> None:
    """Print a table: fitted to the terminal, or elsewhere as aligned lines with the values in full.

    None is an empty cell. Columns of numbers are aligned to the right.
    """
    cells = [list(row) for row in rows]
    right = [_is_numeric([row[column] for row in cells]) for column in range(len(columns))]
    texts = [["" if cell is None else str(cell) for cell in row] for row in cells]
    if output.stdout_is_tty:
        _print_fitted(output, columns, texts, right, title)
    else:
        _print_plain(output, columns, texts, right)


def print_logprobs(output: Output, tokens: Sequence[TokenLogprob]) -> None:
    """Show how probable each token was: as colours behind the text, or without colours as a table."""
    if not tokens:
        return
    if output.stdout_is_tty and output.stdout_color:
        _print_rich(output, heat_map(tokens))
        _print_rich(output, heat_legend())
        return
    rows = [
        (
            _token_name(item.token),
            f"{_probability(item.logprob):.1%}",
            "#" * round(_probability(item.logprob) * BAR_CELLS),
            GAP.join(f"{_token_name(token)} {_probability(logprob):.1%}" for token, logprob in item.top),
        )
        for item in tokens
    ]
    print_table(output, ("token", "probability", "", "alternatives"), rows)


def heat_map(tokens: Iterable[TokenLogprob]) -> Text:
    """Return the text with each token on the colour of its probability."""
    from rich.text import Text

    text = Text()
    for item in tokens:
        probability = _probability(item.logprob)
        color = next(color for least, color, _ in HEAT if probability >= least)
        lines = visible(item.token).split("\n")
        for number, line in enumerate(lines):
            is_broken = number < len(lines) - 1
            text.append(line + ("↵" if is_broken else ""), f"black on {color}")
            if is_broken:
                text.append("\n")
    return text


def heat_legend() -> Text:
    from rich.text import Text

    legend = Text("probability ", "dim")
    for _, color, name in HEAT:
        legend.append(f" {name} ", f"black on {color}")
    return legend


def _print_fitted(
    output: Output,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool],
    title: str | None,
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if title is None else Text(visible(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    for name, is_right in zip(columns, right, strict=True):
        table.add_column(Text(visible(name)), justify="right" if is_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    _print_rich(output, table)


def _print_rich(output: Output, renderable: RenderableType) -> None:
    buffer = io.StringIO()
    output.rich_console(buffer, color=output.stdout_color).print(renderable)
    output.write_styled(buffer.getvalue())


def _print_plain(
    output: Output, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]
) -> None:
    table = [[re.sub(r"[\t\r\n]+", " ", cell) for cell in row] for row in (columns, *rows)]
    widths = [max(map(columns_of, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = []
        for cell, width, is_right in zip(row, widths, right, strict=True):
            padding = " " * (width - columns_of(cell))
            cells.append(padding + cell if is_right else cell + padding)
        output.write(GAP.join(cells).rstrip() + "\n")


def _is_numeric(cells: Iterable[object]) -> bool:
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(isinstance(cell, int | float) for cell in present)


def _probability(logprob: float) -> float:
    return math.exp(min(0.0, logprob))


def _token_name(token: str) -> str:
    """Return a token with its white space made visible."""
    return visible(token.replace("\n", "↵").replace("\t", "⇥").replace(" ", "␣"))
