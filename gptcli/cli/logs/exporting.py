"""`gptcli logs export`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gptcli.cli.logs.reading import NOTHING, opened_logs
from gptcli.errors import StorageError, UsageError
from gptcli.files import replacing
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
    try:
        with replacing(target, private=True) as file:
            file.writelines(piece.encode() for piece in pieces)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror}") from error
