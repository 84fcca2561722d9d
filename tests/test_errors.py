"""Errors: each has its code and its exit status, and survives the pipe to the front."""

from __future__ import annotations

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
