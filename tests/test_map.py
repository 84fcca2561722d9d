"""`gptcli map` as scripts use it, on the scripted engine, the tiny model and an engine that dies."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pexpect
import pytest

from gptcli.engine.api import EngineSettings, Generate, ModelInfo
from gptcli.engine.local import LocalEngine
from gptcli.engine.scripted import Reply, ScriptedEngine, prompt_text
from gptcli.errors import EngineCrashedError, UsageError
from gptcli.prompts.fields import InlinePrompt, LibraryPrompt
from gptcli.prompts.library import load_template
from gptcli.tasks.map import Answer, MapTask, map_records
from tests.conftest import COMMAND, Cli

Script = Callable[..., str]
CHAT = ModelInfo(name="chat", context_length=4096, context_limit=4096, chat_template="x")
BASE = ModelInfo(name="base", context_length=4096, context_limit=4096)


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


# ---------------------------------------------------------------------------------------- formats


def test_a_line_in_is_a_line_out(cli: Cli, script: Script) -> None:
    spec = script("first\n\nanswer \n", "second")

    result = cli("map", "-m", spec, "Say: {text}", stdin="one\n  \ntwo")

    assert (result.status, result.stdout, result.stderr) == (0, "first answer\n\nsecond\n", "")


def test_csv_in_gives_csv_out(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text('\ufeffid,review\n1,"so\nso"\n2,bad\n', encoding="utf-8")

    result = cli(
        *("map", "-m", script("yes, well", "no"), "Is it good? {text}", "--field", "review"),
        *("-i", "in.csv", "-o", "out.csv", "--output-field", "good"),
    )

    assert (result.status, result.stdout) == (0, "")
    assert result.stderr.startswith("2 records in ")
    assert rows((tmp_path / "out.csv").read_text(encoding="utf-8")) == [
        ["id", "review", "good", "error"],
        ["1", "so\nso", "yes, well", ""],
        ["2", "bad", "no", ""],
    ]


def test_jsonl_in_gives_jsonl_out(cli: Cli, script: Script) -> None:
    lines = '{"text": "a", "n": 1.50}\n\n{"n": [2], "text": "b"}\n'

    result = cli("map", "-m", script("é", "y"), "{text} {n}", stdin=lines)

    assert result.stdout == (
        '{"text": "a", "n": 1.5, "answer": "é"}\n{"n": [2], "text": "b", "answer": "y"}\n'
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--jsonl"], '{"text": "a", "answer": "x y"}\n'),
        (["--json"], '[\n{"text": "a", "answer": "x y"}\n]\n'),
        (["--format", "csv"], "text,answer,error\na,x y,\n"),
        (["--format", "tsv"], "text\tanswer\terror\na\tx y\t\n"),
        (["-o", "out.jsonl"], '{"text": "a", "answer": "x y"}\n'),
    ],
)
def test_the_format_can_be_chosen(
    cli: Cli, script: Script, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    result = cli("map", "-m", script("x y"), "{text}", *arguments, stdin="a\n")

    written = tmp_path / "out.jsonl"
    assert (written.read_text(encoding="utf-8") if written.exists() else result.stdout) == expected


def test_an_empty_input_gives_an_empty_output(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,text\n", encoding="utf-8")
    (tmp_path / "empty.txt").touch()

    # No model is needed for that.
    table = cli("map", "-m", "no-such-model", "{text}", "-i", "in.csv")
    array = cli("map", "-m", "no-such-model", "{text}", "-i", "empty.txt", "--json")
    nothing = cli("map", "-m", "no-such-model", "{text}", "-i", "empty.txt")

    assert (table.status, table.stdout) == (0, "id,text,answer,error\n")
    assert (array.status, array.json) == (0, [])
    assert (nothing.status, nothing.stdout) == (0, "")


def test_with_a_schema_the_answer_is_json(cli: Cli, script: Script) -> None:
    arguments = ("map", "{text}", "--json-schema", '{"type": "object"}', "-m")
    replies = ('{"a": [1,\n2]}', '{"a": ')

    lines = cli(*arguments, script(*replies), "--jsonl", stdin="one\n\ntwo\n")
    table = cli(*arguments, script(*replies), "--format", "csv", stdin="one\n")

    first, blank, cut = objects(lines.stdout)
    assert (lines.status, first["answer"], blank["answer"]) == (1, {"a": [1, 2]}, None)
    assert cut["error"] == {
        "code": "failed",
        "message": "record 3 (line 3): the answer is not whole JSON: it ends after 1 tokens",
    }
    assert rows(table.stdout)[1] == ["one", '{"a": [1, 2]}', ""]


# --------------------------------------------------------------------------------- failed records


def test_failed_records_are_marked_counted_and_told(cli: Cli, script: Script) -> None:
    spec = script("one", {"error": "the engine is tired"}, "four")
    data = b'{"text": "a"}\nbroken\n{"text": "b"}\n{"other": 1}\n{"text": "c"}\n'

    result = cli("map", "-m", spec, "{text}", stdin=data)

    assert result.status == 1
    assert [line.get("answer") for line in objects(result.stdout)] == ["one", None, None, None, "four"]
    assert objects(result.stdout)[2] == {
        "text": "b",
        "error": {"code": "failed", "message": "record 3 (line 3): the engine is tired"},
    }
    assert objects(result.stdout)[3]["error"]["code"] == "usage"
    assert result.stderr.splitlines() == [
        "gptcli: warning: record 2 (line 2): not JSON: Expecting value (column 1)",
        "gptcli: warning: record 3 (line 3): the engine is tired",
        'gptcli: warning: record 4 (line 4): there is no field "text": the fields are "other"',
        "gptcli: 3 of 5 records failed",
    ]


def test_a_failed_line_is_an_empty_line(cli: Cli, script: Script) -> None:
    result = cli("map", "-m", script("x"), "{text}", "-q", stdin=b"a\n\xff\nb\n")

    assert (result.status, result.stdout) == (1, "x\n\nx\n")
    assert result.stderr == "gptcli: 1 of 3 records failed\n"


def test_ragged_rows_fail_alone(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"a,text\n1\n2,fine\n3,x,y\n4,\xff\n")

    result = cli("map", "-m", script("ok"), "{text}", "-i", "in.csv")

    assert result.status == 1
    assert rows(result.stdout)[1:] == [
        ["1", "", "", "record 1 (line 2): 1 cells for 2 columns"],
        ["2", "fine", "ok", ""],
        ["3", "x", "", "record 3 (line 4): 3 cells for 2 columns"],
        ["4", "�", "", "record 4 (line 5): not UTF-8 text: byte 0xff at position 3"],
    ]


def test_a_record_too_long_for_the_context_window_fails_alone(cli: Cli, script: Script) -> None:
    spec = script("ok", model={"context_limit": 20, "context_length": 20})

    result = cli("map", "-m", spec, "{text}", "--jsonl", stdin=f"a\n{'word ' * 30}\nb\n")

    assert [line.get("error", {}).get("code") for line in objects(result.stdout)] == [
        None,
        "context_overflow",
        None,
    ]


def test_a_field_that_would_be_overwritten_fails_its_record(cli: Cli, script: Script) -> None:
    lines = '{"text": "a"}\n{"text": "b", "answer": "mine"}\n'

    result = cli("map", "-m", script("x"), "{text}", stdin=lines)

    assert objects(result.stdout)[1]["answer"] == "mine"
    assert 'record 2 (line 2): it has a field "answer" already' in result.stderr


# ------------------------------------------------------------- what is refused before a model loads


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Summarise"], "the template has no {field}: every record would get the same prompt"),
        (["{titel}"], 'there is no field "titel": the fields are "id", "text"'),
        (["{text}", "--field", "x"], 'there is no field "x": the fields are "id", "text"'),
        (["{text}", "-s", "{who}"], 'there is no field "who": the fields are "id", "text"'),
        (["{text}", "--output-field", "id"], 'the input has a field "id" already'),
        (["{text}", "-o", "in.csv"], "the output is the input file"),
        (["{text}", "-o", "old.csv"], '"old.csv" exists'),
        (["{text}", "-o", "old.csv", "--resume"], '"old.csv" is not the output of this run: its '),
        (["{text}", "-o", "no/out.csv"], 'cannot write "no/out.csv": No such file or directory'),
        (["{text}", "-i", "none.csv"], 'cannot read "none.csv": No such file or directory'),
        (["{text}", "--resume"], "--resume needs an output file"),
        (["{text}", "-o", "x.json", "--resume"], "one JSON array cannot be resumed"),
        (["{text}", "--jsonl", "--format", "csv"], "--format, --json and --jsonl exclude each other"),
        (["{text}", "--limit", "-1"], "--limit must be 0 or more, not -1"),
        (["{text}", "--template", "summary"], "a prompt and --template exclude each other"),
        (["{text}", "--choices", "a", "--regex", "b"], "--choices and --regex exclude each other"),
        (["{text}", "--parallel", "x"], "--parallel must be auto or a number from 1, not 'x'"),
    ],
)
def test_what_is_refused(cli: Cli, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,a\n", encoding="utf-8")
    (tmp_path / "old.csv").write_text("id,text,answer,error\n2,b,x,\n", encoding="utf-8")
    if "-i" not in arguments:
        arguments = [*arguments, "-i", "in.csv"]

    result = cli("map", "-m", "no-such-model", *arguments)

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0].startswith(f"gptcli: {message}")
    assert (tmp_path / "old.csv").read_text(encoding="utf-8") == "id,text,answer,error\n2,b,x,\n"


def test_an_output_is_replaced_only_when_asked_and_when_the_model_is_there(
    cli: Cli, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "out.txt").write_text("precious\n", encoding="utf-8")
    arguments = ("map", "{text}", "-o", "out.txt", "--overwrite", "-m")

    assert cli(*arguments, "no-such-model", stdin="a\n").status == 3
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "precious\n"
    assert cli(*arguments, script("new"), stdin="a\n").status == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "new\n"


# ---------------------------------------------------------------------------------------- prompts


def prompts(task: MapTask, records: list[dict[str, Any]], model: ModelInfo = BASE) -> list[str]:
    """Return what a model is asked for these records."""
    engine = ScriptedEngine(default=Reply(text="x"), model=model)
    list(map_records(engine, task, [Plain(n, record) for n, record in enumerate(records)]))
    return [prompt_text(request.prompt) for request in generations(engine)]


def generations(engine: ScriptedEngine) -> list[Generate]:
    return [request for request in engine.requests if isinstance(request, Generate)]


class Plain:
    """A record."""

    def __init__(self, number: int, fields: dict[str, Any]) -> None:
        self.number, self.fields, self.error = number, fields, None


def test_fields_go_into_the_prompt_and_the_system_prompt() -> None:
    prompt = InlinePrompt(instruction="{{text}} {n} {Text}: {text}", system="You are {who}.")

    asked = prompts(MapTask(prompt=prompt), [{"text": " a {n}", "n": [1], "who": "I"}], CHAT)

    assert asked == ["system: You are I.\nuser: {text} [1]  a {n}:  a {n}"]


def test_a_name_as_it_is_written_comes_first() -> None:
    prompt = InlinePrompt(instruction="{Name} {Text}", text_field="body")

    assert prompts(MapTask(prompt=prompt), [{"Name": "ada", "body": "hi"}]) == ["ada Hi"]
    assert prompts(MapTask(prompt=prompt), [{"name": "ada", "body": "hi"}]) == ["Ada Hi"]


def test_nothing_is_asked_about_nothing() -> None:
    prompt = InlinePrompt(instruction="Summarise: {text} {more}")

    asked = prompts(MapTask(prompt=prompt), [{"text": " ", "more": None}, {"text": "", "more": 1}])

    assert asked == ["Summarise:  1"]


def test_a_template_takes_its_parameters_from_the_fields() -> None:
    template = load_template("news", Path("nowhere"))
    prompt = LibraryPrompt(template=template, values={"tone": "dry"})
    engine = ScriptedEngine(default=Reply(text="x"))
    records = [Plain(0, {"topic": "rain", "tone": "wet"}), Plain(1, {"x": ""}), Plain(2, {"topic": ""})]

    results = [result for _, result in map_records(engine, MapTask(prompt=prompt), records)]

    (request,) = generations(engine)
    assert prompt_text(request.prompt).endswith("Topic: rain\nArticle:\n")
    assert request.stop == template.stop
    assert [type(result) for result in results] == [Answer, UsageError, Answer]
    assert "dry" in prompts(MapTask(prompt=prompt), [{"topic": "rain"}], CHAT)[0]


def test_all_records_have_the_seed() -> None:
    engine = ScriptedEngine(default=Reply(text="x"))
    task = MapTask(prompt=InlinePrompt(instruction="{a}"))
    list(map_records(engine, task, [Plain(n, {"a": "b"}) for n in range(3)]))

    assert len({request.sampling for request in generations(engine)}) == 1
    assert generations(engine)[0].sampling.max_tokens == 256


def test_a_dry_run_shows_prompts_and_counts(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\na b\n1,2\nc\nd\n", encoding="utf-8")
    arguments = ("map", "-m", script("x"), "Say {text}", "-i", "in.csv", "--dry-run", "-o", "out.csv")

    result, as_json = cli(*arguments), cli(*arguments, "--json").json

    assert (result.status, result.stdout) == (0, "Say a b\n\nSay c\n")
    assert result.stderr.splitlines() == [
        "gptcli: warning: record 2 (line 3): 2 cells for 1 columns",
        "record 1: 3 tokens",
        "record 3: 2 tokens",
        "4 records, 1 of them cannot be read; a context window of 4,096 tokens",
    ]
    assert (as_json["records"], as_json["broken"], len(as_json["prompts"])) == (4, 1, 2)
    assert not (tmp_path / "out.csv").exists()


def test_a_limit(cli: Cli, script: Script) -> None:
    assert cli("map", "-m", script("x"), "{text}", "--limit", "2", stdin="a\nb\nc\n").stdout == "x\nx\n"


# ------------------------------------------------------------------------- breaking off, going on


def started(tmp_path: Path, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        (*COMMAND, "map", *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        **more,
    )


def wait_for_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(("kind", "cut"), [("csv", 3), ("jsonl", 1), ("txt", 0)])
def test_a_killed_run_is_resumed(cli: Cli, script: Script, tmp_path: Path, kind: str, cut: int) -> None:
    count = 60
    (tmp_path / "in.txt").write_text("".join(f"line {n}\n" for n in range(count)), encoding="utf-8")
    replies = [{"text": f'a "{n}"', "delay_s": 0.01} for n in range(count)]
    arguments = ("{text}", "-i", "in.txt", "-o", f"out.{kind}", "-m")
    out = tmp_path / f"out.{kind}"
    with started(tmp_path, *arguments, script(*replies)) as process:
        wait_for_size(out, 150)
        process.kill()
    left = out.read_bytes()
    os.truncate(out, len(left) - cut)
    done = left[: len(left) - cut].count(b"\n") - (kind == "csv")
    assert 0 < done < count - 5

    first = cli("map", *arguments, script(*replies[done:]), "--resume")
    again = cli("map", *arguments, "no-such-model", "--resume")

    whole = {
        "csv": "text,answer,error\n" + "".join(f'line {n},"a ""{n}""",\n' for n in range(count)),
        "jsonl": "".join(
            json.dumps({"text": f"line {n}", "answer": f'a "{n}"'}) + "\n" for n in range(count)
        ),
        "txt": "".join(f'a "{n}"\n' for n in range(count)),
    }
    assert first.status == again.status == 0
    assert f"{done} were there already" in first.stderr
    assert out.read_text(encoding="utf-8") == whole[kind]


