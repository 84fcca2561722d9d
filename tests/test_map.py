"""`gptcli map` as scripts use it, on the scripted engine, the tiny model and an engine that dies."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptcli.engine.api import EngineSettings, Generate, ModelInfo
from gptcli.engine.local import LocalEngine
from gptcli.engine.scripted import Reply, ScriptedEngine, prompt_text
from gptcli.errors import EngineCrashedError, UsageError
from gptcli.prompts.fields import InlinePrompt, LibraryPrompt
from gptcli.prompts.library import load_template
from gptcli.tasks.map import Answer, MapTask, map_records
from tests.conftest import Cli

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
