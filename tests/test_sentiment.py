"""`gptcli sentiment` as people and scripts use it."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pexpect
import pytest

from gptcli import paths
from tests.conftest import COMMAND, Cli
from tests.screen import Screen
from tests.tiny_gguf import make_tiny_model

RuleSpec = Callable[[Mapping[str, str]], str]
Script = Callable[..., str]
WORDS = {"good": "positive", "bad": "negative", "table": "neutral"}
PLAIN = ("--no-calibration", "-q")
# Replies for the scripted engine: two words a label.
NO, YES, EVEN = ({"logprobs": [a, -9, b, -9]} for a, b in ((-1, -4), (-4, -1), (-1, -1)))
TEXTS = "so good\nvery bad\n"


@pytest.fixture
def spec(rule_spec: RuleSpec) -> tuple[str, ...]:
    return ("-m", rule_spec(WORDS), *PLAIN)


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# ------------------------------------------------------------------------------------------ input


def test_texts_are_arguments_or_lines(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    arguments = quick_cli("sentiment", "so good", "very bad", *spec)
    lines = quick_cli("sentiment", *spec, stdin=TEXTS)

    assert arguments.stdout == lines.stdout == "positive\nnegative\n"
    assert (lines.status, lines.stderr) == (0, "")


def test_a_whole_document_is_one_text(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli(
        "sentiment", *spec, "--input-format", "text", "--jsonl", stdin="good.\n\ngood.\nbad.\n"
    )

    (record,) = objects(found.stdout)
    assert (record["text"], record["label"]) == ("good.\n\ngood.\nbad.\n", "positive")


def test_records_keep_their_fields(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli("sentiment", *spec, stdin='{"id": 7, "text": "good", "x": [1]}\n{"text": " "}\n')

    first, blank = objects(found.stdout)
    assert list(first) == ["id", "text", "x", "label", "score", "scores"]
    assert (first["id"], first["x"], first["label"]) == (7, [1], "positive")
    assert first["score"] == first["scores"]["positive"] > 0.8
    assert sum(first["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert (blank["label"], blank["score"], blank["scores"]) == (None, None, {})


@pytest.mark.parametrize(("kind", "comma"), [("csv", ","), ("tsv", "\t")])
def test_a_table_in_is_a_table_out(
    quick_cli: Cli, spec: tuple[str, ...], tmp_path: Path, kind: str, comma: str
) -> None:
    (tmp_path / f"in.{kind}").write_text(f"id{comma}review\n1{comma}so good\n2{comma}bad\n")

    found = quick_cli("sentiment", "-i", f"in.{kind}", "--field", "review", "-o", f"out.{kind}", *spec)

    assert (found.status, found.stdout) == (0, "")
    written = (tmp_path / f"out.{kind}").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(written), delimiter=comma))
    assert list(rows[0]) == ["id", "review", "label", "score", "scores", "error"]
    assert [(row["id"], row["review"], row["label"]) for row in rows] == [
        ("1", "so good", "positive"),
        ("2", "bad", "negative"),
    ]
    assert json.loads(rows[0]["scores"])["positive"] == float(rows[0]["score"])


def test_a_table_of_one_column_needs_no_field(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli("sentiment", *spec, "--input-format", "csv", "--jsonl", stdin="review\nbad\n")

    assert objects(found.stdout)[0]["label"] == "negative"


def test_a_column_that_is_not_there_is_refused(quick_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,review\n1,good\n")

    refused = quick_cli("sentiment", "-i", "in.csv", "-m", "no-such-model")
    other = quick_cli("sentiment", "-i", "in.csv", "--field", "body", "-m", "no-such-model")

    assert (refused.status, refused.stdout, other.status) == (2, "", 2)
    assert 'there is no field "text": the fields are "id", "review"\n  try: --field' in refused.stderr
    assert 'there is no field "body": the fields are "id", "review"' in other.stderr


def test_broken_records_stay_in_their_place(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    data = '{"text": "good"}\nbroken\n{"body": "good"}\n{"text": "bad"}\n'

    found = quick_cli("sentiment", *spec, "--input-format", "jsonl", stdin=data)

    assert found.status == 1
    records = objects(found.stdout)
    assert [record.get("label") for record in records] == ["positive", None, None, "negative"]
    assert records[2]["body"] == "good"
    assert [record["error"]["code"] for record in records[1:3]] == ["record", "usage"]
    assert "2 of 4 records failed" in found.stderr


# ----------------------------------------------------------------------------------------- options


def test_neutral_is_a_third_class(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    found = quick_cli("sentiment", "--neutral", "--jsonl", "a table", *spec)

    (record,) = objects(found.stdout)
    assert (record["label"], list(record["scores"])) == ("neutral", ["negative", "neutral", "positive"])


def test_doubtful_labels_are_marked(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    options = ("--min-confidence", "0.8", *spec)
    plain = quick_cli("sentiment", *options, stdin="so good\nsomething\n\n")
    records = quick_cli("sentiment", *options, "--jsonl", stdin="so good\nsomething\n\n")

    assert (plain.status, plain.stdout) == (0, "positive\nnegative?\n?\n")
    assert [record["doubtful"] for record in objects(records.stdout)] == [False, True, True]


@pytest.mark.parametrize(
    ("text", "status"), [("so good", 0), ("something", 7), (" ", 7)], ids=["sure", "doubtful", "blank"]
)
def test_a_single_doubtful_text_is_exit_7(
    quick_cli: Cli, spec: tuple[str, ...], text: str, status: int
) -> None:
    found = quick_cli("sentiment", text, "--min-confidence", "0.8", "--json", *spec)

    assert (found.status, len(found.json)) == (status, 1)
    if status:
        assert found.error["code"] == "no_answer"


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_a_confidence_is_a_probability(quick_cli: Cli, value: str) -> None:
    refused = quick_cli("sentiment", "x", "--min-confidence", value, "-m", "no-such-model")

    assert refused.status == 2
    assert "between 0 and 1" in refused.stderr


def test_fields_can_be_named(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    data = '{"text": "good", "label": "x"}\n'

    refused = quick_cli("sentiment", *spec, stdin=data)
    found = quick_cli("sentiment", *spec, "--output-field", "mood", stdin=data)

    assert refused.status == 2
    assert "--output-field" in refused.stderr
    (record,) = objects(found.stdout)
    assert (record["label"], record["mood"]) == ("x", "positive")
    assert record["mood_score"] == record["mood_scores"]["positive"]


def test_words_and_sentences_explain(quick_cli: Cli, spec: tuple[str, ...]) -> None:
    text = "So good! But\tbad, bad."
    found = quick_cli("sentiment", text, "--explain", "--sentences", "--json", *spec)

    (record,) = found.json
    assert record["label"] == "negative"
    assert [word["text"] for word in record["words"] if word["weight"] > 1] == ["bad", "bad"]
    assert [word["text"] for word in record["words"] if word["weight"] < -1] == ["good"]
    assert [part["label"] for part in record["sentences"]] == ["positive", "negative"]
    for each in (*record["words"], *record["sentences"]):
        assert text[each["start"] : each["end"]] == each["text"]


def test_calibration_is_measured_once_and_kept(quick_cli: Cli, rule_spec: RuleSpec) -> None:
    options = ("--jsonl", "-m", rule_spec({**WORDS, "film": "negative"}))
    first = quick_cli("sentiment", "so good", *options)
    kept, _ = paths.calibrations_dir().iterdir()  # Chinese texts have one of their own
    whole = kept.read_text()
    kept.write_text(whole.replace('"biases"', '"weights"'))  # is of no use, and measured again
    second = quick_cli("sentiment", "so good", *options)
    neutral = quick_cli("sentiment", "so good", "--neutral", *options)

    assert first.stdout == second.stdout
    assert kept.read_text() == whole
    assert len(list(paths.calibrations_dir().iterdir())) == 4
    assert len(neutral.json["scores"]) == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--format", "plain"), "positive\n"),
        (("--format", "csv"), "text,label,score,scores,error\n"),
        (("--json",), "[\n"),
        (("--jsonl",), '{"text": "so good"'),
        (("--format", "table"), "positive  ########"),
    ],
)
def test_the_format_can_be_chosen(
    quick_cli: Cli, spec: tuple[str, ...], arguments: tuple[str, ...], expected: str
) -> None:
    found = quick_cli("sentiment", "so good", *arguments, *spec)

    assert found.stdout.startswith(expected)
    assert "\x1b" not in found.stdout


# --------------------------------------------------------------------------------------- a terminal


def on_terminal(tmp_path: Path, columns: int, *arguments: str) -> tuple[str, str]:
    """Return what the command sends to a terminal, and what is to be seen on it."""
    command = (*COMMAND, "sentiment", *arguments)
    child = pexpect.spawn(
        command[0],
        list(command[1:]),
        cwd=str(tmp_path),
        dimensions=(40, columns),
        timeout=30,
        env=dict(os.environ),
    )
    sent = child.read()
    screen = Screen(columns, 40)
    screen.feed(sent)
    return sent.decode(), screen.text


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_a_terminal_shows_a_table_with_a_summary(script: Script, tmp_path: Path, columns: int) -> None:
    texts = ("so good \x1b[2J", "very bad " * 20, "好" * 80, " ")
    options = ("--no-calibration", "--min-confidence", "0.6", "-m", script(YES, NO, EVEN))

    sent, shown = on_terminal(tmp_path, columns, *texts, *options)

    assert "\x1b[32mpositive" in sent
    assert "\x1b[2J" not in sent
    lines = shown.splitlines()
    assert lines[0].startswith("positive  █████████▌  95%")
    assert [line.split()[0] for line in lines if "%" in line] == [
        *("positive", "negative", "negative?", "negative", "positive", "1")
    ]
    assert "1 below 60%, marked with ?" in lines
    assert "1 blank" in lines
    assert len(lines) == 9  # no line is broken


def test_a_terminal_without_colour(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    options = ("--no-calibration", "--explain", "-m", script(YES, NO, EVEN))

    sent, shown = on_terminal(tmp_path, 60, "so good", *options)

    assert "\x1b[3" not in sent
    assert shown.splitlines()[1:] == ["   +5.99  so", "   +2.99  good"]


def test_a_heat_map_has_each_word_on_its_weight(script: Script, tmp_path: Path) -> None:
    options = ("--no-calibration", "--explain", "-m", script(YES, NO, EVEN))

    sent, shown = on_terminal(tmp_path, 60, "so good", *options)

    assert "\x1b[30;48;5;40mso\x1b[0m" in sent
    assert shown.splitlines()[1:] == ["  so good", "  speaks  against   a little   for it"]


@pytest.mark.parametrize("columns", [40, 60])
def test_a_heat_map_is_folded_between_words(script: Script, tmp_path: Path, columns: int) -> None:
    options = ("--no-calibration", "--explain", "-m", script(YES, NO, EVEN))

    _, shown = on_terminal(tmp_path, columns, "so good \x1b[2J " + "wonderful " * 30, *options)

    lines = [line for line in shown.splitlines() if "█" not in line]
    heat = " ".join(lines[: next(n for n, line in enumerate(lines) if "speaks" in line)])
    assert all(line.startswith("  ") for line in lines if line)
    assert heat.split()[-30:] == ["wonderful"] * 30


# -------------------------------------------------------------------------------- streams, stopping


@pytest.fixture(scope="module")
def roomy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose window has room for the examples."""
    path = tmp_path_factory.mktemp("roomy") / "tiny.gguf"
    return make_tiny_model(path, context_length=8192)


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*COMMAND, "sentiment", "--no-calibration", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )


