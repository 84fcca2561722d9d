"""`gptcli map` that is killed, stopped, or fed by a pipe that stays open."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pexpect
import pytest

from tests.conftest import COMMAND, Cli

Script = Callable[..., str]


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


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
    said = re.fullmatch(
        r"stopped after (\d+) records; the same command with --resume goes on\n", stderr.decode()
    )
    assert said is not None
    assert int(said[1]) in (len(done) // 7 - 1, len(done) // 7)


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
        # The signal may come between a record's last byte and its being counted.
        assert stderr.splitlines()[-1] in ("stopped after 3 records", "stopped after 4 records")
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
