"""Streaming Markdown must leave the same scrollback as printing the whole text at once."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

import pexpect
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.markdown import Markdown

from gptcli.output.console import Output
from gptcli.output.markdown import MIN_INTERVAL_S, MarkdownStream
from tests.screen import Screen, Terminal

ROOT = Path(__file__).parents[1]
SIZES = [(60, 24), (120, 40), (40, 10)]
MOVES = re.compile(r"\x1b\[[0-9;?]*[A-HJKfhl]")
COLORS = re.compile(r"\x1b\[[0-9;]*m")

LONG_CODE = "\n".join(["```python", *(f"line_{n} = {n}  # number {n}" for n in range(60)), "```"])

CORPUS = {
    "paragraphs": """\
        One paragraph with **bold**, *italic*, `code`, ~~gone~~ and a [link](https://example.org/x).
        It goes on over another line, and is long enough to wrap on every screen there is.

        Another, with a hard break\\
        and a **bold part over
        two lines**.
        """,
    "headings": """\
        # One

        ## Two *times*
        text right below

        Setext
        ======

        Second
        ------

        ###### Six
        """,
    "rules": "above\n\n---\n\nbetween\n\n* * *\n___\nbelow\n\n---\n- a list below\n",
    "bullets": "- one\n- two\n  - nested\n    - deeper\n  - again\n- three\n\nafter\n\n* star\n+ plus\n",
    "loose list": "Things:\n\n- one\n\n- two\n\n  still two\n\n\n- three\n\nafter\n",
    "starts with a list": "- one\n- two\n",
    "numbers": "\n".join(f"{n}. item {n}\n\n   with a paragraph" for n in range(1, 13)) + "\n\nafter\n",
    "same numbers": """\
        1. one
        1. two
        1. three

        between

        7. seven
        8. eight
           1. inner
           2. inner
        """,
    "long bullets": "\n".join(f"- item {n} " + "word " * (n % 20) for n in range(40)),
    "long numbers": "\n".join(f"{n}) item {n}\n   - with **detail**" for n in range(3, 40)),
    "code": "Look:\n```python\ndef f():\n    return 1\n\n\nx = '''\ntext\n'''\n```\nafter\n",
    "fences": """\
        ~~~
        tilde ```
        ~~~

        ````md
        ```
        inner
        ```
        ````

        ```
        no language
        ```

        ```
        ```
        """,
    "unclosed fence": "```sh\necho one\n\necho two\n\n\n",
    "indented code": "text\n\n    first\n      second\n\n    third\n\ntext\n\n\ttab\n",
    "long code": f"before\n\n{LONG_CODE}\n\nafter\n",
    "code in lists": """\
        1. Do:
           ```sh
           ls -l
           ```
        2. Then:

           ~~~
           x
           ~~~

               indented
        3. end
        """,
    "table": """\
        | a | b | c |
        |---|:-:|--:|
        | 1 | two words | 3 |
        | *x* | `y` | long text here |

        after
        """,
    "long table": "a | b\n--|--\n" + "\n".join(f"{n} | row {n}" for n in range(30)) + "\n\nafter\n",
    "quotes": "> a quote\n> over lines\nlazy\n>\n> - list\n>   > inner\n\n> # heading\n\nafter\n",
    "wide": """\
        中文段落，包含一些宽字符，用来测试换行是否正确。中文段落，包含一些宽字符，用来测试换行是否正确。

        - 项目 🎉
        - 🚀🚀

        | 名 | 值 |
        |----|----|
        | 一 | 🎈 |
        """,
    "long paragraph": "words and words " * 120 + "\n\nafter\n",
    "empties": "-\n- x\n-\n\n>\n\n#\n\n```\n\n```\n\n1.\n",
    "odd": """\
        a | b
        -
        - |

        &amp; &copy; &#27;[31m

        \\* no list

        1986\\. year
           three

        [x] not a [link]
        """,
}


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def stream_on(terminal: Terminal, clock: Clock | None = None, quiet: bool = False) -> MarkdownStream:
    output = Output(stdout=terminal, stderr=terminal, environ=terminal.environ, quiet=quiet)
    return MarkdownStream(output, clock or Clock())


def streamed(pieces: Iterable[str], terminal: Terminal) -> str:
    """Return the scrollback after the pieces, with a redraw at each."""
    clock = Clock()
    with stream_on(terminal, clock) as stream:
        for piece in pieces:
            clock.now_s += 1
            stream.feed(piece)
    return terminal.screen.text


