"""`gptcli models list`."""

from __future__ import annotations

import time
from typing import Any

from gptcli.models.inventory import Entry, inventory
from gptcli.output.amounts import byte_count, counted
from gptcli.output.console import Output
from gptcli.output.tables import print_table

COLUMNS = ("model", "alias", "size", "quantization", "last used", "state")


def show_list(params: dict[str, Any], output: Output) -> None:
    """Show what is on this machine."""
    entries = inventory()
    if params["json"]:
        output.json({"models": [_as_json(entry) for entry in entries]})
        return
    if not entries:
        output.status("no models are here yet\n  try: gptcli models fit (what suits this machine)")
        return
    rows = [_row(entry) for entry in entries]
    used = [n for n in range(len(COLUMNS)) if any(row[n] for row in rows)]
    print_table(output, [COLUMNS[n] for n in used], [[row[n] for n in used] for row in rows])
    total = sum(entry.size for entry in entries)
    output.status(f"{counted(len(entries), 'model')}, {byte_count(total)}")


def _row(entry: Entry) -> tuple[object, ...]:
    return (
        entry.name,
        ", ".join(entry.aliases),
        byte_count(entry.size),
        entry.quantization,
        _ago(entry.last_used),
        "" if entry.state == "complete" else entry.state,
    )


def _as_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "aliases": list(entry.aliases),
        "source": entry.source,
        "repo": entry.repo or None,
        "revision": entry.revision or None,
        "path": str(entry.path),
        "size": entry.size,
        "quantization": entry.quantization or None,
        "last_used": None if entry.last_used is None else int(entry.last_used),
        "state": entry.state,
    }


def _ago(when: float | None) -> str:
    if when is None:
        return ""
    days = int((time.time() - when) / 86_400)
    return "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
