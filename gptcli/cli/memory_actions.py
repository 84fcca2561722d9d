"""What the commands of `gptcli memory` do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from gptcli import __version__, paths
from gptcli.cli.asking import can_ask, is_confirmed
from gptcli.cli.options import make_output
from gptcli.errors import StorageError, UsageError
from gptcli.files import replacing
from gptcli.languages import find_language
from gptcli.output.amounts import counted
from gptcli.output.tables import print_table
from gptcli.store.memory import Entry, Memory

Params = dict[str, Any]


def show_stats(params: Params) -> None:
    output = make_output(params)
    pairs = _memory().pairs()
    entries, hits = sum(pair.entries for pair in pairs), sum(pair.hits for pair in pairs)
    if params["json"]:
        rows = [
            {
                "source_lang": pair.source_language,
                "target_lang": pair.target_language,
                "entries": pair.entries,
                "hits": pair.hits,
            }
            for pair in pairs
        ]
        output.json(
            {"entries": entries, "hits": hits, "path": str(paths.memory_file()), "languages": rows}
        )
        return
    if pairs:
        table = [(p.source_language, p.target_language, p.entries, p.hits) for p in pairs]
        print_table(output, ("from", "to", "translations", "hits"), table)
    output.status(f"{counted(entries, 'translation')}, {paths.memory_file()}")


def write_tmx(params: Params) -> None:
    output = make_output(params)
    memory = _memory()
    if params["output"] is None:
        for piece in _tmx(memory.entries()):
            output.write(piece)
        return
    path = Path(params["output"])
    if path.exists() and not params["overwrite"]:
        raise UsageError(f'"{path}" exists', hint="--overwrite")
    try:
        with replacing(path) as file:
            file.writelines(piece.encode() for piece in _tmx(memory.entries()))
    except OSError as error:
        raise StorageError(f'cannot write "{path}": {error.strerror}') from error


def clear_memory(params: Params) -> None:
    output = make_output(params)
    target = None if params["to"] is None else find_language(params["to"])
    into = f" into {target.name}" if target else ""
    if not params["yes"]:
        if not can_ask(output):
            raise UsageError("clearing needs a yes", hint="gptcli memory clear --yes")
        if not is_confirmed(output, f"Forget all translations{into}?"):
            return
    count = _memory().clear(None if target is None else target.tag)
    output.status(f"{counted(count, 'translation')}{into} forgotten")


def _memory() -> Memory:
    return Memory(paths.memory_file())


def _tmx(entries: Iterator[Entry]) -> Iterator[str]:
    """Yield the pieces of a TMX 1.4b file (LISA OSCAR, 2005)."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
    yield (
        f'<header creationtool="gptcli" creationtoolversion={quoteattr(__version__)} '
        'segtype="paragraph" o-tmf="gptcli" adminlang="en" srclang="*all*" datatype="plaintext"/>'
        "\n<body>\n"
    )
    for entry in entries:
        created = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(entry.created))
        yield f'<tu creationdate="{created}" creationid={_attribute(entry.model)}>\n'
        yield _variant(entry.source_language, entry.source)
        yield _variant(entry.target_language, entry.translation)
        yield "</tu>\n"
    yield "</body>\n</tmx>\n"


def _variant(language: str, text: str) -> str:
    return f"<tuv xml:lang={_attribute(language)}><seg>{escape(_xml(text))}</seg></tuv>\n"


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    """Return text without the characters that XML 1.0 has no way to write."""
    return "".join(
        char
        for char in text
        if char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char > "\uffff"
    )
