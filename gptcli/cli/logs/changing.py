"""`gptcli logs rm`, `on` and `off`."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from gptcli import paths
from gptcli.cli.asking import can_ask, is_confirmed
from gptcli.cli.logs.reading import opened_logs
from gptcli.errors import UsageError
from gptcli.output.amounts import counted
from gptcli.output.console import Output
from gptcli.settings import write_value

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations

Params = dict[str, Any]

UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}


def remove_conversations(params: Params, output: Output) -> bool:
    """Delete conversations after a yes; return False after a no."""
    asked = [params["names"], params["older_than"], params["all"]]
    if sum(map(bool, asked)) != 1:
        raise UsageError("which ones? name ids, or --older-than AGE, or --all", hint="gptcli logs list")
    if params["names"] and params["kind"]:
        raise UsageError("ids and --kind exclude each other")
    age_s = parse_age(params["older_than"]) if params["older_than"] else None
    with opened_logs(output) as logs:
        cids = [] if logs is None else _chosen(logs, params, age_s)
        if logs is not None and cids:
            if not _may_delete(output, len(cids), params["yes"]):
                return False
            logs.delete(cids)
    if params["json"]:
        output.json({"deleted": cids})
    output.status(f"{counted(len(cids), 'conversation')} deleted")
    return True


def parse_age(text: str) -> float:
    """Return the seconds of an age like 10d. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,6})\s*([mhdwy])", text.strip().lower())
    if found is None:
        raise UsageError(
            f"an age is a number with m, h, d, w or y, not {text!r}", hint="--older-than 10d"
        )
    return int(found[1]) * float(UNITS_S[found[2]])


def switch_logs(output: Output, *, on: bool) -> None:
    """Write into config.toml whether commands keep a log."""
    write_value(paths.config_file(), "no-log", "false" if on else "true", {"no_log"})
    if on:
        output.status(f"what is asked and answered is kept in {paths.logs_file()}")
        if os.environ.get("GPTCLI_NO_LOG"):
            output.warning("GPTCLI_NO_LOG is set, and goes before config.toml")
    else:
        output.status(f"nothing is kept from now on; {paths.logs_file()} stays: gptcli logs rm --all")


def _chosen(logs: Conversations, params: Params, age_s: float | None) -> list[str]:
    if params["names"]:
        return list(dict.fromkeys(logs.resolve(name) for name in params["names"]))
    before = None if age_s is None else time.time() - age_s
    return [each.id for each in logs.summaries(params["kind"], before=before)]


def _may_delete(output: Output, count: int, yes: bool) -> bool:
    if yes:
        return True
    if not can_ask(output):
        raise UsageError("conversations are deleted only after a yes", hint="add -y")
    return is_confirmed(output, f"Delete {counted(count, 'conversation')} for good?")
