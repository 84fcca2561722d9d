"""`gptcli models rm`."""

from __future__ import annotations

from typing import Any

from gptcli.cli.asking import can_ask, is_confirmed
from gptcli.errors import UsageError
from gptcli.models.removal import Removal, plan_removal
from gptcli.output.amounts import byte_count
from gptcli.output.console import Output


def remove_models(params: dict[str, Any], output: Output) -> bool:
    """Remove models after a yes; return False after a no."""
    if not params["specs"] and not params["incomplete"]:
        raise UsageError("which model?", hint="gptcli models list")
    removal = plan_removal(params["specs"] or [], incomplete=params["incomplete"])
    for line in removal.lines:
        output.status(line)
    if not params["dry_run"]:
        if not _may_remove(output, removal, params["yes"]):
            return False
        removal.execute()
    if params["json"]:
        names = [] if params["dry_run"] else removal.names
        output.json({"removed": names, "freed_bytes": removal.freed})
    elif removal.freed:
        verb = "would free" if params["dry_run"] else "freed"
        output.status(f"{verb} {byte_count(removal.freed)}")
    return True


def _may_remove(output: Output, removal: Removal, yes: bool) -> bool:
    if yes or not removal.freed:
        return True
    if not can_ask(output):
        raise UsageError("models are removed only after a yes", hint="add -y")
    return is_confirmed(output, f"Remove {byte_count(removal.freed)}?")
