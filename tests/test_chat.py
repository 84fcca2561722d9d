"""`gptcli chat` in a pipe: one line in, one answer out."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptcli import paths
from tests.conftest import COMMAND, Cli

Script = Callable[..., str]
CHAT = {"chat_template": "x"}


def test_a_line_in_is_an_answer_out(cli: Cli, script: Script) -> None:
    result = cli("chat", "-m", script("one", "two"), stdin="hi\n\n/exit\n")

    assert (result.status, result.stdout) == (0, "one\ntwo\n")


def test_answers_come_line_by_line(script: Script, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chat", "-m", script("one", "two")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for answer in ("one\n", "two\n"):
        process.stdin.write("hi\n")
        assert process.stdout.readline() == answer
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()


def test_json_is_one_object_a_turn(cli: Cli, script: Script) -> None:
    result = cli(
        "chat", "--json", "-m", script("one", {"text": "two", "thinking": "hm"}), stdin="a\nb\n"
    )

    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["text"], second["text"]) == ("one", "two")
    assert first["cid"] == second["cid"]
    assert {"model", "finish_reason", "usage", "timings"} <= set(first)
    assert "hm" not in result.stdout


def test_the_prompt_comes_first_and_takes_the_files(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content", encoding="utf-8")
    result = cli("chat", "look", "-f", "a.txt", "-m", script("one", "two"), stdin="and?\n")

    assert result.stdout == "one\ntwo\n"
    shown = cli("logs", "show", "--json").json
    assert [message["text"] for message in shown["messages"]] == ["look", "one", "and?", "two"]
    assert shown["messages"][0]["attachments"] == [{"name": "a.txt", "text": "content"}]


def test_stdin_can_be_a_file(cli: Cli, script: Script) -> None:
    result = cli("chat", "look", "-f", "-", "-m", script("one", "two"), stdin="two\nlines\n")

    assert result.stdout == "one\n"
    message = cli("logs", "show", "--json").json["messages"][0]
    assert (message["text"], message["attachments"][0]["text"]) == ("look", "two\nlines\n")


def test_a_chat_goes_on(cli: Cli, script: Script) -> None:
    spec = script("one", "two", model=CHAT)
    first = cli("chat", "hello", "--json", "--system", "Be brief.", "-m", spec).json
    cli("generate", "between", "-m", spec)
    again = cli("chat", "-c", "--json", stdin="more\n").json
    named = cli("chat", "--cid", first["cid"], "and", "--json", "--top-k", "3").json

    assert again["cid"] == named["cid"] == first["cid"]
    shown = cli("logs", "show", first["cid"], "--json").json
    assert [message["text"] for message in shown["messages"]][::2] == ["hello", "more", "and"]
    assert shown["system"] == "Be brief."
    assert shown["messages"][-1]["provenance"]["sampling"]["top_k"] == 3


@pytest.mark.parametrize("arguments", [["-c"], ["--cid", "nonsense"]])
def test_there_is_no_chat_to_go_on_with(cli: Cli, script: Script, arguments: list[str]) -> None:
    result = cli("chat", *arguments, "-m", script("one"), stdin="hi\n")

    assert result.status == 2
    assert result.stdout == ""


def test_nothing_is_kept_on_request(cli: Cli, script: Script) -> None:
    result = cli("chat", "hello", "--no-log", "--json", "-m", script("one"))

    assert result.json["cid"] is None
    assert not paths.logs_file().exists()
    assert not paths.chat_history_file().exists()


def test_where_nothing_can_be_written_the_chat_goes_on(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory", encoding="utf-8")
    result = cli("chat", "-m", script("one"), stdin="hi\nand?\n")

    assert (result.status, result.stdout) == (0, "one\none\n")
    assert result.stderr.count("this is not logged") == 1


def test_no_line_is_an_error(cli: Cli, script: Script) -> None:
    for stdin in ("", "\n \n"):
        result = cli("chat", "-m", script("one"), stdin=stdin)
        assert (result.status, result.stdout) == (2, "")


def test_what_is_not_text(cli: Cli, script: Script) -> None:
    result = cli("chat", "-m", script("one"), stdin=b"good\n\xff\xfe\x00bad\n")

    assert (result.status, result.stdout) == (2, "one\n")
    assert "line 2 of stdin" in result.stderr


def test_control_characters_do_not_reach_the_model(cli: Cli, script: Script) -> None:
    cli("chat", "-m", script("one"), stdin="a\x1b[31mb\x07\n")

    assert cli("logs", "show", "--json").json["messages"][0]["text"] == "a[31mb"


def test_turns_that_leave_the_window_are_told_on_stderr(cli: Cli, script: Script) -> None:
    spec = script("word " * 20, model={"context_limit": 80, **CHAT})
    result = cli("chat", "-m", spec, stdin="a question of some words\n" * 6)

    assert result.stdout.count("\n") == 6
    assert "no longer before the model: its context window of 80 tokens was full" in result.stderr


def test_a_message_larger_than_the_window(cli: Cli, script: Script) -> None:
    spec = script("one", model={"context_limit": 50, **CHAT})
    result = cli("chat", "-m", spec, stdin="word " * 60 + "\n")

    assert result.status == 6
    assert "this message has" in result.stderr


def test_a_pipe_needs_no_prompt_toolkit(script: Script, tmp_path: Path) -> None:
    probe = (
        "import sys\nfrom gptcli.cli.app import run\n"
        f"run(['chat', '-m', {script('one')!r}])\n"
        "assert 'prompt_toolkit' not in sys.modules, 'prompt_toolkit'\n"
        "assert 'rich' not in sys.modules, 'rich'\n"
    )
    subprocess.run([COMMAND[0], "-c", probe], input=b"hi\n", check=True, stdout=subprocess.DEVNULL)


def test_ctrl_c_keeps_what_is_there(script: Script) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chat", "hello", "-m", script({"text": "word " * 1000, "delay_s": 0.02})],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.read(4) == b"word"
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(20) == 130
    process.stdout.close()
    (answer,) = _answers()
    assert answer.startswith("word")


def test_kill_9_loses_at_most_a_second(script: Script) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chat", "hello", "-m", script({"text": "word " * 1000, "delay_s": 0.01})],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    seen = b""
    while len(seen) < 700:
        seen += os.read(process.stdout.fileno(), 100)
    time.sleep(1.0)
    process.kill()
    process.wait(20)
    process.stdout.close()
    (answer,) = _answers()

    assert len(answer) >= 690
    with sqlite3.connect(paths.logs_file()) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def _answers() -> list[str]:
    connection = sqlite3.connect(paths.logs_file())
    try:
        rows = connection.execute("SELECT text FROM messages WHERE role = 'assistant'").fetchall()
    finally:
        connection.close()
    return [row[0] for row in rows]
