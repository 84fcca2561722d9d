"""`gptcli logs export`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from gptcli.cli.logs.reading import NOTHING, opened_logs
from gptcli.errors import StorageError, UsageError
from gptcli.output.amounts import counted
from gptcli.output.console import Output
from gptcli.output.transcript import transcript

Params = dict[str, Any]


def export_conversations(params: Params, output: Output) -> None:
    """Write the conversations that are named, or all, as one document: the oldest first."""
    target = None if params["output"] in (None, "-") else Path(params["output"]).expanduser()
    if target is not None and target.exists() and not params["overwrite"]:
        raise UsageError(f'"{target}" exists', hint="--overwrite, or -o OTHER")
    if params["names"] and params["kind"]:
        raise UsageError("ids and --kind exclude each other")
    with opened_logs(output) as logs:
        names = params["names"]
        if logs is None:
            raise StorageError(NOTHING)
        if names:
            cids = [logs.resolve(name) for name in names]
        else:
            cids = sorted(each.id for each in logs.summaries(params["kind"]))
        conversations = (logs.load(cid, with_removed=params["removed"]) for cid in cids)
        pieces = transcript(conversations, params["format"])
        if target is None:
            for piece in pieces:
                output.write(piece)
        else:
            _write_file(target, pieces)
    output.status(f"{counted(len(cids), 'conversation')}{'' if target is None else f' in {target}'}")


def _write_file(target: Path, pieces: Iterable[str]) -> None:
    """Write a file that appears whole or not at all, for its owner alone."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
        draft.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink()
