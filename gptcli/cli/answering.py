"""What `gptcli ask` does with its options: read, find, check, show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptcli.cli.logged import logged_run
from gptcli.cli.material import read_documents, stdin_text
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings, make_output
from gptcli.documents.passages import Passage, Source
from gptcli.errors import NoAnswerError, UsageError
from gptcli.output.console import Output
from gptcli.output.progress import Progress
from gptcli.output.quotes import answer_members, print_answer
from gptcli.prompts.compose import Document, PromptParts
from gptcli.sampling import SamplingParams
from gptcli.tasks.ask import Answer, ask

Params = dict[str, Any]


def run_ask(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    output = make_output(params)
    _check(params)
    passages = _passages(params, output)
    question = params["question"].strip()
    with opened_engine(params, output, task="ask") as engine:
        for note in engine.model.notes:
            output.note(note)
        with logged_run("ask", params, output) as log:
            log.ask(engine.model, PromptParts(instruction=question, documents=_documents(passages)))
            log.begin_answer(SamplingParams(temperature=0))
            with Progress(output, "reading"):
                answer = ask(engine, question, passages, least=params["min_confidence"])
            log.grow(answer.text)
            log.end_answer("stop")
    _show(answer, params, output)


def _check(params: Params) -> None:
    engine_settings(params, path="", name="")
    least = params["min_confidence"]
    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"--min-confidence must be between 0 and 1, not {least:g}")
    if params["top"] < 1:
        raise UsageError(f"--top must be 1 or more, not {params['top']}")
    if not params["question"].strip():
        raise UsageError("there is no question", hint='gptcli ask "When …?" -f FILE')


def _passages(params: Params, output: Output) -> list[Passage]:
    documents = read_documents(params["file"] or (), stdin_text())
    sources = [Source(document.name or "-", document.text) for document in documents]
    return [Passage(source, 0, len(source.text), 1) for source in sources]


def _documents(passages: Sequence[Passage]) -> tuple[Document, ...]:
    sources = {passage.source.name: passage.source for passage in passages}
    return tuple(Document(source.text, source.name) for source in sources.values())


def _show(answer: Answer, params: Params, output: Output) -> None:
    if params["json"]:
        output.json(answer_members(answer))
    elif answer.found:
        print_answer(output, answer)
    if not answer.found:
        raise NoAnswerError(
            "the documents do not answer this",
            hint="other words, more documents, or a lower --min-confidence",
        )
