"""`/help`: the commands and the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gptcli.output.console import Output

if TYPE_CHECKING:
    from gptcli.chat.commands import SlashCommand

KEYS = (
    ('"""', "begins and ends a message of several lines"),
    ("\\ Enter, Ctrl+J", "another line"),
    ("Ctrl+G", "write the message in $EDITOR"),
    ("Ctrl+R, Up, Down", "earlier messages"),
    ("Tab", "complete commands, models, files"),
    ("Ctrl+O", "show or fold what the model thinks"),
    ("Ctrl-C", "stop the answer, or clear the line"),
    ("Ctrl-D", "end the chat"),
    ("//", "a message that begins with a slash"),
)


def print_commands(output: Output, commands: Sequence[SlashCommand], *, with_keys: bool) -> None:
    """Print commands with what they do, and the keys."""
    from gptcli.output.tables import print_table

    names = (("/" + " /".join((command.name, *command.aliases)), command) for command in commands)
    rows = [(f"{name} {command.usage}".rstrip(), command.help) for name, command in names]
    print_table(output, ("type", "what it does"), [*rows, *(KEYS if with_keys else ())])
