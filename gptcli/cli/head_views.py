"""What `gptcli heads` shows and does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptcli import paths
from gptcli.errors import GptcliError
from gptcli.output.amounts import counted
from gptcli.output.console import Output
from gptcli.output.metric_tables import print_label_metrics
from gptcli.output.tables import print_table
from gptcli.store.heads import find_head, head_names, head_path, remove_head
from gptcli.tasks.heads import Head


def show_heads(output: Output, *, as_json: bool) -> None:
    """List the heads; one that is refused is named with a warning."""
    found: list[tuple[str, Head]] = []
    for name in head_names():
        try:
            found.append((name, find_head(name)))
        except GptcliError as error:
            output.warning(error.message)
    if as_json:
        output.json({"heads": [_members(name, head) for name, head in found]})
        return
    if not found:
        output.status("there are no heads yet\n  try: gptcli fit DATA --text COL --label COL -o NAME")
        return
    rows = [
        (
            name,
            head.model_name,
            _short(head.labels),
            head.report.get("examples"),
            _figure(head, "accuracy"),
            str(head.report.get("date", ""))[:10],
        )
        for name, head in found
    ]
    print_table(output, ("head", "model", "labels", "examples", "accuracy", "date"), rows)
    output.status(f"{counted(len(found), 'head')}, {paths.heads_dir()}")


def show_head(name: str, output: Output, *, as_json: bool) -> None:
    """Show a head. Raises as `find_head`."""
    head = find_head(name)
    if as_json:
        output.json(_members(name, head))
        return
    report = head.report
    facts = {
        "head": name,
        "file": head_path(name),
        "model": head.model_name,
        "fingerprint": head.model,
        "labels": ", ".join(head.labels),
        "examples": report.get("examples"),
        "reads": report.get("chosen"),
        "date": report.get("date"),
    }
    print_table(output, ("", ""), [(key, str(value)) for key, value in facts.items()])
    if "cross_validated" in report:
        output.write("\non examples that it had not seen: ")
        print_label_metrics(output, report["cross_validated"])


def remove_heads(names: Sequence[str], output: Output, *, as_json: bool) -> None:
    """Delete heads. Raises UsageError where one is not there; then those before it are gone."""
    for name in names:
        remove_head(name)
        output.status(f'removed the head "{name}"')
    if as_json:
        output.json({"removed": list(names)})


def _members(name: str, head: Head) -> dict[str, Any]:
    return {
        "name": name,
        "path": str(head_path(name)),
        "fingerprint": head.model,
        "labels": list(head.labels),
        **head.report,
    }


def _figure(head: Head, name: str) -> float | None:
    found = head.report.get("cross_validated", {}).get(name)
    return None if found is None else round(found, 3)


def _short(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:4])
    return f"{shown} … ({len(labels)})" if len(labels) > 4 else shown