def printed_at_once(text: str, columns: int, lines: int) -> str:
    """Return the scrollback after rich printed the whole text."""
    console = Console(
        file=io.StringIO(), width=columns, color_system=None, force_terminal=True, legacy_windows=False
    )
    markdown = Markdown(text, hyperlinks=False)
    for token in markdown.parsed:
        for child in token.children or ():
            if child.type == "softbreak":  # we keep the lines of the text
                child.type = "hardbreak"
    console.print(markdown)
    screen = Screen(columns, lines)
    assert isinstance(console.file, io.StringIO)
    screen.feed(console.file.getvalue().replace("\n", "\r\n").encode())
    return screen.text


def chunks(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def document(name: str) -> str:
    return textwrap.dedent(CORPUS[name])


# ------------------------------------------------------------------------------- same as at once


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", CORPUS)
def test_scrollback_is_that_of_printing_at_once(name: str, size: tuple[int, int]) -> None:
    text = document(name)

    shown = streamed(chunks(text, max(5, len(text) // 20)), Terminal(*size))

    assert shown == printed_at_once(text, *size)


def test_every_document_together_character_by_character() -> None:
    text = "\n\n".join(map(document, ("headings", "bullets", "code", "table", "quotes", "rules")))

    assert streamed(text, Terminal(40, 10)) == printed_at_once(text, 40, 10)


LINES = (
    "", "", "plain text", "more words that are going to wrap on narrow screens", "# title", "===", "---",
    "- a", "- b", "  - nested", "  text in an item", "* c", "1. one", "2. two", "   1. inner", "9. nine",
    "```py", "```", "~~~~", "x = '''", "    indented", "> quote", "> - list", "a | b", "--|--",
    "| 1 | 2 |", "**open", "close**", "`code`", "宽字符宽字符宽字符", "🎉", "  ", "\\", "-",
)  # fmt: skip


@settings(max_examples=40, deadline=None, database=None, derandomize=True)
@given(
    text=st.lists(st.sampled_from(LINES), min_size=1, max_size=25).map("\n".join),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    size=st.sampled_from([*SIZES, (20, 6)]),
)
@example(text="- a\n-\nx\n- |\n-|-\n", cuts=[1], size=(20, 6))
@example(text="1. one\n" * 12 + "\n# title", cuts=[1], size=(20, 6))
def test_scrollback_does_not_depend_on_how_the_text_is_cut(
    text: str, cuts: list[int], size: tuple[int, int]
) -> None:
    pieces: list[str] = []
    start = 0
    while start < len(text):
        length = cuts[len(pieces) % len(cuts)]
        pieces.append(text[start : start + length])
        start += length

    assert streamed(pieces, Terminal(*size)) == printed_at_once(text, *size)


def test_what_rich_would_hide_is_shown() -> None:
    text = textwrap.dedent("""\
        Use `x` and Vec<String>, a<br>b, </kbd> and <https://a.example>.

        <div>
        html
        </div>

        ![a picture](http://x.example/p.png) in [words](http://w.example)
        """)

    assert streamed(chunks(text, 7), Terminal(70, 24)).split("\n") == [
        "Use x and Vec<String>, a",
        "b, </kbd> and https://a.example.",
        "",
        "<div>",
        "html",
        "</div>",
        "",
        "a picture (http://x.example/p.png) in words (http://w.example)",
    ]


def test_words_wider_than_a_table_column_are_wrapped_not_cut() -> None:
    word = "incomprehensibilities" * 3
    text = f"| a | b |\n|---|---|\n| {word} | {word} |\n"

    shown = streamed(chunks(text, 9), Terminal(40, 10))

    assert shown.count("h") == 2 * word.count("h")


def test_link_definitions_hold_for_the_text_after_them() -> None:
    text = "[docs]: https://d.example\n\nfirst\n\nsee [docs]\n"

    assert streamed(chunks(text, 4), Terminal()) == "first\n\nsee docs (https://d.example)"


# ------------------------------------------------------------------------------------ while it grows


def test_unfinished_text_is_shown_at_once() -> None:
    terminal = Terminal(60, 24)
    stream = stream_on(terminal)

    stream.feed("# Title\n\nsome **bold** wor")

    assert terminal.screen.text.split("\n")[2:] == ["some bold wor"]


def test_finished_blocks_are_sent_once() -> None:
    terminal = Terminal(60, 24)

    streamed(chunks("the FIRST one\n\n" + "tail words " * 30, 4), terminal)

    after_it_was_finished = terminal.sent.split("tail", 1)[1]
    assert "FIRST" not in after_it_was_finished


@pytest.mark.parametrize("name", ["long code", "long bullets", "long numbers"])
def test_tall_block_enters_the_scrollback_as_it_grows(name: str) -> None:
    text = document(name)
    terminal = Terminal(60, 10)
    clock = Clock()
    stream = stream_on(terminal, clock)

    for piece in chunks(text[: len(text) * 4 // 5], 30):
        clock.now_s += 1
        stream.feed(piece)

    seen = terminal.screen.text.split("\n")
    assert len(seen) > 20
    assert seen[:-2] == printed_at_once(text, 60, 10).split("\n")[: len(seen) - 2]


def test_tall_block_that_may_still_change_shows_its_end() -> None:
    text = document("long table")
    terminal = Terminal(60, 10)
    stream = stream_on(terminal)

    stream.feed(text.split("25 |")[0])

    assert len(terminal.screen.text.split("\n")) < 10
    assert "row 24" in terminal.screen.text
    stream.close()
    assert terminal.screen.text == printed_at_once(text.split("25 |")[0], 60, 10)


def test_drawing_is_limited_to_what_the_eye_sees() -> None:
    terminal = Terminal()
    clock = Clock()
    stream = stream_on(terminal, clock)

    for _ in range(1000):
        clock.now_s += 0.001
        stream.feed("word ")

    assert len(terminal.writes) <= 1 / MIN_INTERVAL_S + 1


def test_each_redraw_is_one_write_of_what_changed() -> None:
    terminal = Terminal(60, 24)
    clock = Clock()
    stream = stream_on(terminal, clock)
    stream.feed("- UNCHANGED\n- second")

    clock.now_s += 1
    stream.feed(" item")

    assert len(terminal.writes) == 2
    assert "UNCHANGED" not in terminal.writes[1]


def test_nothing_fed_nothing_printed() -> None:
    terminal = Terminal()

    stream_on(terminal).close()

    assert terminal.sent == ""


# ---------------------------------------------------------------------------------- interruptions


def test_interrupt_leaves_all_text_and_a_free_line() -> None:
    terminal = Terminal(60, 24)

    with contextlib.suppress(KeyboardInterrupt), stream_on(terminal) as stream:
        stream.feed("shown **at")
        stream.feed(" once**, this is pending")
        raise KeyboardInterrupt

    assert terminal.screen.text == "shown at once, this is pending"
    assert terminal.screen.cursor == (0, 1)
    assert not terminal.screen.is_cursor_hidden


def test_messages_go_above_the_unfinished_block() -> None:
    terminal = Terminal(60, 24)
    output = Output(stdout=terminal, stderr=terminal, environ=terminal.environ)

    with MarkdownStream(output, Clock()) as stream:
        stream.feed("done\n\nun\nfinished")
        output.warning("low battery")
        assert terminal.screen.text == "done\ngptcli: warning: low battery\n\nun\nfinished"
        stream.feed(" no more")

    assert terminal.screen.text == "done\ngptcli: warning: low battery\n\nun\nfinished no more"
    assert output.live is None


@pytest.mark.parametrize("reflows", [True, False], ids=["reflowing", "xterm"])
@pytest.mark.parametrize("columns", [35, 110])
def test_width_may_change(columns: int, reflows: bool) -> None:
    terminal = Terminal(60, 24, NO_COLOR="1", **({} if reflows else {"XTERM_VERSION": "XTerm(390)"}))
    clock = Clock()
    words = [f"word{n}" for n in range(40)]
    text = "\n".join(["## Title", *words])
    seen, unseen = text[:200], text[200:]
    with stream_on(terminal, clock) as stream:
        stream.feed(seen)
        terminal.resize(columns, 24, reflows=reflows)
        clock.now_s += 1
        stream.feed(unseen)

    assert terminal.screen.text == printed_at_once(text, columns, 24)


@pytest.mark.parametrize("name", ["long code", "long bullets", "long numbers"])
def test_width_may_change_amid_a_tall_block(name: str) -> None:
    text = document(name)
    terminal = Terminal(100, 12, NO_COLOR="1")
    clock = Clock()
    with stream_on(terminal, clock) as stream:
        for number, piece in enumerate(chunks(text, 20)):
            if number == len(text) // 40:
                terminal.resize(90, 14)
            clock.now_s += 1
            stream.feed(piece)

    assert terminal.screen.text.split() == printed_at_once(text, 90, 14).split()


# ------------------------------------------------------------------------------ plainer terminals


def test_dumb_terminal_gets_each_block_when_it_is_finished() -> None:
    terminal = Terminal(60, 24, TERM="dumb")
    clock = Clock()
    with stream_on(terminal, clock) as stream:
        stream.feed("# Title\n\nfirst\n**block**")
        assert terminal.screen.text.strip() == "Title"
        clock.now_s += 1
        stream.feed("\n\nsecond")
        assert terminal.screen.text.strip() == "Title"
        clock.now_s += 1
        stream.feed(" block\n")
        assert terminal.screen.text.endswith("first\nblock")

    assert terminal.screen.text.endswith("first\nblock\n\nsecond block")
    assert "\x1b" not in terminal.sent


def test_no_color_means_layout_without_colors() -> None:
    text = document("paragraphs") + LONG_CODE
    terminal = Terminal(60, 24, NO_COLOR="1")

    streamed(chunks(text, 20), terminal)

    assert MOVES.search(terminal.sent)
    assert not COLORS.search(terminal.sent)


def test_pipe_that_wants_colors_gets_no_cursor_movement() -> None:
    pipe = io.StringIO()
    output = Output(color="always", stdout=pipe, stderr=io.StringIO(), environ={"COLUMNS": "60"})

    with MarkdownStream(output, Clock()) as stream:
        for piece in chunks("**bold**\n\n```python\nx = 1\n```\n", 5):
            stream.feed(piece)

    assert COLORS.search(pipe.getvalue())
    assert not MOVES.search(pipe.getvalue())


def test_terminal_that_draws_emoji_wider_loses_and_doubles_nothing() -> None:
    family = "👨\u200d👩\u200d👧"  # two columns for rich, six for our screen
    text = f"words before {family * 3} and words after, to the end of the row. {family * 4} End."
    terminal = Terminal(60, 24)

    shown = streamed(chunks(text, 3), terminal)

    assert shown.replace("\n", "").replace(" ", "") == text.replace("\u200d", "").replace(" ", "")


@pytest.mark.parametrize(
    "attack",
    [
        "\x1b]0;title\x07 \x1b[2J \x9b31m",
        "```sh\n\x1b[2J\n```",
        "&#27;[2J &#x9b;",
        "<http://a.example/%1b[2J>",
        "| \x1b[2J |\n|--|\n",
        "![\x1b[2J](http://x/%1b[2J)",
        "```\x1b[2J\n```",
        "<b \x1b[2J>",
    ],
)
def test_model_cannot_control_the_terminal(attack: str) -> None:
    terminal = Terminal(60, 24, NO_COLOR="1")

    streamed(chunks(attack, 2), terminal)

    sent = re.sub(r"\x1b\[(\?2026[hl]|\?7[hl]|\d+A|J)", "", terminal.sent)
    assert not re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", sent)


# ---------------------------------------------------------------------------------- a real terminal

PROGRAM = """
import sys, time
from pathlib import Path
from gptcli.output.console import Output
from gptcli.output.markdown import MarkdownStream

text = Path(sys.argv[1]).read_text(encoding="utf-8")
fed = 0
try:
    with MarkdownStream(Output()) as stream:
        while fed < len(text):
            stream.feed(text[fed : fed + 40])
            fed += 40
            time.sleep(0.002)
except KeyboardInterrupt:
    pass
Path(sys.argv[2]).write_text(text[:fed], encoding="utf-8")
"""


def run_on_a_terminal(text: str, tmp_path: Path, *, interrupt_at: str | None = None) -> tuple[str, str]:
    """Return what was fed to the stream, and the scrollback of a 40x10 terminal it ran on."""
    source, fed = tmp_path / "text.md", tmp_path / "fed.md"
    source.write_text(text, encoding="utf-8")
    child = pexpect.spawn(
        sys.executable,
        ["-c", PROGRAM, str(source), str(fed)],
        dimensions=(10, 40),
        env={"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        timeout=20,
    )
    sent = b""
    if interrupt_at is not None:
        child.expect(interrupt_at)
        sent = child.before + child.after
        child.sendintr()
    screen = Screen(40, 10)
    screen.feed(sent + child.read())
    child.close()
    assert child.exitstatus == 0
    return fed.read_text(encoding="utf-8"), screen.text


def test_real_terminal(tmp_path: Path) -> None:
    text = "\n\n".join(map(document, ("headings", "bullets", "long code", "wide", "table")))

    fed, shown = run_on_a_terminal(text, tmp_path)

    assert fed == text
    assert shown == printed_at_once(text, 40, 10)


def test_ctrl_c_on_a_real_terminal(tmp_path: Path) -> None:
    text = "# Title\n\n" + " ".join(f"word{n}" for n in range(4000))

    fed, shown = run_on_a_terminal(text, tmp_path, interrupt_at=r"word[2-9]\d\d")

    assert len(fed) < len(text)
    # The interrupt may have come between feeding a piece and counting it.
    assert shown in (printed_at_once(text[:size], 40, 10) for size in (len(fed), len(fed) + 40))
