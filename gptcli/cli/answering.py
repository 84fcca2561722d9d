"""What `gptcli ask` does with its options: read, find, check, show."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from gptcli.cli.collecting import READ_WORDS, opened_collection, read_piped
from gptcli.cli.labelling import fingerprint
from gptcli.cli.logged import logged_run
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings, make_output
from gptcli.documents.answers import Answer
from gptcli.documents.passages import Passage
from gptcli.engine.api import Engine
from gptcli.errors import NoAnswerError, UsageError
from gptcli.output.console import Output
from gptcli.output.passages import show_passages
from gptcli.output.progress import Progress
from gptcli.output.quotes import answer_members, print_answer
from gptcli.prompts.compose import Document, PromptParts
from gptcli.sampling import SamplingParams
from gptcli.store.stems import stems
from gptcli.tasks.ask import answer_unverified, ask
from gptcli.tasks.embedding import Embedder
from gptcli.tasks.free_answer import answer_freely
from gptcli.tasks.question_language import in_language_of
from gptcli.tasks.retrieval import Collection, choose, matches

Params = dict[str, Any]


def run_ask(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    output = make_output(params)
    _check(params)
    question = params["question"].strip()
    with ExitStack() as stack:
        asked, passages = question, None
        with _opened_documents(params, output) as collection:
            engine = stack.enter_context(opened_engine(params, output, task="ask"))
            for note in engine.model.notes:
                output.note(note)
            if collection is not None:
                asked = in_language_of(engine, question, collection.sources())
                passages = choose(collection, asked, budget_words=READ_WORDS, count=params["top"])
        if asked != question:
            output.status(f"the question, as it is asked of the text: {asked}")
        answer = _logged_answer(engine, question, asked, passages, params, output)
    _show(answer, params, output)


def _logged_answer(
    engine: Engine,
    question: str,
    asked: str,
    passages: Sequence[Passage] | None,
    params: Params,
    output: Output,
) -> Answer:
    if passages is not None and params["show_passages"]:
        show_passages(output, passages, lambda text: matches(asked, text, stems))
    with logged_run("ask", params, output) as log:
        log.ask(engine.model, PromptParts(instruction=question, documents=_documents(passages or ())))
        log.begin_answer(SamplingParams(temperature=0))
        with Progress(output, "reading"):
            answer = replace(_answer(engine, asked, passages, params), question=question)
        log.grow(answer.text if answer.found else "")
        log.end_answer("stop")
    return answer


def _answer(engine: Engine, question: str, passages: Sequence[Passage] | None, params: Params) -> Answer:
    if passages is None:
        return answer_unverified(engine, question)
    way = answer_freely if params["free"] else ask
    return way(engine, question, passages, least=params["min_confidence"])


def _check(params: Params) -> None:
    engine_settings(params, path="", name="")
    least = params["min_confidence"]
    if least is not None and not 0 <= least <= 1:
        raise UsageError(f"--min-confidence must be between 0 and 1, not {least:g}")
    if params["top"] < 1:
        raise UsageError(f"--top must be 1 or more, not {params['top']}")
    if not params["question"].strip():
        raise UsageError("there is no question", hint='gptcli ask "When …?" -f FILE')


@contextmanager
def _opened_documents(params: Params, output: Output) -> Generator[Collection | None, None, None]:
    """Yield the documents, if there are any."""
    names = params["file"] or []
    data = read_piped(names)
    if not names and not data.strip():
        yield None
        return
    with (
        _opened_embedder(params, output) as embedder,
        opened_collection(
            names, data, output, embedder=embedder, may_keep=not params["no_log"]
        ) as collection,
    ):
        yield collection


@contextmanager
def _opened_embedder(params: Params, output: Output) -> Generator[Embedder | None, None, None]:
    spec = params["embed_model"]
    if spec is None:
        yield None
        return
    with opened_engine({**params, "model": spec}, output, task="embed") as engine:
        yield Embedder(engine, fingerprint(engine.model))


def _documents(passages: Sequence[Passage]) -> tuple[Document, ...]:
    """Return what is read for the log, by source."""
    texts: dict[str, list[str]] = {}
    for passage in passages:
        texts.setdefault(passage.source.name, []).append(passage.text)
    return tuple(Document("\n\n".join(parts), name) for name, parts in texts.items())


def _show(answer: Answer, params: Params, output: Output) -> None:
    if params["json"]:
        output.json(answer_members(answer))
    elif answer.found:
        print_answer(output, answer)
    if answer.score is None:
        output.warning("unverified: without documents (-f FILE) this is only what the model believes")
    if not answer.found:
        raise _not_found(answer)


def _not_found(answer: Answer) -> NoAnswerError:
    if not answer.score:
        return NoAnswerError("no answer found", hint="other words, or more documents")
    return NoAnswerError(
        f"no answer found: the likeliest one has a probability of {answer.score:.0%}",
        hint=f"--min-confidence {int(answer.score * 100) / 100:g} shows it",
    )
