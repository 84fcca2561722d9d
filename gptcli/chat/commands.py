"""The slash commands: one table of names, help, what completes their arguments, and what they do."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gptcli.chat import setting_commands as settings
from gptcli.chat import text_commands as texts
from gptcli.chat import turn_commands as turns
from gptcli.chat.asking import ask
from gptcli.chat.lines import Command
from gptcli.errors import UsageError

if TYPE_CHECKING:
    from gptcli.chat.dialog import Dialog

Argument = Literal["", "command", "model", "file", "chat", "setting", "shown"]


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A command. `usage` shows its arguments, `argument` says what completes them."""

    name: str
    usage: str
    help: str
    run: Callable[[Dialog, str], None]
    argument: Argument = ""
    aliases: tuple[str, ...] = ()


def _help(dialog: Dialog, argument: str) -> None:
    from gptcli.chat.help import print_commands

    wanted = [find(argument.removeprefix("/"))] if argument else COMMANDS
    print_commands(dialog.output, wanted, with_keys=not argument)


def _exit(dialog: Dialog, argument: str) -> None:
    dialog.is_over = True


COMMANDS = (
    SlashCommand("help", "[COMMAND]", "What can be typed here.", _help, "command", ("?",)),
    SlashCommand("retry", "", "Answer the last message anew.", turns.retry, aliases=("regen",)),
    SlashCommand("continue", "", "Go on with an answer that was cut.", turns.resume),
    SlashCommand("edit", "[N]", "Change a message, the last or the Nth, and ask again.", turns.edit),
    SlashCommand("undo", "[N]", "Take back the last turn, or the last N.", turns.undo),
    SlashCommand("compact", "", "Replace older turns by a summary.", turns.compact),
    SlashCommand(
        "read", "FILE…", "Send text files with the next message, and /ask them.", texts.read, "file"
    ),
    SlashCommand("ask", "QUESTION", "Answer from what was read, with checked quotes.", ask),
    SlashCommand("glob", "PATTERN", "Send all files that match.", texts.read_glob, "file"),
    SlashCommand("image", "FILE", "Send a picture, if the model can see.", texts.image, "file"),
    SlashCommand("copy", "[code]", "Copy the answer, or its code, to the clipboard.", texts.copy),
    SlashCommand("code", "[N] [FILE]", "Print or write a code block of the answer.", texts.code),
    SlashCommand("model", "[SPEC]", "Show the model, or go on with another.", settings.model, "model"),
    SlashCommand("system", "[TEXT|-]", "Show the system prompt, set it, or drop it.", settings.system),
    SlashCommand("set", "[NAME VALUE]", "Show the settings, or change one.", settings.change, "setting"),
    SlashCommand("show", "[WHAT]", "Show model, system, template, thinking …", settings.show, "shown"),
    SlashCommand("context", "", "What fills the context window.", settings.context),
    SlashCommand("stats", "", "Tokens and speed.", settings.stats),
    SlashCommand("new", "", "Begin another chat, as at the start.", turns.new),
    SlashCommand("clear", "", "Begin another chat with the same system prompt.", turns.clear),
    SlashCommand("fork", "", "Go on in a copy of this chat.", turns.fork),
    SlashCommand("list", "[N]", "The last chats.", turns.list_chats),
    SlashCommand("load", "ID|TITLE", "Go on with another chat.", turns.load, "chat"),
    SlashCommand("save", "TITLE", "Give this chat a title; it is kept anyhow.", turns.save),
    SlashCommand("search", "WORD…", "Find chats by what was said.", turns.search),
    SlashCommand("export", "FILE", "Write this chat to FILE.md, .json or .html.", turns.export, "file"),
    SlashCommand("exit", "", "End the chat.", _exit, aliases=("bye", "quit")),
)
BY_NAME = {name: command for command in COMMANDS for name in (command.name, *command.aliases)}


def find(name: str) -> SlashCommand:
    """Return the command of this name. Raises UsageError with the nearest one."""
    found = BY_NAME.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), BY_NAME, n=1)
        hint = f"/{near[0]}" if near else "/help"
        raise UsageError(
            f"there is no command /{name}", hint=f"{hint}, or //{name} to send it to the model"
        )
    return found


def run_command(dialog: Dialog, command: Command) -> None:
    """Run what was typed. Raises GptcliError."""
    find(command.name).run(dialog, command.argument)
