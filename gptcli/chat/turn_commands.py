"""Commands about turns and conversations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gptcli.chat.text_commands import expanded, open_fence, write_new
from gptcli.chat.turns import Turn
from gptcli.errors import UsageError
from gptcli.output.amounts import counted

if TYPE_CHECKING:
    from gptcli.chat.dialog import Dialog
    from gptcli.store.conversations import Conversations

SHOWN_CHARACTERS = 60
LISTED = 20


def retry(dialog: Dialog, argument: str) -> None:
    if dialog.session.turns and dialog.session.turns[-1].is_from_documents:
        raise UsageError("what documents answer stays the same", hint="/ask in other words")
    dialog.show(dialog.session.retry())


def resume(dialog: Dialog, argument: str) -> None:
    events = dialog.session.resume()
    dialog.show(events, echo=open_fence(dialog.session.turns[-1].answer))


def edit(dialog: Dialog, argument: str) -> None:
    """Put a message on the line; what is typed then replaces it."""
    count = len(dialog.session.turns)
    number = _number(argument, count)
    if not 1 <= number <= count:
        raise UsageError(f"there is no message {number}: this chat has {counted(count, 'turn')}")
    if dialog.reader is None:
        raise UsageError("there is no line to edit it on")
    dialog.editing = number - 1
    dialog.prefill = dialog.session.turns[number - 1].text
    later = count - number
    if later:
        dialog.output.status(f"{counted(later, 'later turn')} will be taken back")


def undo(dialog: Dialog, argument: str) -> None:
    for turn in dialog.session.undo(_number(argument, 1)):
        dialog.output.status(f"taken back: {beginning(turn.text)}")


def compact(dialog: Dialog, argument: str) -> None:
    dialog.output.status("summary of the older turns, which replaces them before the model:")
    dialog.show(dialog.session.compact())


def fork(dialog: Dialog, argument: str) -> None:
    if (original := dialog.session.fork()) is None:
        raise _nothing_kept("there is nothing to copy: this chat is not kept")
    dialog.output.status(f"this goes on as {dialog.session.recorder.cid}; {original} stays as it is")


def new(dialog: Dialog, argument: str) -> None:
    dialog.session.new(dialog.first_settings)
    dialog.attached.clear()
    dialog.output.status("a new chat")


def clear(dialog: Dialog, argument: str) -> None:
    dialog.session.new()
    dialog.attached.clear()
    kept = ", with the same system prompt" if dialog.session.settings.system else ""
    dialog.output.status(f"a new chat{kept}")


def list_chats(dialog: Dialog, argument: str) -> None:
    from gptcli.output.tables import print_table
    from gptcli.output.transcript import date_text

    rows = [
        (chat.id, date_text(chat.updated), chat.message_count, chat.title)
        for chat in _store(dialog).summaries("chat", limit=_number(argument, LISTED))
    ]
    if rows:
        print_table(dialog.output, ("id", "last", "messages", "title"), rows)
    else:
        dialog.output.status("there is no chat yet")


def load(dialog: Dialog, argument: str) -> None:
    """Go on with another chat. Its model is named, not loaded: the one at hand goes on."""
    if not argument:
        raise UsageError("/load needs the id or the title of a chat", hint="/list")
    store = _store(dialog)
    try:
        dialog.session.load(store.load(store.resolve(argument)))
    except UsageError as error:
        raise UsageError(error.message, hint="/list, or /search WORD") from error
    show_end(dialog)


def save(dialog: Dialog, argument: str) -> None:
    if not argument:
        raise UsageError("/save needs a title", hint="/save my title, or /export FILE.md")
    if dialog.session.recorder.cid is None:
        raise _nothing_kept("there is nothing to save yet")
    dialog.session.recorder.rename(argument)
    dialog.output.status(f"{dialog.session.recorder.cid} is now called {argument!r}")


def search(dialog: Dialog, argument: str) -> None:
    from gptcli.output.tables import print_table

    found = _store(dialog).search(argument, "chat", limit=LISTED)
    if found:
        print_table(dialog.output, ("id", "what was said"), [(each.id, text) for each, text in found])
    else:
        dialog.output.status("no chat has that")


def export(dialog: Dialog, argument: str) -> None:
    from gptcli.output.transcript import TranscriptFormat, transcript

    if not argument:
        raise UsageError("/export needs a file", hint="/export chat.md")
    if not dialog.session.turns:
        raise UsageError("there is nothing to write yet")
    path = Path(expanded(argument))
    forms: dict[str, TranscriptFormat] = {".json": "json", ".html": "html", ".htm": "html"}
    form = forms.get(path.suffix.lower(), "markdown")
    write_new(dialog, path, "".join(transcript([dialog.session.as_stored()], form)))


def show_end(dialog: Dialog) -> None:
    """Show which chat goes on, and its last turn."""
    session = dialog.session
    count = counted(len(session.turns), "turn")
    dialog.output.status(f"going on with {session.recorder.cid}, {count}")
    if not session.turns:
        return
    turn = session.turns[-1]
    dialog.output.status(f">>> {beginning(turn.text)}")
    if turn.answer:
        from gptcli.output.answer import text_sink

        sink = text_sink(dialog.output, markdown=True, streams=True)
        sink.feed(turn.answer)
        sink.close()
    dialog.output.status(_state_of_answer(turn))


def beginning(text: str) -> str:
    """Return how a text begins, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"


def _state_of_answer(turn: Turn) -> str:
    if not turn.answer:
        return "this has no answer yet: /retry asks again"
    if turn.finish_reason in (None, "length", "cancelled"):
        return "the answer is not complete: /continue goes on"
    return ""


def _store(dialog: Dialog) -> Conversations:
    if dialog.store is None:
        raise _nothing_kept("chats are not kept here")
    return dialog.store


def _nothing_kept(fact: str) -> UsageError:
    return UsageError(fact, hint="gptcli logs on, and a chat without --no-log; or /export FILE.md")


def _number(argument: str, default: int) -> int:
    if not argument:
        return default
    if not argument.isdecimal() or int(argument) < 1:
        raise UsageError(f"{argument!r} is not a number from 1")
    return int(argument)
