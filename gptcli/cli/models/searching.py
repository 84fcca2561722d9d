"""`gptcli models search`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gptcli.models.hub.client import Hub
from gptcli.models.hub.faults import offline
from gptcli.output.console import Output
from gptcli.output.tables import print_table

COLUMNS = ("repository", "downloads", "likes", "updated", "licence", "")


def search_hub(params: dict[str, Any], output: Output) -> None:
    """Show the repositories that the words find."""
    if params["offline"]:
        raise offline("")
    hub = Hub()
    for warning in hub.warnings:
        output.warning(warning)
    found = hub.search(" ".join(params["words"]), params["limit"])
    if params["json"]:
        output.json({"models": [asdict(result) for result in found]})
        return
    rows = [
        (r.repo, f"{r.downloads:,}", r.likes, r.updated, r.license, "gated" if r.is_gated else "")
        for r in found
    ]
    if not rows:
        output.status("nothing was found")
        return
    print_table(output, COLUMNS, rows)
    output.status(f"  try: gptcli models fit {found[0].repo}")
