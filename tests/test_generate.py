"""`gptcli generate` as scripts use it: pipes, JSON, exit statuses; on the scripted engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptcli.cli.sampling_options import parse_logit_bias, template_values, unescape
from gptcli.errors import UsageError
from gptcli.tasks.generate import repeats_itself
from tests.conftest import COMMAND, Cli

Script = Callable[..., str]


def test_a_pipe_gets_the_text_and_one_newline(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("Hello there, world."), "Say hello")

    assert (result.status, result.stdout, result.stderr) == (0, "Hello there, world.\n", "")


def test_a_text_that_ends_its_line_gets_no_second_newline(cli: Cli, script: Script) -> None:
    assert cli("generate", "-m", script("one\ntwo\n"), "x").stdout == "one\ntwo\n"
    assert cli("generate", "-m", script("one\n\ntwo\n\n\n"), "x").stdout == "one\n\ntwo\n"


def test_json_has_the_keys_of_the_contract(cli: Cli, script: Script) -> None:
    answer = cli("generate", "-m", script("Hello world"), "Say hello now", "--json").json

    assert set(answer) == {"text", "model", "finish_reason", "usage", "timings", "seed"}
    assert answer["text"] == "Hello world"
    assert answer["finish_reason"] == "stop"
    assert set(answer["usage"]) == {"prompt_tokens", "cached_tokens", "completion_tokens"}
    assert answer["usage"]["completion_tokens"] == 2
    assert set(answer["timings"]) == (
        {"load_s", "prompt_s", "generate_s", "prompt_tokens_per_s", "tokens_per_s"}
    )


def test_json_lists_samples(cli: Cli, script: Script) -> None:
    answer = cli("generate", "-m", script("first", "second"), "x", "--num", "2", "--json").json

    assert [sample["text"] for sample in answer["samples"]] == ["first", "second"]
    assert answer["text"] == "first"


def test_samples_in_a_pipe_are_apart(cli: Cli, script: Script) -> None:
    assert (
        cli("generate", "-m", script("first", "second"), "x", "--num", "2").stdout == "first\n\nsecond\n"
    )


def test_json_logprobs(cli: Cli, script: Script) -> None:
    answer = cli("generate", "-m", script("a b"), "x", "--logprobs", "1", "--json").json

    assert [set(item) for item in answer["logprobs"]] == [{"token", "logprob", "top"}] * 2
    assert set(answer["logprobs"][0]["top"][0]) == {"token", "logprob"}


def test_piped_text_alone_is_the_prompt(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("x"), "--dry-run", stdin="once upon a time")

    assert result.stdout == "once upon a time\n"
    assert "4 tokens" in result.stderr


def test_material_and_instruction_of_a_base_model(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("x"), "In short:", "--dry-run", stdin="A long report.\n")

    assert result.stdout == "A long report.\n\nIn short:\n"


def test_material_and_instruction_of_a_chat_model(cli: Cli, script: Script, tmp_path: Path) -> None:
    spec = script("x", model={"chat_template": "x", "context_limit": 100, "context_length": 100})
    (tmp_path / "notes.txt").write_text("Buy milk.", encoding="utf-8")

    result = cli(
        *(
            "generate",
            "-m",
            spec,
            "Summarise",
            "-s",
            "Be brief.",
            "-f",
            "notes.txt",
            "--dry-run",
            "--json",
        ),
        stdin="Sell the cow.",
    )

    assert result.json["prompt"] == (
        "system: Be brief.\nuser: Summarise\n\n### stdin\n\nSell the cow.\n\n### notes.txt\n\nBuy milk."
    )


def test_stdin_is_placed_where_the_dash_is(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("from the file", encoding="utf-8")

    result = cli(
        "generate",
        "-m",
        script("x"),
        "Go:",
        "-f",
        "a.txt",
        "-f",
        "-",
        "--dry-run",
        stdin="from the pipe",
    )

    assert result.stdout.index("from the file") < result.stdout.index("from the pipe")


def test_empty_stdin_is_no_prompt(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("x"), stdin=" \n")

    assert result.status == 2
    assert result.stderr.startswith("gptcli: there is nothing to go on from\n  try: gptcli generate")


def test_echo_prints_the_prompt_too(cli: Cli, script: Script) -> None:
    assert cli("generate", "-m", script(" is blue."), "The sky", "--echo").stdout == "The sky is blue.\n"


def test_stop_strings(cli: Cli, script: Script) -> None:
    spec = script("one two\nthree four")

    assert cli("generate", "-m", spec, "x", "--stop", r"\n").stdout == "one two\n"
    assert cli("generate", "-m", spec, "x", "--stop", "three", "--stop", "two").stdout == "one \n"


def test_max_tokens_and_the_reason(cli: Cli, script: Script) -> None:
    answer = cli("generate", "-m", script("one two three"), "x", "-n", "2", "--json").json

    assert (answer["text"], answer["finish_reason"]) == ("one two", "length")


def test_thinking_is_kept_out_of_the_answer(cli: Cli, script: Script) -> None:
    spec = script({"text": "42.", "thinking": "Let me see."})

    assert cli("generate", "-m", spec, "x").stderr == ""
    shown = cli("generate", "-m", spec, "x", "--thinking", "show")
    assert (shown.stdout, shown.stderr.strip()) == ("42.\n", "Let me see.")


def test_a_loop_is_said(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("He said so. " * 8), "x")

    assert result.status == 0
    assert "the text repeats itself" in result.stderr
    assert cli("generate", "-q", "-m", script("He said so. " * 8), "x").stderr == ""


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("the cat sat. the cat sat. the cat sat. the cat sat.", True),
        ("no no no no no no no no no no", True),
        ("A perfectly fine sentence with an end.", False),
        ("", False),
        ("Rows:\n\n\n\n\n\n\n", False),
    ],
)
def test_repeats_itself(text: str, loops: bool) -> None:
    assert repeats_itself(text) is loops


def test_overflow_is_status_6_with_both_counts(cli: Cli, script: Script) -> None:
    spec = script("x", model={"context_limit": 20, "context_length": 20})

    result = cli("generate", "-m", spec, "word " * 50, "--json")

    assert result.status == 6
    assert (result.error["prompt_tokens"], result.error["context_size"]) == (50, 20)
    assert result.error["hint"] == "--overflow head, tail or middle keeps a part of the text"
    assert result.stdout == ""


@pytest.mark.parametrize(("mode", "first", "last"), [("head", "w0", "w9"), ("tail", "w90", "w99")])
def test_overflow_keeps_a_part_and_says_so(
    cli: Cli, script: Script, mode: str, first: str, last: str
) -> None:
    spec = script("x", model={"context_limit": 60, "context_length": 60})
    words = " ".join(f"w{n}" for n in range(100))

    result = cli(
        *("generate", "-m", spec, "Go on:", "--overflow", mode, "-n", "32", "--dry-run"), stdin=words
    )

    assert result.status == 0
    kept = result.stdout.split()
    assert kept[-2:] == ["Go", "on:"]
    assert (kept[0], kept[-3]) == (first, last)
    assert f"kept the {mode}: 10 of 100 tokens" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--temperature", "-1", "--temperature must be between 0 and 10, not -1.0"),
        ("--temperature", "nan", "--temperature must be between 0 and 10, not nan"),
        ("--top-p", "1.5", "--top-p must be between 0 and 1, not 1.5"),
        ("--top-k", "-2", "--top-k must be at least 0, not -2"),
        ("--mirostat", "3", "--mirostat must be between 0 and 2, not 3"),
        ("--repeat-penalty", "0", "--repeat-penalty must be between 0.01 and 100, not 0.0"),
        ("--seed", "-1", "--seed must be at least 0, not -1"),
        ("--max-tokens", "-5", "--max-tokens must be at least 0, not -5"),
        ("--num", "0", "--num must be at least 1, not 0"),
        ("--logprobs", "-1", "--logprobs must be between 0 and 1000, not -1"),
        ("--threads", "-1", "--threads must be 0 or more, not -1"),
        ("--gpu-layers", "some", "--gpu-layers must be auto, all or a number, not 'some'"),
        ("--parallel", "0", "--parallel must be auto or a number from 1, not '0'"),
        ("--logit-bias", "abc", "--logit-bias must be TOKEN+BIAS or TOKEN-BIAS, not 'abc'"),
        ("--param", "abc", "--param must be KEY=VALUE, not 'abc'"),
        ("--stop", "", "--stop must not be empty"),
        ("--ctx-size", "-1", "--ctx-size must be 0 or more, not -1"),
    ],
)
def test_values_out_of_range(cli: Cli, script: Script, option: str, value: str, message: str) -> None:
    result = cli("generate", "-m", script("x"), "x", f"{option}={value}")

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == f"gptcli: {message}"


def test_wrong_types_and_options_are_usage_errors(cli: Cli) -> None:
    wrong_type = cli("generate", "x", "--top-k", "many")
    assert wrong_type.status == 2
    assert "--top-k" in wrong_type.stderr.splitlines()[0]
    unknown = cli("generate", "x", "--temprature", "1", "--json")
    assert unknown.status == 2
    assert unknown.error["code"] == "usage"
    assert "--temperature" in unknown.error["message"]


def test_constraints_exclude_each_other(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("x"), "x", "--choices", "a,b", "--regex", "a")

    assert result.status == 2
    assert "--choices and --regex exclude each other" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--choices", "yes,,no"], "empty"),
        (["--regex", "(a"], "regular expression"),
        (["--regex", r"(a)\1"], "reference"),
        (["--json-schema", "{"], "JSON"),
        (["--json-schema", '{"$ref": "https://example.com/x.json"}'], "$ref"),
        (["--json-schema", "missing.json"], 'cannot read "missing.json"'),
        (["--grammar", 'root ::= "a'], "grammar"),
        (["--grammar", "missing.gbnf"], 'cannot read "missing.gbnf"'),
    ],
)
def test_constraints_that_do_not_parse(
    cli: Cli, script: Script, arguments: list[str], fragment: str
) -> None:
    result = cli("generate", "-m", script("x"), "x", *arguments)

    assert (result.status, result.stdout) == (2, "")
    assert fragment in result.stderr.splitlines()[0]
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"caf\xe9 au lait", "stdin is not UTF-8 text: byte 0xe9 at offset 3"),
        (b"a\0b", "stdin is not text: it contains NUL bytes (offset 1)"),
    ],
)
def test_stdin_that_is_no_text(cli: Cli, script: Script, data: bytes, message: str) -> None:
    result = cli("generate", "-m", script("x"), stdin=data)

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == f"gptcli: {message}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(cli: Cli, script: Script, encoding: str) -> None:
    result = cli("generate", "-m", script("x"), "--dry-run", stdin="größer".encode(encoding))

    assert result.stdout == "größer\n"


def test_a_missing_file_names_itself(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("x"), "x", "-f", "nothing.txt")

    assert result.status == 2
    assert result.stderr.startswith('gptcli: cannot read "nothing.txt": No such file')


def test_a_closed_reader_ends_quietly(script: Script) -> None:
    spec = script({"text": "word " * 3000, "delay_s": 0.0005})
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", spec, "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()

    assert process.stderr.read() == b""
    assert process.wait(10) == 0
    process.stderr.close()


def test_a_closed_stdout_is_a_failure() -> None:
    done = subprocess.run(
        f'exec "{sys.executable}" -m gptcli generate x >&-', shell=True, capture_output=True, check=False
    )

    assert done.returncode == 1


def test_a_full_disk_behind_stdout_is_a_failure(cli: Cli, script: Script) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "generate", "-m", script("some text"), "x"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert done.returncode == 1
    assert b"No space left on device" in done.stderr


def test_ctrl_c_keeps_what_was_printed(script: Script) -> None:
    spec = script({"text": "word " * 1000, "delay_s": 0.01})
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", spec, "x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    first = process.stdout.read(9)
    time.sleep(0.1)

    os.kill(process.pid, signal.SIGINT)
    rest, errors = process.communicate(timeout=10)

    assert process.returncode == 130
    assert (first + rest).startswith(b"word word")
    assert (first + rest).endswith(b"\n")
    assert errors == b""


def test_ctrl_c_with_json_gives_what_there_is(script: Script) -> None:
    spec = script({"text": "word " * 1000, "delay_s": 0.01})
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", spec, "x", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    stdout, _ = process.communicate(timeout=10)

    assert process.returncode == 130
    answer = json.loads(stdout)
    assert answer["finish_reason"] == "cancelled"
    assert answer["text"].startswith("word")


def test_the_seed_is_told_and_counts_up_over_samples(cli: Cli, script: Script) -> None:
    command = ("generate", "-m", script("a"), "x", "--json")

    assert cli(*command, "--seed", "5").json["seed"] == 5
    assert cli(*command).json["seed"] != cli(*command).json["seed"]


def test_environment_and_config_file_set_options(cli: Cli, script: Script, home: Path) -> None:
    spec = script("one two three four")
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text(
        f'model = "{spec}"\nmax-tokens = 3\n[generate]\ntop_k = 5\n', encoding="utf-8"
    )

    assert cli("generate", "x").stdout == "one two three\n"
    assert cli("generate", "x", env={"GPTCLI_MAX_TOKENS": "2"}).stdout == "one two\n"
    assert cli("generate", "x", "-n", "1", env={"GPTCLI_MAX_TOKENS": "2"}).stdout == "one\n"


def test_an_unknown_config_key_is_refused(cli: Cli, home: Path) -> None:
    (home / "config").mkdir()
    (home / "config" / "config.toml").write_text("temprature = 1\n", encoding="utf-8")

    result = cli("generate", "x")

    assert result.status == 2
    assert result.stderr == (
        'gptcli: config.toml: unknown key "temprature"\n  try: did you mean temperature?\n'
    )


def test_no_escape_sequences_in_a_pipe(cli: Cli, script: Script) -> None:
    result = cli("generate", "-m", script("# Title\n\n**bold** text"), "x")

    assert result.stdout == "# Title\n\n**bold** text\n"
    assert "\x1b" not in result.stdout + result.stderr


def test_unescape() -> None:
    assert unescape(r"a\nb\t\\n") == "a\nb\t\\n"


def test_logit_bias_forms() -> None:
    assert parse_logit_bias("29905-1") == (29905, -1.0)
    assert parse_logit_bias(" yes+2.5") == (" yes", 2.5)
    assert parse_logit_bias("a+b-inf") == ("a+b", float("-inf"))


def test_template_values(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("from a file", encoding="utf-8")

    assert template_values(["topic=a=b", f"text=@{path}"]) == {"topic": "a=b", "text": "from a file"}
    with pytest.raises(UsageError):
        template_values(["=x"])


def test_errors_as_json(cli: Cli) -> None:
    result = cli("generate", "x", "-m", "starterr", "--json")

    assert result.status == 3
    assert result.error == {
        "code": "model_not_found",
        "message": 'model "starterr" is not known',
        "hint": "-m starter",
        "model": "starterr",
    }
    assert json.loads(result.stderr)