@pytest.mark.parametrize("model", ["scripted", "tiny"])
def test_a_line_is_answered_while_the_pipe_is_open(
    script: Script, roomy_model: Path, tmp_path: Path, model: str
) -> None:
    spec = script(YES) if model == "scripted" else str(roomy_model)
    with started(tmp_path, "-m", spec, "--jsonl") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("one", "", "three"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stdout.read() == b""


def test_a_closed_pipe_ends_it_quietly(script: Script, tmp_path: Path) -> None:
    with started(tmp_path, "-m", script(YES)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"positive\n"
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"more\n" * 1000)
            process.stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_ctrl_c_leaves_what_was_finished_and_resume_goes_on(
    cli: Cli, script: Script, tmp_path: Path
) -> None:
    options = ("-m", script(YES), "--no-calibration", "-o", "out.csv")
    with started(tmp_path, *options) as process:
        assert process.stdin is not None
        process.stdin.write(TEXTS.encode())
        process.stdin.flush()
        deadline = time.monotonic() + 20
        out = tmp_path / "out.csv"
        while not out.exists() or out.read_bytes().count(b"\n") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    (tmp_path / "in.txt").write_text(f"{TEXTS}third\n")

    refused = cli("sentiment", "-i", "in.txt", *options)
    resumed = cli("sentiment", "-i", "in.txt", *options, "--resume")

    assert (refused.status, resumed.status) == (2, 0)
    assert "2 were there already" in resumed.stderr
    texts = [row["text"] for row in csv.DictReader(io.StringIO(out.read_text(encoding="utf-8")))]
    assert texts == ["so good", "very bad", "third"]