def test_what_failed_stays_failed(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text\na\nb,c\nd\n", encoding="utf-8")
    (tmp_path / "out.csv").write_text("text,answer,error\na,x,\nb,,it was late\nd,", encoding="utf-8")

    result = cli("map", "-m", script("y"), "{text}", "-i", "in.csv", "-o", "out.csv", "--resume")

    assert result.status == 1
    assert "1 of 3 records failed, 1 of them in the earlier run" in result.stderr
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").endswith("b,,it was late\nd,y,\n")


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (
            '{"text": "a", "answer": "x"}\n{"text": "z", "answer": "x"}\n',
            "it differs from record 2 (line 2)",
        ),
        ('{"text": "a", "answer": "x"}\n' * 3, "it differs from record 2 (line 2) of the input"),
        ('{"text": "a", "answer": "x"}\nnot ours\n', "Expecting value"),
        ('{"text": "a", "summary": "x"}\n', "it differs from record 1 (line 1) of the input"),
    ],
)
def test_the_output_of_another_run_is_not_touched(
    cli: Cli, tmp_path: Path, output: str, why: str
) -> None:
    (tmp_path / "out.jsonl").write_text(output, encoding="utf-8")
    arguments = ("map", "-m", "no-such-model", "{text}", "-o", "out.jsonl", "--resume")

    result = cli(*arguments, stdin="a\nb\n")

    assert result.status == 2
    assert '"out.jsonl" is not the output of this run' in result.stderr
    assert why in result.stderr
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == output


