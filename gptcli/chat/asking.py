"""`/ask`: a question to the documents that were read, answered as `gptcli ask` does, kept as a turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gptcli.documents.answers import Answer
from gptcli.engine.api import Engine
from gptcli.errors import EngineCrashedError, UsageError
from gptcli.output.progress import Progress
from gptcli.output.quotes import print_answer
from gptcli.tasks import ask as task

if TYPE_CHECKING:
    from gptcli.chat.dialog import Dialog
    from gptcli.chat.session import Session


def ask(dialog: Dialog, argument: str) -> None:
    """Answer a question from the session's documents, as they are now."""
    session, output = dialog.session, dialog.output
    if not argument:
        raise UsageError("/ask needs a question", hint="/ask When does it end?")
    if not session.sources:
        raise UsageError("nothing was read that could answer", hint="/read FILE, then /ask QUESTION")
    with Progress(output, f"loading {session.model_spec}"):
        _ = session.model

    def answered(engine: Engine) -> Answer:
        asked, passages = dialog.services.find_passages(engine, session.sources, argument)
        if asked != argument:
            output.status(f"the question, as it is asked of the text: {asked}")
        with Progress(output, "reading"):
            return replace(task.ask(engine, asked, passages), question=argument)

    try:
        answer = answer_from(session, argument, answered)
    except EngineCrashedError:
        session.reload()
        raise
    if answer.found:
        print_answer(output, answer)
    else:
        output.write(f"{session.turns[-1].answer}\n")
        if answer.score:
            output.status(f"the likeliest answer has a probability of {answer.score:.0%}")
    output.status("")


def answer_from(session: Session, question: str, answered: Callable[[Engine], Answer]) -> Answer:
    """Return the answer to a question from the session's documents, which becomes a turn of it.

    Raises what `answered` raises; then there is no such turn.
    """
    found: list[Answer] = []

    def find(engine: Engine) -> str:
        found.append(answered(engine))
        return answer_text(found[0], session.sources)

    session.answer_with(question, find)
    return found[0]


def answer_text(answer: Answer, sources: Sequence[str]) -> str:
    """Return an answer with its quotes as Markdown, as it stands in the conversation."""
    if not answer.found:
        return f"Not found in {', '.join(sources)}."
    quotes = (
        f"> {' '.join(each.text.split())} ({each.source.name}:{each.line})" for each in answer.citations
    )
    return "\n\n".join((" ".join(answer.text.split()), *quotes))
