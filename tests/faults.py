"""Writes a bad model file, and reads what the user is told about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gptcli.errors import ExitStatus, ModelFileError
from gptcli.models.diagnosis import diagnose

DAMAGED = "its header is damaged"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def fault(path: Path, check: Callable[[Path], object] = diagnose) -> ModelFileError:
    """Return the error that the file raises, checked to be fit for one line on a terminal."""
    with pytest.raises(ModelFileError) as caught:
        check(path)
    error = caught.value
    assert error.exit_status == ExitStatus.MODEL
    assert error.hint
    for text in (error.message, error.hint):
        assert text.isprintable()
        assert not text.endswith(".")
        assert len(text) < 300
    return error


def fact(path: Path) -> str:
    """Return what the error says of the file "model.gguf"."""
    message = fault(path).message
    assert message.startswith('"model.gguf" ')
    return message.removeprefix('"model.gguf" ')
