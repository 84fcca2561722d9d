"""`gptcli logs list`, `show` and `search`."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gptcli import paths
from gptcli.errors import StorageError
from gptcli.output.amounts import counted
from gptcli.output.answer import text_sink
from gptcli.output.console import Output
from gptcli.output.tables import print_table
from gptcli.output.transcript import conversation_json, date_text, markdown

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations
    from gptcli.store.records import ConversationSummary

Params = dict[str, Any]

NARROW = 80  # columns of a terminal
NOTHING = "nothing is logged yet"


@contextmanager
def opened_logs(output: Output) -> Generator[Conversations | None, None, None]:
    """Yield what is logged; None if there is nothing. Where nothing can be written, it can be read."""
    from gptcli.store.conversations import Conversations

    path = paths.logs_file()
    if not path.exists():
        yield None
        return
    try:
        logs = Conversations(path)
    except StorageError:
        logs = Conversations(path, read_only=True)
    for notice in logs.notices:
        output.warning(notice)
    try:
        yield logs
    finally:
        logs.close()


def known_ids(incomplete: str) -> Generator[tuple[str, str], None, None]:
    """Yield the ids that begin so, with their titles."""
    with suppress(StorageError), opened_logs(Output(quiet=True)) as logs:
        for each in logs.summaries() if logs is not None else ():
            if each.id.startswith(incomplete):
                yield each.id, each.title


def list_conversations(params: Params, output: Output) -> None:
    """Print a table, or the summaries as JSON."""
    with opened_logs(output) as logs:
        every = [] if logs is None else logs.summaries(params["kind"])
    found = every[: params["limit"] or None]
    if params["json"]:
        output.json({"conversations": [asdict(each) for each in found], "total": len(every)})
        return
    if found:
        columns = ("id", "written", "kind", "model", "messages", "title")
        rows = (
            (each.id, _when(each), each.kind, each.model, each.message_count, each.title)
            for each in found
        )
        _print_columns(output, columns, rows, narrow=("id", "written", "title"))
    left_out = f", the last {len(found):,} shown (--limit 0 for all)" if len(found) < len(every) else ""
    output.status(counted(len(every), "conversation") + left_out if every else NOTHING)


def show_conversation(params: Params, output: Output) -> None:
    """Print one conversation: as Markdown, rendered on a terminal, or as one JSON object."""
    with opened_logs(output) as logs:
        cid = None
        if logs is not None:
            cid = logs.resolve(params["name"]) if params["name"] else logs.last(None)
        if logs is None or cid is None:
            raise StorageError(NOTHING, hint='gptcli generate "Once upon a time"')
        conversation = logs.load(cid, with_removed=params["removed"])
    if params["json"]:
        output.json(conversation_json(conversation))
        return
    sink = text_sink(output, markdown=True, streams=False)
    sink.feed(markdown(conversation))
    sink.close()


def search_conversations(params: Params, output: Output) -> None:
    """Print what was found, with the text around the first word."""
    query = " ".join(params["query"])
    with opened_logs(output) as logs:
        every = [] if logs is None else logs.search(query, params["kind"])
    found = every[: params["limit"] or None]
    if params["json"]:
        hits = [asdict(each) | {"excerpt": excerpt} for each, excerpt in found]
        output.json({"conversations": hits, "total": len(every)})
        return
    if found:
        rows = ((each.id, _when(each), each.kind, excerpt) for each, excerpt in found)
        _print_columns(output, ("id", "written", "kind", "text"), rows, narrow=("id", "text"))
    left_out = f", the last {len(found):,} shown (--limit 0 for all)" if len(found) < len(every) else ""
    output.status(counted(len(every), "conversation") + left_out)


def _print_columns(
    output: Output, columns: Sequence[str], rows: Iterable[Sequence[object]], narrow: Collection[str]
) -> None:
    """Print a table; on a narrow terminal only the columns that tell most."""
    is_narrow = output.stdout_is_tty and output.width < NARROW
    kept = [number for number, name in enumerate(columns) if name in narrow or not is_narrow]
    picked = ([row[number] for number in kept] for row in rows)
    print_table(output, [columns[number] for number in kept], picked)


def _when(each: ConversationSummary) -> str:
    """Return when a conversation was written to: the time of today, or the day."""
    day, _, minute = date_text(each.updated).partition(" ")
    return minute if day == date_text(time.time()).partition(" ")[0] else day
