"""What Tab offers: commands, their arguments, models, chats, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gptcli.chat.commands import BY_NAME, COMMANDS, Argument
from gptcli.chat.setting_commands import SETTINGS, SHOWN
from gptcli.errors import GptcliError

if TYPE_CHECKING:
    from gptcli.chat.dialog import Dialog

OFFERED_CHATS = 50


class Offer(NamedTuple):
    """A text that replaces the last `length` characters before the cursor, and what it means."""

    text: str
    length: int
    meaning: str = ""


def offers(dialog: Dialog, before: str) -> Iterator[Offer]:
    """Yield what may stand where the cursor is, after the text before it."""
    if not before.startswith("/") or before.startswith("//") or "\n" in before:
        return
    name, space, argument = before[1:].partition(" ")
    if not space:
        for command in COMMANDS:
            for each in (command.name, *command.aliases):
                if each.startswith(name.lower()):
                    yield Offer(f"/{each}", len(before), command.help)
        return
    found = BY_NAME.get(name.lower())
    if found is None:
        return
    word = argument if found.argument in ("chat", "model") else argument.rpartition(" ")[2]
    if found.argument != "file" and word != argument:
        return
    for text, meaning in _candidates(dialog, found.argument, word):
        yield Offer(text, len(word), meaning)


def _candidates(dialog: Dialog, kind: Argument, word: str) -> Iterator[tuple[str, str]]:
    if kind == "file":
        yield from _files(word)
    elif kind == "model":
        yield from ((name, "") for name in dialog.services.model_names() if name.startswith(word))
        yield from _files(word, ending=".gguf")
    elif kind == "chat":
        yield from _chats(dialog, word)
    else:
        names = {"command": tuple(BY_NAME), "setting": SETTINGS, "shown": SHOWN}.get(kind, ())
        yield from ((name, "") for name in names if name.startswith(word.lstrip("/")))


def _chats(dialog: Dialog, word: str) -> Iterator[tuple[str, str]]:
    if dialog.store is None:
        return
    try:
        chats = dialog.store.summaries("chat", limit=OFFERED_CHATS)
    except GptcliError:
        return
    for chat in chats:
        if chat.id.startswith(word) or word.lower() in chat.title.lower():
            yield chat.id, chat.title


def _files(word: str, *, ending: str = "") -> Iterator[tuple[str, str]]:
    """Yield the files that begin so, and directories with a slash; hidden ones when asked for."""
    directory, _, start = word.rpartition("/")
    where = Path(f"{directory}/" if "/" in word else ".")
    try:
        entries = sorted(where.expanduser().iterdir())
    except (OSError, RuntimeError):  # e.g. a ~user that is none
        return
    prefix = f"{directory}/" if "/" in word else ""
    for entry in entries:
        is_hidden = entry.name.startswith(".") and not start.startswith(".")
        if not entry.name.startswith(start) or is_hidden:
            continue
        if entry.is_dir():
            yield f"{prefix}{entry.name}/", ""
        elif entry.name.endswith(ending):
            yield f"{prefix}{entry.name}", ""