def test_ctrl_c_keeps_what_is_finished(script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("line\n" * 500, encoding="utf-8")
    spec = script({"text": "answer", "delay_s": 0.01})
    with started(tmp_path, "{text}", "-i", "in.txt", "-o", "out.txt", "-m", spec) as process:
        wait_for_size(tmp_path / "out.txt", 70)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)

    assert process.returncode == 130
    done = (tmp_path / "out.txt").read_text(encoding="utf-8")
    assert done == "answer\n" * (len(done) // 7)
    assert stderr.decode() == (
        f"stopped after {len(done) // 7} records; the same command with --resume goes on\n"
    )


def test_ctrl_c_leaves_a_json_array_that_can_be_read(script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("line\n" * 500, encoding="utf-8")
    spec = script({"text": "answer", "delay_s": 0.01})
    with started(tmp_path, "{text}", "-i", "in.txt", "-o", "out.json", "-m", spec) as process:
        wait_for_size(tmp_path / "out.json", 100)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)

    assert {"text": "line", "answer": "answer"} in json.loads((tmp_path / "out.json").read_bytes())


def test_appending_to_the_input_is_refused(script: Script, tmp_path: Path) -> None:
    file = tmp_path / "in.txt"
    file.write_text("line\n", encoding="utf-8")
    with file.open("rb") as stdin, file.open("ab") as stdout:
        done = subprocess.run(
            (*COMMAND, "map", "{text}", "-m", script("x")), stdin=stdin, stdout=stdout, check=False
        )

    assert (done.returncode, file.read_text(encoding="utf-8")) == (2, "line\n")


def test_a_terminal_shows_how_far_it_is(script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("line\n" * 40, encoding="utf-8")
    arguments = ("{text}", "-i", "in.txt", "-o", "out.txt", "-m")
    command = (*COMMAND, "map", *arguments, script({"text": "a b", "delay_s": 0.02}))
    child = pexpect.spawn(
        command[0], list(command[1:]), cwd=str(tmp_path), dimensions=(24, 120), encoding="utf-8"
    )

    child.expect(r"\d+ of about 40 records, [\d.]+ records/s, \d+ tokens/s, [12] s left", timeout=20)
    child.expect("40 records in .*, 80 tokens", timeout=20)
    child.expect(pexpect.EOF, timeout=20)


def test_a_full_disk_leaves_what_can_be_resumed(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("".join(f"{n}\n" for n in range(50)), encoding="utf-8")
    arguments = ("{text}", "-i", "in.txt", "-o", "out.jsonl", "-m", script("fine"))

    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    with started(tmp_path, *arguments, preexec_fn=small_disk) as process:
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert stderr.decode().splitlines()[-2:] == [
        'gptcli: cannot write "out.jsonl": File too large',
        "  try: make room, then the same command with --resume",
    ]

    assert cli("map", *arguments, "--resume").status == 0
    written = objects((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert [record["text"] for record in written] == [str(n) for n in range(50)]


# ------------------------------------------------------------------------------------ a live pipe


@contextlib.contextmanager
def live(tmp_path: Path, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes], Any]]:
    """Run the command on a pipe that stays open; yield its stdin, stdout and process."""
    with started(tmp_path, *arguments) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdin, process.stdout, process
        finally:
            process.kill()


@pytest.mark.parametrize("model", ["scripted", "tiny"])
def test_a_record_is_answered_while_the_pipe_is_open(
    script: Script, tiny_model: Path, tmp_path: Path, model: str
) -> None:
    spec = script("answer") if model == "scripted" else str(tiny_model)
    with live(tmp_path, "{text}", "-m", spec, "-n", "3") as (stdin, stdout, process):
        for line in (b"one\n", b"\n", b"\xff\n", b"four\n"):
            stdin.write(line)
            stdin.flush()
            assert stdout.readline().endswith(b"\n")
        stdin.write(b"no line yet")
        stdin.flush()
        process.send_signal(signal.SIGINT)

        assert process.wait(20) == 130
        assert stdout.read() == b""
        stderr = process.stderr.read().decode()
        assert stderr.splitlines()[-1] == "stopped after 4 records"
        assert "Fatal" not in stderr


def test_head_ends_it_quietly(script: Script, tmp_path: Path) -> None:
    with live(tmp_path, "{text}", "-m", script("answer")) as (stdin, stdout, process):
        stdin.write(b"one\ntwo\n")
        stdin.flush()
        assert stdout.readline() == b"answer\n"
        stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for _ in range(1000):
                stdin.write(b"more\n")
                stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            stdin.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


# -------------------------------------------------------------------------------------- real ones


def test_a_real_model_answers_each_record(cli: Cli, tiny_chat_model: Path) -> None:
    lines = "".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(25))
    arguments = ("map", "-m", str(tiny_chat_model), "Say {text}", "-n", "4", "--seed", "1")

    result = cli(*arguments, "--choices", "yes,no", stdin=lines)

    assert result.status == 0
    assert [record["text"] for record in objects(result.stdout)] == [f"text {n}" for n in range(25)]
    assert {record["answer"] for record in objects(result.stdout)} <= {"yes", "no"}


DYING = Path(__file__).with_name("dying_worker.py")


def test_a_record_that_kills_the_engine_fails_alone(tmp_path: Path) -> None:
    engine = LocalEngine(
        EngineSettings(model_path="x", model_name="x"), command=(sys.executable, "-P", str(DYING))
    )
    records = [Plain(n, {"text": "deadly" if n == 20 else f"text {n}"}) for n in range(40)]
    try:
        results = [
            result
            for _, result in map_records(
                engine, MapTask(prompt=InlinePrompt(instruction="{text}")), records
            )
        ]
    finally:
        engine.close()

    assert isinstance(results.pop(20), EngineCrashedError)
    assert {result.value for result in results if isinstance(result, Answer)} == {
        f"text {n}" for n in range(40) if n != 20
    }
