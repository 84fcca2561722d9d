"""The worker process: how it lives, dies, is cancelled, and never outlives its parent."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptcli.engine.api import (
    Delta,
    EngineSettings,
    Event,
    Finished,
    Generate,
    Started,
    complete,
)
from gptcli.engine.local import LocalEngine, Worker
from gptcli.engine.worker import CrashMemory
from gptcli.errors import EngineCrashedError, ModelFileError
from gptcli.sampling import SamplingParams
from tests.conftest import COMMAND, Cli

REPOSITORY = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def crashing(mode: str) -> Iterator[LocalEngine]:
    command = (sys.executable, "-m", "tests.crashing_worker", mode)
    settings = EngineSettings(model_path="nowhere", model_name="crashing")
    with contextlib.chdir(REPOSITORY):
        engine = LocalEngine(settings, command=command)
    try:
        with contextlib.chdir(REPOSITORY):
            yield engine
    finally:
        engine.close()


def worker_pid(engine: LocalEngine) -> int:
    return engine._worker._process.pid


def test_a_crash_at_the_first_decode_is_survived_without_extra_buffers() -> None:
    with crashing("instructions") as engine:
        requests = [Generate(prompt="x", id=1), Generate(prompt="y", id=2)]
        events = list(engine.run(requests))

        assert [event.text for event in events if isinstance(event, Delta)] == ["answer 1", "answer 2"]
        assert [event.id for event in events if isinstance(event, Finished)] == [1, 2]
        (restart,) = engine.restarts
        assert "SIGSEGV" in restart
        assert "without extra buffers" in restart


def test_requests_that_are_there_together_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    with crashing("never") as engine:
        sent: list[object] = []
        send = Worker.send

        def noted(worker: Worker, message: object) -> None:
            sent.append(message)
            send(worker, message)

        monkeypatch.setattr(Worker, "send", noted)

        list(engine.run([Generate(prompt="x", id=n) for n in range(40)]))

    assert len(sent) < 20  # each on its own: 40


def test_a_second_crash_is_an_error() -> None:
    with crashing("always") as engine, pytest.raises(EngineCrashedError) as caught:
        list(engine.run([Generate(prompt="x")]))

    assert "SIGSEGV" in caught.value.message
    assert caught.value.exit_status == 8


def test_a_crash_in_the_middle_of_an_answer_is_an_error_and_the_next_run_works() -> None:
    with crashing("late") as engine:
        for _ in range(2):
            shown: list[Event] = []
            with pytest.raises(EngineCrashedError, match="SIGSEGV"):
                shown.extend(engine.run([Generate(prompt="x", id=4)]))
            assert isinstance(shown[-1], Delta)


@pytest.mark.parametrize(
    ("mode", "fragments"),
    [
        ("load", ("SIGABRT", "GGML_ASSERT(n_layer <= 512) failed")),
        ("memory", ("SIGKILL", "out of memory")),
        ("python", ("status 1", "no module named llama_cpp")),
    ],
)
def test_the_error_names_signal_and_cause(mode: str, fragments: tuple[str, ...]) -> None:
    with crashing(mode) as engine, pytest.raises(EngineCrashedError) as caught:
        list(engine.run([Generate(prompt="x")]))

    assert all(fragment in caught.value.message for fragment in fragments)
    assert caught.value.hint


def test_a_killed_worker_is_status_8_through_the_command(tiny_model: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", str(tiny_model), "x", "-n", "100000", "--ctx-size", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    first = process.stdout.read(1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    rest, errors = process.communicate(timeout=10)

    assert process.returncode == 8
    assert first + rest
    assert b"SIGKILL" in errors.splitlines()[0]
    assert len(errors.splitlines()) == 2


def test_a_model_that_cannot_be_loaded_is_an_error_every_time(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no model")
    engine = LocalEngine(EngineSettings(model_path=str(path), model_name="broken"))
    for _ in range(2):
        with pytest.raises(ModelFileError, match="cannot load"):
            _ = engine.model
    engine.close()


def test_an_idle_worker_that_is_killed_is_replaced(engine: LocalEngine) -> None:
    question = Generate(prompt="x", sampling=SamplingParams(temperature=0, max_tokens=3))
    before = complete(engine, question)
    os.kill(worker_pid(engine), signal.SIGKILL)
    wait_until(lambda: not is_alive(worker_pid(engine)))

    assert complete(engine, question).text == before.text


def test_what_crashed_is_remembered_for_this_build_and_cpu(tmp_path: Path) -> None:
    path = tmp_path / "state" / "crashes.json"
    memory = CrashMemory(str(path))
    assert not memory.known()

    memory.remember()

    assert CrashMemory(str(path)).known()
    (key,) = json.loads(path.read_text(encoding="utf-8"))
    assert "libllama" in key
    path.write_text("damaged", encoding="utf-8")
    assert not CrashMemory(str(path)).known()


def test_a_remembered_crash_is_avoided_and_said(cli: Cli, tiny_model: Path, home: Path) -> None:
    CrashMemory(str(home / "state" / "crashes.json")).remember()

    result = cli("generate", "-m", str(tiny_model), "x", "-n", "2", "-v")

    assert result.status == 0
    assert "without extra buffers" in result.stderr


def test_the_worker_ends_with_its_parent(tiny_model: Path) -> None:
    code = (
        "import sys, time\n"
        "from gptcli.engine.local import LocalEngine, Worker\n"
        "from gptcli.engine.api import EngineSettings, Generate\n"
        "from gptcli.sampling import SamplingParams\n"
        "settings = EngineSettings(model_path=sys.argv[1], model_name='tiny', ctx_size=500000)\n"
        "engine = LocalEngine(settings)\n"
        "for event in engine.run([Generate(prompt='x', sampling=SamplingParams(temperature=0))]):\n"
        "    print(engine._worker._process.pid, flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tiny_model)], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)

    parent.kill()
    parent.communicate()

    wait_until(lambda: not is_alive(pid))


def test_closing_ends_the_worker(engine: LocalEngine) -> None:
    complete(engine, Generate(prompt="x", sampling=SamplingParams(max_tokens=1)))
    pid = worker_pid(engine)

    engine.close()

    assert not is_alive(pid)


@pytest.mark.weights
def test_ctrl_c_stops_within_200_ms_while_a_long_prompt_is_evaluated(starter_model: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", str(starter_model), "-v"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"All work and no play makes Jack a dull boy. " * 2000)
    process.stdin.close()
    time.sleep(3)  # loading and tokenizing are over, the evaluation takes half a minute
    assert process.poll() is None

    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    status = process.wait(10)
    took = time.monotonic() - sent

    assert status == 130
    assert took < 1  # the figure is 0.2; a busy test machine gets a margin
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


@pytest.mark.weights
def test_cancelling_a_long_prompt_leaves_the_engine_usable(starter_model: Path) -> None:
    engine = LocalEngine(EngineSettings(model_path=str(starter_model), model_name="starter"))
    greedy = SamplingParams(temperature=0, max_tokens=8)
    question = Generate(prompt="The capital of France is", sampling=greedy)
    before = complete(engine, question)
    long = Generate(prompt="All work and no play makes Jack a dull boy. " * 1500, id=1)
    with contextlib.closing(engine.run([long])) as events:
        assert isinstance(next(events), Started)
        time.sleep(0.5)
        closing = time.monotonic()
    took = time.monotonic() - closing
    after = complete(engine, question)
    engine.close()

    assert took < 1
    assert after.text == before.text


def test_the_engine_shows_no_core_and_no_log(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    result = cli("generate", "-m", str(tiny_model), "x", "-n", "3")

    assert result.stderr == ""
    assert not list(tmp_path.glob("core*"))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: object, timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_window_that_does_not_fit_is_status_5(cli: Cli, tiny_model: Path) -> None:
    result = cli("generate", "-m", str(tiny_model), "x", "--ctx-size", "2000000000", "--json")

    assert result.status == 5
    assert result.error["code"] == "memory"
    assert "GiB are free" in result.error["message"]
    assert result.error["hint"].startswith("--ctx-size ")


@pytest.mark.weights
def test_ctrl_c_while_the_model_loads(starter_model: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "generate", "-m", str(starter_model), "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_until(lambda: Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text() != "")
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)

    assert process.returncode == 130
    assert time.monotonic() - sent < 0.8
    assert errors == b""
