"""Errors: each has its code and its exit status, and survives the pipe to the front."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptcli import errors
from gptcli.engine import wire
from gptcli.errors import ExitStatus, GptcliError, error_from_code

STATUSES = {
    errors.GptcliError: 1,
    errors.UsageError: 2,
    errors.ModelNotFoundError: 3,
    errors.ModelFileError: 3,
    errors.NetworkError: 4,
    errors.MemoryFitError: 5,
    errors.ContextOverflowError: 6,
    errors.NoAnswerError: 7,
    errors.EngineCrashedError: 8,
    errors.StorageError: 1,
}


@pytest.mark.parametrize(("kind", "status"), STATUSES.items(), ids=str)
def test_exit_statuses_are_those_of_the_contract(kind: type[GptcliError], status: int) -> None:
    assert kind("message").exit_status == status


def test_interrupted_is_130() -> None:
    assert int(ExitStatus.INTERRUPTED) == 130


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.code)
def test_an_error_survives_the_pipe(kind: type[GptcliError]) -> None:
    error = kind("what", hint="next", prompt_tokens=5)

    again = wire.loads(wire.dumps(error))

    assert type(again) is kind
    assert (again.message, again.hint, again.details) == ("what", "next", {"prompt_tokens": 5})


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in (*STATUSES, errors.ModelError)]

    assert len(set(codes)) == len(codes)
    assert type(error_from_code("nonsense", "what")) is GptcliError


def test_ctrl_c_inside_a_string_that_is_executed_is_130(tmp_path: Path) -> None:
    """Python then remembers that it was interrupted, although the interruption was handled.

    The modules of dataclasses and named tuples execute strings while they are imported.
    """
    (tmp_path / "program.py").write_text(
        "import gptcli.cli.app as app\n"
        "from gptcli.__main__ import main\n"
        "def run(arguments):\n"
        "    exec('raise KeyboardInterrupt')\n"
        "app.run = run\n"
        "main()\n",
        encoding="utf-8",
    )
    root = str(Path(__file__).parents[1])
    paths = os.pathsep.join([str(tmp_path), root])

    process = subprocess.run(
        [sys.executable, "-m", "program"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        check=False,
    )

    assert (process.returncode, process.stderr) == (130, b"")
