"""What reaches stdout and stderr, on terminals and in pipes."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from gptcli.engine.api import TokenLogprob
from gptcli.errors import ModelNotFoundError
from gptcli.output.console import ColorMode, Output
from gptcli.output.progress import Progress
from gptcli.output.tables import print_logprobs, print_table
from tests.screen import Terminal

ESCAPE = "\x1b"


class Pipe(io.TextIOWrapper):
    """A text stream that is no terminal, of some encoding."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, newline="\n")

    @property
    def sent(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


def on_pipes(
    color: ColorMode = "auto",
    quiet: bool = False,
    verbose: bool = False,
    environ: dict[str, str] | None = None,
) -> tuple[Output, Pipe, Pipe]:
    stdout, stderr = Pipe(), Pipe()
    output = Output(
        color=color, quiet=quiet, verbose=verbose, stdout=stdout, stderr=stderr, environ=environ or {}
    )
    return output, stdout, stderr


def on_terminal(
    color: ColorMode = "auto", columns: int = 60, environ: dict[str, str] | None = None
) -> tuple[Output, Terminal]:
    terminal = Terminal(columns, 24, **environ or {})
    output = Output(color=color, stdout=terminal, stderr=terminal, environ=terminal.environ)
    return output, terminal


# ------------------------------------------------------------------------------------------ results


def test_text_is_flushed_piece_by_piece_and_ends_with_one_newline() -> None:
    output, stdout, _ = on_pipes()

    output.write("Hel")
    assert stdout.sent == "Hel"
    output.write("lo")
    output.finish_text()
    output.finish_text()

    assert stdout.sent == "Hello\n"


def test_text_that_ends_with_a_newline_gets_no_other() -> None:
    output, stdout, _ = on_pipes()

    output.write("one\n")
    output.write("")
    output.finish_text()

    assert stdout.sent == "one\n"


def test_no_text_no_newline() -> None:
    output, stdout, _ = on_pipes()

    output.finish_text()

    assert stdout.sent == ""


def test_pipe_gets_model_text_untouched_and_a_terminal_does_not_obey_it() -> None:
    text = "a\x1b[31mb\x07\x9bc\td\r\ne\x7f"
    output, stdout, _ = on_pipes()
    output.write(text)
    assert stdout.sent == text

    output, terminal = on_terminal()
    output.write(text)
    assert terminal.sent == "a␛[31mb␇\ufffdc\td\ne␡"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_characters_the_stream_cannot_encode_are_replaced(encoding: str) -> None:
    stdout = Pipe(encoding)
    output = Output(stdout=stdout, stderr=Pipe(), environ={})

    output.write("price: 5 € \ud83d\n")

    assert stdout.sent == "price: 5 ? ?\n"


def test_json_is_one_line_of_readable_characters() -> None:
    output, stdout, _ = on_pipes()

    output.json({"text": "naïve\n文\x1b\x9b"})

    assert stdout.sent == '{"text": "naïve\\n文\\u001b\\u009b"}\n'


def test_json_loses_nothing_where_characters_cannot_be_encoded() -> None:
    stdout = Pipe("ascii")
    output = Output(stdout=stdout, stderr=Pipe(), environ={})

    output.json({"text": "naïve 文 \ud83d"})

    assert json.loads(stdout.sent) == {"text": "naïve 文 \ud83d"}


def test_json_is_never_invalid() -> None:
    output, _, _ = on_pipes()

    with pytest.raises(ValueError, match="not JSON compliant"):
        output.json({"logprob": -math.inf})


def test_broken_pipe_is_left_to_the_caller() -> None:
    class Closed(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    output = Output(stdout=Closed(), stderr=Pipe(), environ={})

    with pytest.raises(BrokenPipeError):
        output.write("text")


# ----------------------------------------------------------------------------------------- messages


def test_messages_go_to_stderr() -> None:
    output, stdout, stderr = on_pipes(verbose=True)

    output.status("loading")
    output.warning("low battery")
    output.note("1.2 s")

    assert stdout.sent == ""
    assert stderr.sent == "loading\ngptcli: warning: low battery\n1.2 s\n"


def test_quiet_silences_everything_but_errors() -> None:
    output, stdout, stderr = on_pipes(quiet=True)

    output.status("loading")
    output.warning("low battery")
    output.note("1.2 s")
    with Progress(output, "working", line_every_s=0) as progress:
        progress.update(1)
    output.error(ModelNotFoundError("no such model"))

    assert stdout.sent == ""
    assert stderr.sent == "gptcli: no such model\n"


def test_error_is_a_fact_and_what_to_type_next() -> None:
    output, _, stderr = on_pipes()

    output.error(ModelNotFoundError('model "x" is not downloaded', hint="gptcli models pull x"))

    assert stderr.sent == 'gptcli: model "x" is not downloaded\n  try: gptcli models pull x\n'


def test_error_as_json() -> None:
    output, _, stderr = on_pipes()

    output.error(ModelNotFoundError("not here", hint="look there", name="x", size=3), as_json=True)

    assert json.loads(stderr.sent) == {
        "error": {
            "code": "model_not_found",
            "message": "not here",
            "hint": "look there",
            "name": "x",
            "size": 3,
        }
    }


def test_thinking_is_dim_on_a_terminal_and_ends_before_the_answer() -> None:
    output, terminal = on_terminal()

    output.thinking("Hm, ")
    output.thinking("let me see")
    output.write("Yes")
    output.finish_text()

    assert terminal.screen.text == "Hm, let me see\nYes"
    assert terminal.sent == "\x1b[2mHm, \x1b[0m\x1b[2mlet me see\x1b[0m\nYes\n"


def test_thinking_in_a_pipe_is_plain() -> None:
    output, stdout, stderr = on_pipes()

    output.thinking("Hm")
    output.write("Yes")
    output.finish_text()

    assert (stdout.sent, stderr.sent) == ("Yes\n", "Hm\n")


def test_message_does_not_land_within_a_line_of_the_result() -> None:
    output, terminal = on_terminal()

    output.write("unfinished")
    output.warning("low battery")
    output.finish_text()

    assert terminal.screen.text == "unfinished\ngptcli: warning: low battery"


# -------------------------------------------------------------------------------------------- colours


@pytest.mark.parametrize(
    ("color", "environ", "colored"),
    [
        ("auto", {}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": ""}, True),
        ("auto", {"TERM": "dumb"}, False),
        ("never", {}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("always", {"TERM": "dumb"}, True),
    ],
)
def test_colors_on_a_terminal(color: ColorMode, environ: dict[str, str], colored: bool) -> None:
    output, terminal = on_terminal(color, environ=environ)

    output.warning("low battery")

    assert (ESCAPE in terminal.sent) is colored
    assert output.stdout_color is colored


@pytest.mark.parametrize(("color", "colored"), [("auto", False), ("never", False), ("always", True)])
def test_colors_in_a_pipe(color: ColorMode, colored: bool) -> None:
    output, _, stderr = on_pipes(color)

    output.warning("low battery")

    assert (ESCAPE in stderr.sent) is colored


def test_each_stream_is_judged_by_itself() -> None:
    terminal, pipe = Terminal(), Pipe()
    output = Output(stdout=pipe, stderr=terminal, environ=terminal.environ)

    assert (output.stdout_color, output.stderr_color) == (False, True)


def test_size_comes_from_the_environment_or_is_80_by_24() -> None:
    assert on_pipes()[0].terminal_size() == (80, 24)
    assert on_pipes(environ={"COLUMNS": "100", "LINES": "0"})[0].terminal_size() == (100, 24)
    assert on_pipes(environ={"COLUMNS": "wide"})[0].width == 80


# --------------------------------------------------------------------------------------------- tables

COLUMNS = ("text", "label", "score")
ROWS = [("Good 文字", "positive", 0.9), ("so\nso", None, 0.25), ("x" * 50, "negative", 10)]


def test_table_in_a_pipe_is_aligned_and_complete() -> None:
    output, stdout, _ = on_pipes()

    print_table(output, COLUMNS, ROWS, title="Reviews")

    assert stdout.sent.split("\n") == [
        "text" + " " * 48 + "label     score",
        "Good 文字" + " " * 43 + "positive    0.9",
        "so so" + " " * 47 + "           0.25",
        "x" * 50 + "  negative     10",
        "",
    ]


def test_table_on_a_terminal_is_fitted_to_it() -> None:
    output, terminal = on_terminal(columns=40)

    print_table(output, COLUMNS, ROWS, title="Reviews")

    rows = terminal.screen.text.split("\n")
    assert rows[0] == "Reviews"
    assert rows[1].split() == list(COLUMNS)
    assert set(rows[2]) == {"─"}
    assert rows[3].split() == ["Good", "文字", "positive", "0.9"]
    assert terminal.screen.text.count("x") == 51  # with the column's name: folded, not cut


def test_table_of_documents_cannot_control_the_terminal() -> None:
    output, terminal = on_terminal("never")

    print_table(output, ["a\x1b[2J"], [["b\x1b[2J"]], title="c\x9b")

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", terminal.sent)


def test_empty_table_has_a_head() -> None:
    output, stdout, _ = on_pipes()

    print_table(output, ("name", "size"), [])

    assert stdout.sent == "name  size\n"


TOKENS = [
    TokenLogprob("Hello", math.log(0.97), (("Hello", math.log(0.97)), (" Hi", math.log(0.02)))),
    TokenLogprob(" there\n", math.log(0.3)),
    TokenLogprob("!\x1b[2J", -math.inf),
]


def test_heat_map_shows_the_text_and_a_legend() -> None:
    output, terminal = on_terminal()

    print_logprobs(output, TOKENS)

    assert terminal.screen.text.split("\n") == [
        "Hello there↵",
        "!␛[2J",
        "probability  ≥ 90%  ≥ 50%  ≥ 10%  ≥ 1%  < 1%",
    ]
    assert terminal.sent.index("48;5;40mHello") < terminal.sent.index("48;5;220m there")


def test_probabilities_without_colors_are_a_table() -> None:
    output, stdout, _ = on_pipes()

    print_logprobs(output, TOKENS)

    assert stdout.sent.split("\n") == [
        "token    probability                       alternatives",
        "Hello    97.0%        ###################  Hello 97.0%  ␣Hi 2.0%",
        "␣there↵  30.0%        ######",
        "!␛[2J    0.0%",
        "",
    ]


# ------------------------------------------------------------------------------------------- progress


def wait_for(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_progress_is_gone_when_done() -> None:
    output, terminal = on_terminal()

    with Progress(output, "reading [red]", total=10, show_after_s=0.01) as progress:
        progress.update(4, text="4 files")
        wait_for(lambda: "4 files" in terminal.screen.text)
        assert terminal.screen.text.startswith("reading [red] ")
        assert "40%" in terminal.screen.text

    assert terminal.screen.text == ""
    assert not terminal.screen.is_cursor_hidden
    assert output.live is None


def test_progress_makes_room_for_other_output() -> None:
    output, terminal = on_terminal()

    with Progress(output, "reading", show_after_s=0.01) as progress:
        wait_for(lambda: "reading" in terminal.sent)
        output.warning("odd file")
        output.write("result\n")
        progress.update(1, total=2)
        drawn = "gptcli: warning: odd file\nresult\nreading"
        wait_for(lambda: terminal.screen.text.startswith(drawn))

    assert terminal.screen.text == "gptcli: warning: odd file\nresult"


def test_quick_work_shows_nothing() -> None:
    output, terminal = on_terminal()

    with Progress(output, "reading") as progress:
        progress.update(1)

    assert terminal.sent == ""


def test_progress_lets_exceptions_pass_and_frees_the_terminal() -> None:
    output, terminal = on_terminal()

    def fail_while_it_shows() -> None:
        with Progress(output, "reading", show_after_s=0):
            wait_for(lambda: "reading" in terminal.sent)
            raise KeyError

    with pytest.raises(KeyError):
        fail_while_it_shows()

    assert terminal.screen.text == ""
    assert not terminal.screen.is_cursor_hidden


def test_progress_in_a_pipe_is_a_line_now_and_then() -> None:
    output, stdout, stderr = on_pipes()

    with Progress(output, "reading", total=2000, line_every_s=0) as progress:
        progress.update(500)
        progress.update(1000, text="half")
    with Progress(output, "reading", total=4) as progress:
        progress.update(1)

    assert stdout.sent == ""
    assert stderr.sent == "reading: 25%, 500 of 2,000\nreading: 50%, half\n"


def test_progress_never_touches_stdout() -> None:
    terminal, pipe = Terminal(60), Pipe()
    output = Output(stdout=pipe, stderr=terminal, environ=terminal.environ)

    with Progress(output, "reading", show_after_s=0):
        wait_for(lambda: "reading" in terminal.sent)

    assert pipe.sent == ""


# ---------------------------------------------------------------------------------------------- start


def test_piping_does_not_load_rich() -> None:
    program = """
import sys
from gptcli.output import console, live, markdown, progress, tables
output = console.Output()
output.write("text")
output.finish_text()
output.json({})
output.warning("careful")
tables.print_table(output, ["a"], [["b"]])
with progress.Progress(output, "work") as bar:
    bar.update(1)
loaded = {name.partition(".")[0] for name in sys.modules}
assert loaded.isdisjoint({"rich", "markdown_it", "pygments"}), loaded
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "text\n{}\na\nb\n"), done.stderr
