"""Calibrations that were measured, kept by model and question, and those that are shipped."""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from gptcli import paths
from gptcli.errors import StorageError
from gptcli.files import write_whole
from gptcli.tasks.calibration import Calibration
from gptcli.tasks.label_setup import Choice


def find_choice(model: str, question: str, labels: int) -> Choice | None:
    """Return what is known of a model, by its fingerprint, and a question, by its digest."""
    shipped = _shipped().get(model, {}).get(question)
    if shipped is not None:
        return _choice(shipped, labels)
    with contextlib.suppress(OSError, ValueError):
        return _choice(json.loads(_path(model, question).read_text(encoding="utf-8")), labels)
    return None


def keep_choice(model: str, question: str, choice: Choice) -> None:
    """Keep what was measured. Raises StorageError."""
    path = _path(model, question)
    members = {
        "form": choice.form,
        "weights": choice.calibration.weights,
        "biases": choice.calibration.biases,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(members) + "\n", durable=False)
    except OSError as error:
        raise StorageError(
            f'cannot keep the calibration in "{path.parent}": {error.strerror}'
        ) from error


def _choice(members: Mapping[str, Any], labels: int) -> Choice | None:
    """Return what was kept; None if that is not what it should be."""
    try:
        weights = tuple(float(each) for each in members["weights"])
        biases = tuple(float(each) for each in members["biases"])
        form = str(members["form"])
    except (KeyError, TypeError, ValueError):
        return None
    if len(biases) != labels or not weights:
        return None
    return Choice(form, Calibration(weights, biases))


def _path(model: str, question: str) -> Path:
    return paths.calibrations_dir() / f"{model[:32]}-{question}.json"


@cache
def _shipped() -> Mapping[str, Mapping[str, Any]]:
    source = files("gptcli.store").joinpath("calibrations.toml")
    found: dict[str, dict[str, Any]] = tomllib.loads(source.read_text(encoding="utf-8"))
    return found
