"""`gptcli models import`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from gptcli.errors import UsageError
from gptcli.models import records
from gptcli.models.diagnosis import diagnose
from gptcli.models.faults import quoted
from gptcli.models.ollama import model_blob
from gptcli.models.registry import load_registry
from gptcli.output.console import Output


def import_file(params: dict[str, Any], output: Output) -> None:
    """Give a file a name."""
    source = params["source"]
    ollama = source.removeprefix("ollama:")
    is_ollama = ollama != source
    path = model_blob(ollama) if is_ollama else Path(source).expanduser().absolute()
    diagnose(path)
    alias = _checked(params["alias"] or _default_alias(ollama if is_ollama else path.stem))
    records.import_file(alias, path)
    output.status(f"-m {alias} is {path}")
    if params["json"]:
        output.json({"alias": alias, "path": str(path)})


def _default_alias(text: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower().removesuffix(":latest")).strip("-.")[:64]


def _checked(alias: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", alias):
        raise UsageError(f"{quoted(alias)} is not an alias: lower-case letters, digits, dots and dashes")
    if alias in load_registry().models:
        raise UsageError(f'"{alias}" is a model of the registry', hint="--alias another-name")
    return alias
