"""Commands about texts that go in as attachments, and come out as copies."""

from __future__ import annotations

import base64
import glob
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from gptcli.errors import StorageError, UsageError
from gptcli.prompts.compose import Document

if TYPE_CHECKING:
    from gptcli.chat.dialog import Dialog

MOST_FILES = 100
CLIPBOARD_COMMANDS = (("wl-copy",), ("xclip", "-selection", "clipboard"), ("pbcopy",), ("clip.exe",))
CLIPBOARD_TIMEOUT_S = 2.0
TERMINAL_CLIPBOARD_BYTES = 74_994  # what xterm takes

_FENCE = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)(^ {0,3}\1[`~]*[ \t]*$|\Z)", re.DOTALL | re.MULTILINE
)


def read(dialog: Dialog, argument: str) -> None:
    """Attach text files; of folders only questions are answered, since they may hold much."""
    names = _names(argument)
    if not names:
        raise UsageError("/read needs a file", hint="/read notes.txt")
    folders = [name for name in names if Path(expanded(name)).is_dir()]
    dialog.attach([_document(dialog, name) for name in names if name not in folders])
    dialog.add_sources(folders)
    for name in folders:
        dialog.output.status(f"{name}: /ask answers from the files in it")


def read_glob(dialog: Dialog, argument: str) -> None:
    """Attach the text files that match; what is not text is named and left out."""
    if not argument:
        raise UsageError("/glob needs a pattern", hint="/glob src/**/*.py")
    names = glob.iglob(expanded(argument), recursive=True)  # noqa: PTH207 (also of absolute patterns)
    found = sorted(name for name in names if Path(name).is_file())
    if not found:
        raise UsageError(f"no file matches {argument}")
    if len(found) > MOST_FILES:
        raise UsageError(f"{len(found):,} files match {argument}: more than {MOST_FILES}")
    documents = []
    for name in found:
        try:
            documents.append(_document(dialog, name))
        except UsageError as error:
            dialog.output.warning(error.message)
    dialog.attach(documents)


def image(dialog: Dialog, argument: str) -> None:
    raise UsageError(
        f"{dialog.session.model_spec} has no eyes: pictures need a model with a vision projector, "
        "which gptcli does not run yet",
        hint="/read FILE for text",
    )


def copy(dialog: Dialog, argument: str) -> None:
    """Copy the last answer, or its last code block."""
    text = _answer(dialog)
    if argument:
        if argument != "code":
            raise UsageError(f"cannot copy {argument!r}", hint="/copy, or /copy code")
        text = _blocks(text)[-1]
    how = _to_clipboard(dialog, text)
    dialog.output.status(f"copied {len(text):,} characters {how}")


def code(dialog: Dialog, argument: str) -> None:
    """Print the Nth code block of the last answer (else the last one), or write it to a file."""
    blocks, words = _blocks(_answer(dialog)), _names(argument)
    number = len(blocks)
    if words and words[0].isdecimal():
        number = int(words.pop(0))
    if not 1 <= number <= len(blocks):
        raise UsageError(f"there is no code block {number}: the answer has {len(blocks)}")
    if not words:
        dialog.output.write(blocks[number - 1])
        dialog.output.finish_text()
        return
    write_new(dialog, Path(expanded(words[0])), blocks[number - 1])


def write_new(dialog: Dialog, path: Path, text: str) -> None:
    """Write a file and say so. Raises UsageError if it is there already, and StorageError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", hint="another name") from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    dialog.output.status(f"written to {path}")


def code_blocks(markdown: str) -> list[str]:
    """Return the fenced code blocks of a Markdown text; the last one may be unfinished."""
    return [found[2] for found in _FENCE.finditer(markdown)]


def open_fence(markdown: str) -> str:
    """Return the line that opens a code block which is not finished; "" if there is none."""
    last = next(reversed(list(_FENCE.finditer(markdown))), None)
    if last is None or last.end() < len(markdown) or last[3]:
        return ""
    return f"{last[0].partition(chr(10))[0].strip()}\n"


def _blocks(text: str) -> list[str]:
    blocks = code_blocks(text)
    if not blocks:
        raise UsageError("the last answer has no code block")
    return blocks


def _answer(dialog: Dialog) -> str:
    turns = dialog.session.turns
    if not turns or not turns[-1].answer:
        raise UsageError("there is no answer yet")
    return turns[-1].answer


def _document(dialog: Dialog, name: str) -> Document:
    text = dialog.services.read_text(expanded(name))
    if not text.strip():
        raise UsageError(f'"{name}" is empty')
    return Document(text, name)


def expanded(name: str) -> str:
    """Return a file's name with the home directory in place of a leading ~."""
    try:
        return str(Path(name).expanduser())
    except RuntimeError:  # a ~user that is none
        return name


def _names(argument: str) -> list[str]:
    try:
        return shlex.split(argument)
    except ValueError:  # a quote that is not closed: an apostrophe in a name
        return [argument]


def _to_clipboard(dialog: Dialog, text: str) -> str:
    """Copy with the desktop's program if there is one, else by asking the terminal; say how."""
    for command in CLIPBOARD_COMMANDS:
        needs = {"wl-copy": "WAYLAND_DISPLAY", "xclip": "DISPLAY"}.get(command[0])
        if shutil.which(command[0]) is None or (needs and not os.environ.get(needs)):
            continue
        try:
            subprocess.run(
                command,
                input=text.encode(),
                check=True,
                timeout=CLIPBOARD_TIMEOUT_S,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return f"with {command[0]}"
    encoded = base64.b64encode(text.encode())
    if not dialog.output.stdout_is_tty or not dialog.output.can_move_cursor:
        raise UsageError("there is no clipboard here", hint="/export FILE.md, or /code 1 FILE")
    if len(encoded) > TERMINAL_CLIPBOARD_BYTES:
        raise UsageError("the text is too long for the terminal's clipboard", hint="/export FILE.md")
    dialog.output.write_styled(f"\x1b]52;c;{encoded.decode()}\x07")
    return "through the terminal (if it allows that)"
