"""Every error gptcli reports, and the exit status each one ends the process with.

GptcliError                      1   failed
├── UsageError                   2   wrong arguments or settings
├── ModelError                   3
│   ├── ModelNotFoundError           not known, or not on this machine
│   └── ModelFileError               not a usable GGUF file
├── NetworkError                 4   network or authorization
│   └── IntegrityError               what arrived is not what was published or pinned
├── MemoryFitError               5   does not fit in memory
├── ContextOverflowError         6   input exceeds the context window
├── NoAnswerError                7   no answer found, or below --min-confidence
├── EngineCrashedError           8   the worker process died
└── StorageError                 1   a directory or a disk refuses our files
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """What the process returns to the shell; scripts rely on the numbers."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MODEL = 3
    NETWORK = 4
    MEMORY = 5
    CONTEXT = 6
    NO_ANSWER = 7
    ENGINE = 8
    INTERRUPTED = 130


class GptcliError(Exception):
    """An error to show the user: a fact in one line, and the next thing to type.

    `code` names the error in JSON; `details` holds further JSON members (numbers, names).
    """

    code = "failed"
    exit_status = ExitStatus.FAILED

    def __init__(self, message: str, *, hint: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(GptcliError):
    code = "usage"
    exit_status = ExitStatus.USAGE


class ModelError(GptcliError):
    code = "model"
    exit_status = ExitStatus.MODEL


class ModelNotFoundError(ModelError):
    code = "model_not_found"


class ModelFileError(ModelError):
    code = "model_file"


class NetworkError(GptcliError):
    code = "network"
    exit_status = ExitStatus.NETWORK


class IntegrityError(NetworkError):
    code = "integrity"


class MemoryFitError(GptcliError):
    code = "memory"
    exit_status = ExitStatus.MEMORY


class ContextOverflowError(GptcliError):
    """The input has more tokens than the context window holds."""

    code = "context_overflow"
    exit_status = ExitStatus.CONTEXT


class NoAnswerError(GptcliError):
    code = "no_answer"
    exit_status = ExitStatus.NO_ANSWER


class EngineCrashedError(GptcliError):
    """The worker process died; the model's answer so far is all there is."""

    code = "engine_crashed"
    exit_status = ExitStatus.ENGINE


class StorageError(GptcliError):
    code = "storage"


def _subclasses(cls: type[GptcliError]) -> list[type[GptcliError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _subclasses(child))]


def error_from_code(code: str, message: str, hint: str | None = None, **details: object) -> GptcliError:
    """Return the error that `code` names, as it was on the other side of a pipe."""
    by_code = {cls.code: cls for cls in _subclasses(GptcliError)}
    return by_code.get(code, GptcliError)(message, hint=hint, **details)
