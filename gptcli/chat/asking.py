"""`/ask`: a question to the documents that were read, answered as `gptcli ask` does, kept as a turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gptcli.documents.answers import Answer
from gptcli.documents.passages import Passage
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
    passages = dialog.services.find_passages(session.sources, argument)
    with Progress(output, f"loading {session.model_spec}"):
        _ = session.model
    try:
        with Progress(output, "reading"):
            answer = answer_from(session, argument, passages)
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


def answer_from(session: Session, question: str, passages: Sequence[Passage]) -> Answer:
    """Return the answer that passages give to a question, which becomes a turn of the conversation.

    Raises the error of a request that fails; then there is no such turn.
    """
    found: list[Answer] = []

    def find(engine: Engine) -> str:
        found.append(task.ask(engine, question, passages))
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
