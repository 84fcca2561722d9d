"""`gptcli logs`, and what the other commands log."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pexpect
import pytest

from gptcli import paths
from gptcli.cli.logs.changing import parse_age
from gptcli.errors import UsageError
from gptcli.store.conversations import Conversations
from gptcli.store.records import Attachment
from tests.conftest import COMMAND, Cli

Script = Callable[..., str]

NOTICE = "what is asked and answered is kept in"


def kept() -> list[Any]:
    """Return all that is logged, the oldest first."""
    with closing(Conversations(paths.logs_file())) as log:
        return [log.load(each.id) for each in reversed(log.summaries())]


def keep(*asked: str, kind: str = "generate", when: float | None = None) -> list[str]:
    """Log conversations of one turn each; return their ids."""
    cids = []
    with closing(Conversations(paths.logs_file())) as log, pytest.MonkeyPatch.context() as patch:
        if when is not None:
            patch.setattr(time, "time", lambda: when)
        for text in asked:
            cids.append(log.begin(kind, "tiny"))
            log.add(cids[-1], "user", text)
            answer = log.add(cids[-1], "assistant", "")
            log.finish(answer, f"about {text}", "stop")
    return cids


# ----------------------------------------------------------------------------- what commands log


def test_generate_logs_the_question_and_how_the_answer_was_made(
    cli: Cli, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("the notes", encoding="utf-8")
    spec = script({"text": "An answer.", "thinking": "Hm."}, model={"chat_template": "x", "build": "b1"})

    cli(
        "generate",
        "Sum up",
        "-s",
        "Be brief.",
        "-f",
        "notes.txt",
        "--seed",
        "7",
        "--stop",
        "END",
        "-m",
        spec,
    )

    (entry,) = kept()
    asked, answered = entry.messages
    assert (entry.kind, entry.model, entry.system) == ("generate", "scripted", "Be brief.")
    assert (asked.text, asked.attachments) == ("Sum up", (Attachment("notes.txt", "the notes"),))
    assert (answered.text, answered.thinking, answered.finish_reason) == ("An answer.", "Hm.", "stop")
    assert answered.usage.completion_tokens == 2
    assert (answered.provenance.build, answered.provenance.sampling["seed"]) == ("b1", 7)
    assert entry.settings["stop"] == ["END"]


def test_the_model_is_known_by_its_hash(cli: Cli, tiny_model: Path) -> None:
    from gptcli.engine.prompt_cache import model_fingerprint

    cli("generate", "Once", "-n", "2", "-m", str(tiny_model))

    (entry,) = kept()
    origin = entry.messages[1].provenance
    assert origin.model_path == str(tiny_model)
    assert origin.model_hash == model_fingerprint(tiny_model)
    assert "llama" in origin.build


def test_each_sample_is_logged_with_its_seed(cli: Cli, script: Script) -> None:
    cli("generate", "Say", "--num", "2", "--seed", "7", "-m", script("one", "two"))

    (entry,) = kept()
    assert [(each.text, each.provenance.sampling["seed"]) for each in entry.messages[1:]] == [
        ("one", 7),
        ("two", 8),
    ]


def test_a_long_text_is_logged(cli: Cli, script: Script) -> None:
    result = cli("generate", "Tea", "--words", "60", "-m", script("Tea is warm. " * 30))

    (entry,) = kept()
    assert entry.messages[1].text.strip() == result.stdout.strip()
    assert entry.messages[1].finish_reason == "stop"


def test_map_logs_the_run_not_the_records(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("secret one\nsecret two\n", encoding="utf-8")
    spec = script("fine", {"error": "broken"})

    cli("map", "Judge: {text}", "-i", "in.txt", "-o", "out.jsonl", "-m", spec)

    (entry,) = kept()
    assert entry.kind == "map"
    assert [each.text for each in entry.messages] == ["Judge: {text}", "2 records, 1 failed, 1 tokens"]
    assert (entry.settings["input"], entry.settings["output"]) == ("in.txt", "out.jsonl")
    assert b"secret" not in paths.logs_file().read_bytes()


@pytest.mark.parametrize(
    ("command", "arguments", "asked"),
    [
        ("sentiment", ("--no-calibration",), "sentiment: negative, positive"),
        ("classify", ("--labels", "tea,rain"), "classify: tea, rain"),
        ("translate", ("--to", "fr", "--from", "en"), "translate into fr"),
    ],
)
def test_tasks_log_the_run_not_the_texts(
    cli: Cli, tiny_model: Path, command: str, arguments: tuple[str, ...], asked: str
) -> None:
    options = ("-m", str(tiny_model), *arguments)

    cli(command, *options, "--jsonl", stdin="a secret\n")

    (entry,) = kept()
    assert (entry.kind, entry.messages[0].text) == (command, asked)
    assert entry.messages[1].text.startswith("1 ")
    assert entry.messages[1].finish_reason == "stop"
    assert b"secret" not in paths.logs_file().read_bytes()


@pytest.mark.parametrize("how", ["flag", "environment", "config", "switch"])
def test_no_log_keeps_nothing(cli: Cli, script: Script, how: str) -> None:
    spec, env, more = script("text"), {}, []
    if how == "flag":
        more = ["--no-log"]
    elif how == "environment":
        env = {"GPTCLI_NO_LOG": "1"}
    elif how == "config":
        cli("config", "set", "no-log", "true")
    else:
        cli("logs", "off")

    done = cli("generate", "Hello", "-m", spec, *more, env=env)
    cli("map", "{text}", "-m", spec, *more, env=env, stdin="a\n")
    cli("generate", "Hello", "-m", spec, "--dry-run")

    assert done.stdout == "text\n"
    assert not paths.logs_file().exists()


def test_logs_can_be_switched_on_again_and_for_one_run(cli: Cli, script: Script) -> None:
    spec = script("text")
    off = cli("logs", "off")
    cli("generate", "one", "--log", "-m", spec)
    cli("generate", "two", "-m", spec)
    on = cli("logs", "on", env={"GPTCLI_NO_LOG": "1"})
    cli("generate", "three", "-m", spec)

    assert [entry.messages[0].text for entry in kept()] == ["one", "three"]
    assert (off.status, off.stdout, on.status, on.stdout) == (0, "", 0, "")
    assert "GPTCLI_NO_LOG is set" in on.stderr


def test_it_says_once_that_it_keeps_logs_and_how_to_stop_it(cli: Cli, script: Script) -> None:
    paths.logs_notice_file().unlink()
    spec = script("text")
    told = [
        cli("generate", "Hello", "-m", spec, *more) for more in (["-q"], ["--no-log"], ["--json"], [])
    ]

    assert [NOTICE in each.stderr for each in told] == [False, False, True, False]
    assert f"{paths.logs_file()}; gptcli logs off stops that" in told[2].stderr
    assert all(NOTICE not in each.stdout for each in told)


def test_ctrl_c_keeps_what_was_answered(script: Script, tmp_path: Path) -> None:
    spec = script({"text": "one two three " * 100, "delay_s": 0.01})
    with subprocess.Popen(
        (*COMMAND, "generate", "Count", "-m", spec), stdout=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read(20)
        process.send_signal(signal.SIGINT)
        said += process.stdout.read()

    (entry,) = kept()
    assert process.returncode == 130
    assert entry.messages[1].finish_reason == "cancelled"
    assert entry.messages[1].text.strip() == said.decode().strip()


def test_head_keeps_what_was_answered(script: Script, tmp_path: Path) -> None:
    spec = script({"text": "one\ntwo\n" * 100, "delay_s": 0.01})
    subprocess.run(
        f"{' '.join(COMMAND)} generate Count -m {spec} | head -1", shell=True, check=True, cwd=tmp_path
    )

    (entry,) = kept()
    assert entry.messages[1].finish_reason == "cancelled"
    assert entry.messages[1].text.startswith("one\ntwo")


def test_an_answer_that_was_broken_off_is_unfinished(cli: Cli, script: Script) -> None:
    result = cli("generate", "Hello", "-m", script({"error": "broken"}))

    (entry,) = kept()
    assert result.status == 1
    assert [each.text for each in entry.messages] == ["Hello"]


# -------------------------------------------------------------------------- disks that refuse it


def test_what_cannot_be_logged_is_a_warning(cli: Cli, script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spec = script("text")
    env = {"GPTCLI_DATA_DIR": str(tmp_path / "file" / "data")}

    plain = cli("generate", "Hello", "-m", spec, env=env)
    quiet = cli("generate", "Hello", "-m", spec, "-q", env=env)
    mapped = cli("map", "{text}", "-m", spec, env=env, stdin="a\n")

    assert (plain.status, plain.stdout) == (0, "text\n")
    assert plain.stderr.startswith("gptcli: warning: this is not logged: cannot use ")
    assert plain.stderr.count("\n") == 1
    assert (quiet.status, quiet.stderr) == (0, "")
    assert (mapped.status, mapped.stdout) == (0, "text\n")


def test_a_disk_that_fills_in_the_middle_is_one_warning(script: Script, tmp_path: Path) -> None:
    keep("earlier")
    spec = script("word " * 20_000)
    done = subprocess.run(
        [
            "bash",
            "-c",
            'ulimit -f 60; exec "$@"',
            "-",
            *COMMAND,
            "generate",
            "Hello",
            "-n",
            "20000",
            "-m",
            spec,
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )

    assert (done.returncode, done.stdout.count("word")) == (0, 20_000)
    assert done.stderr.count("gptcli: warning: this is not logged") == 1
    assert [entry.messages[0].text for entry in kept()][:1] == ["earlier"]


def test_a_damaged_log_is_set_aside_and_said(cli: Cli, script: Script) -> None:
    paths.logs_file().parent.mkdir()
    paths.logs_file().write_bytes(b"broken " * 1000)

    result = cli("generate", "Hello", "-m", script("text"))

    (aside,) = paths.logs_file().parent.glob("logs.db.damaged-*[0-9]")
    assert (result.status, result.stdout) == (0, "text\n")
    assert f"is damaged: it was set aside as {aside.name}" in result.stderr
    assert aside.read_bytes() == b"broken " * 1000
    assert [entry.messages[0].text for entry in kept()] == ["Hello"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_can_be_read(cli: Cli) -> None:
    (cid,) = keep("lighthouse")
    paths.data_dir().chmod(0o500)
    try:
        shown, found = cli("logs", "show", cid), cli("logs", "search", "lighthouse")
    finally:
        paths.data_dir().chmod(0o700)

    assert "about lighthouse" in shown.stdout
    assert cid in found.stdout


# ------------------------------------------------------------------------------- list, show, search


def test_list_shows_the_last_ones(cli: Cli) -> None:
    first, second, third = keep("one", "two\nlines", "three")
    (chat,) = keep("hello", kind="chat")

    plain, as_json = cli("logs", "list"), cli("logs", "list", "--kind", "generate", "--json").json
    cut = cli("logs", "list", "--limit", "2")

    lines = plain.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["id", chat, third, second, first]
    assert lines[3].endswith("two lines")
    assert plain.stderr == "4 conversations\n"
    assert [each["id"] for each in as_json["conversations"]] == [third, second, first]
    assert as_json["total"] == 3
    assert set(as_json["conversations"][0]) == {
        "id", "kind", "title", "model", "message_count", "created", "updated",
    }  # fmt: skip
    assert cut.stderr == "4 conversations, the last 2 shown (--limit 0 for all)\n"


def test_where_nothing_is_logged_nothing_is_made(cli: Cli) -> None:
    assert cli("logs", "list").stderr == "nothing is logged yet\n"
    assert cli("logs", "list", "--json").json == {"conversations": [], "total": 0}
    assert cli("logs", "search", "x").status == 0
    assert cli("logs", "show").status == 1
    assert cli("logs", "export").status == 1
    assert cli("logs", "rm", "--all").status == 0
    assert cli("logs", "path").stdout == f"{paths.logs_file()}\n"
    assert not paths.logs_file().exists()


def test_show_is_markdown_or_json(cli: Cli) -> None:
    first, last = keep("one", "two")

    as_last, as_first = cli("logs", "show"), cli("logs", "show", first)
    as_json = cli("logs", "show", last, "--json").json

    assert as_first.stdout.startswith("# one\n\n*generate · ")
    assert as_first.stdout.endswith("## User\n\none\n\n## Assistant\n\nabout one\n")
    assert as_last.stdout.startswith("# two\n")
    assert [each["text"] for each in as_json["messages"]] == ["two", "about two"]
    assert as_json["messages"][1]["finish_reason"] == "stop"


def test_show_has_what_was_taken_back_when_it_is_asked_for(cli: Cli) -> None:
    (cid,) = keep("one", kind="chat")
    with closing(Conversations(paths.logs_file())) as log:
        log.remove_after(cid, log.load(cid).messages[0].id)

    assert "about one" not in cli("logs", "show", cid).stdout
    assert "## Assistant (taken back)\n\nabout one\n" in cli("logs", "show", cid, "--removed").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["show", "zzz"], 2, 'there is no conversation "zzz"'),
        (["show", "0"], 2, '"0" may be '),
        (["search", '""'], 2, "there is nothing to search for"),
        (["search"], 2, "missing argument"),
        (["rm"], 2, "which ones?"),
        (["rm", "0", "--all"], 2, "which ones?"),
        (["rm", "--older-than", "soon", "-y"], 2, "an age is a number with"),
        (["rm", "--all"], 2, "conversations are deleted only after a yes"),
        (["rm", "zzz", "-y"], 2, 'there is no conversation "zzz"'),
        (["export", "--format", "pdf"], 2, "invalid value"),
        (["export", "-o", "no/such/x.md"], 1, "cannot write no/such/x.md: no such file"),
        (["export", "-o", "/dev/null/x.md"], 1, "cannot write /dev/null/x.md: not a directory"),
    ],
)
def test_mistakes_are_told(cli: Cli, arguments: list[str], status: int, message: str) -> None:
    keep("one", "two")

    result = cli("logs", *arguments)

    assert result.status == status
    assert result.stdout == ""
    assert message in result.stderr.lower().replace("'", '"') or message in result.stderr
    assert len(kept()) == 2


def test_search_prints_the_text_around(cli: Cli) -> None:
    (cid,) = keep("我想去北京看长城")
    keep("elsewhere")

    plain, as_json = cli("logs", "search", "北京"), cli("logs", "search", "北京", "--json").json

    assert plain.stdout.splitlines()[1].startswith(cid)
    assert "我想去北京看长城" in plain.stdout
    assert plain.stderr == "1 conversation\n"
    assert [each["excerpt"] for each in as_json["conversations"]] == ["about 我想去北京看长城"]


# ------------------------------------------------------------------------------------- export, rm


def test_export_writes_whole_private_files_and_replaces_none(cli: Cli, tmp_path: Path) -> None:
    keep("one", "two")
    (chat,) = keep("hello", kind="chat")

    first = cli("logs", "export", "-o", "all.md")
    refused = cli("logs", "export", chat, "-o", "all.md")
    cli("logs", "export", chat, "-o", "one.md", "--overwrite")
    everything = json.loads(cli("logs", "export", "--format", "json").stdout)
    generated = json.loads(cli("logs", "export", "--format", "json", "--kind", "generate").stdout)

    written = (tmp_path / "all.md").read_text(encoding="utf-8")
    assert [line for line in written.splitlines() if line.startswith("# ")] == [
        "# one",
        "# two",
        "# hello",
    ]
    assert stat.S_IMODE((tmp_path / "all.md").stat().st_mode) == 0o600
    assert first.stderr == "3 conversations in all.md\n"
    assert (refused.status, refused.stderr.splitlines()[0]) == (2, 'gptcli: "all.md" exists')
    assert (tmp_path / "one.md").read_text(encoding="utf-8").startswith("# hello\n")
    assert [each["id"] for each in everything][-1] == chat
    assert len(generated) == 2
    assert not list(tmp_path.glob(".all*"))


def test_rm_deletes_what_is_named(cli: Cli) -> None:
    first, second, third = keep("one", "two", "three")

    result = cli("logs", "rm", first, first, third, "-y", "--json")

    assert result.json == {"deleted": [first, third]}
    assert [entry.id for entry in kept()] == [second]


def test_rm_deletes_what_is_older(cli: Cli) -> None:
    now = time.time()
    keep("last year", when=now - 400 * 86400)
    keep("last week", when=now - 8 * 86400)
    keep("old chat", kind="chat", when=now - 8 * 86400)
    keep("today")

    def left() -> list[str]:
        return [entry.messages[0].text for entry in kept()]

    assert cli("logs", "rm", "--older-than", "1y", "-y").stderr == "1 conversation deleted\n"
    assert left() == ["last week", "old chat", "today"]
    cli("logs", "rm", "--older-than", "1w", "--kind", "chat", "-y")
    assert left() == ["last week", "today"]
    cli("logs", "rm", "--all", "--yes")
    assert left() == []


def test_rm_asks_on_a_terminal(home: Path) -> None:
    keep("one", "two")
    for answer, status, left in (("n", 1, 2), ("y", 0, 0)):
        child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "logs", "rm", "--all"], timeout=30)
        child.expect_exact("Delete 2 conversations for good? [y/N]")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == status
        assert len(kept()) == left


def test_ages() -> None:
    assert [parse_age(text) for text in ("90m", "12h", "10d", "2w", "1 Y")] == [
        5400, 43200, 864000, 1209600, 31536000,
    ]  # fmt: skip
    for text in ("", "10", "d", "-1d", "1.5d", "10 days"):
        with pytest.raises(UsageError, match="an age is"):
            parse_age(text)
