"""What `gptcli chat` does with its options: find the chat, open the model, talk or answer lines."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gptcli import paths
from gptcli.chat.dialog import Dialog, Services, ViewSettings
from gptcli.chat.lines import clean
from gptcli.chat.recorder import Recorder
from gptcli.chat.session import ChatEvents, Session
from gptcli.chat.turns import ChatSettings
from gptcli.chat.window import TurnsLeft, left_text
from gptcli.cli.collecting import READ_WORDS, opened_collection
from gptcli.cli.logged import open_log
from gptcli.cli.material import decode, read_documents, read_text, stdin_text
from gptcli.cli.opening import find_model, opened_model
from gptcli.cli.options import engine_settings, make_output
from gptcli.cli.sampling_options import sampling_params, stop_strings
from gptcli.documents.passages import Passage
from gptcli.documents.sources import find_files, read_source
from gptcli.engine.api import Engine, Event
from gptcli.errors import UsageError
from gptcli.models.resolve import ResolvedModel
from gptcli.output.answer import AnswerView, Thinking, answer_json, timings_text
from gptcli.output.console import Output
from gptcli.tasks.question_language import in_language_of
from gptcli.tasks.retrieval import choose

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations
    from gptcli.store.records import StoredConversation

Params = dict[str, Any]


def run_chat(params: Params, *, model_is_given: bool) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    params["parallel"] = "auto"  # one answer at a time, but /ask scores many texts
    output = make_output(params)
    engine_settings(params, path="", name="")
    settings = _settings(params)
    files = params["file"] or ()
    documents = read_documents(files, stdin_text() if "-" in files else "")
    with ExitStack() as stack:
        store = open_log(params, output)
        if store is not None:
            stack.callback(store.close)
        readable = store or _readable(stack, output)
        conversation = _conversation(params, readable)
        opener = stack.enter_context(closing(ModelOpener(params, output)))
        spec = conversation.model if conversation and not model_is_given else params["model"]
        model = opener.find(spec)
        recorder = Recorder(store, lambda why: output.warning(f"this is no longer kept: {why}"))
        session = Session(lambda: opener.open(model), opener.spec, recorder, settings)
        if conversation is not None:
            session.load(conversation)
            _override(session, params)
        if _is_interactive(output):
            dialog = Dialog(
                session, output, _services(opener, params, output), view=_view(params), store=readable
            )
            dialog.attach(documents)
            _talk(dialog, params, is_continued=conversation is not None)
        else:
            _answer_lines(session, params, output, documents)


def _readable(stack: ExitStack, output: Output) -> Conversations | None:
    """Return the chats that are there, to read, where this one is not kept."""
    from gptcli.cli.logs.reading import opened_logs

    return stack.enter_context(opened_logs(output))


class ModelOpener:
    """Opens models, one at a time."""

    def __init__(self, params: Params, output: Output) -> None:
        self._params, self._output = params, output
        self._stack = ExitStack()
        self.spec = ""

    def find(self, spec: str | None) -> ResolvedModel:
        """Return the model to open next. Raises what `find_model` raises."""
        model = find_model(spec, self._output)
        self.spec = _lasting_spec(spec, model)
        return model

    def open(self, model: ResolvedModel) -> Engine:
        """Open a model instead of the last one, which is closed. Raises ModelError for a wrong file."""
        self.close()
        return self._stack.enter_context(opened_model(model, self._params, self._output))

    def close(self) -> None:
        self._stack.close()


def _lasting_spec(spec: str | None, model: ResolvedModel) -> str:
    """Return what finds the model again, also from another directory."""
    if spec is None:
        return model.name
    return str(Path(spec).absolute()) if Path(spec).is_file() else spec


def _settings(params: Params) -> ChatSettings:
    return ChatSettings(
        system=params["system"] or "",
        sampling=sampling_params(params),
        stop=stop_strings(params),
        thinking=params["thinking"] != "off",
    )


def _override(session: Session, params: Params) -> None:
    """Let options count more than what the continued chat was begun with."""
    from dataclasses import fields, replace

    from gptcli.sampling import SamplingParams

    asked = sampling_params(params)
    given = {
        each.name: value
        for each in fields(SamplingParams)
        if (value := getattr(asked, each.name)) not in (None, ())
    }
    settings = session.settings
    session.change(
        replace(
            settings,
            system=settings.system if params["system"] is None else params["system"],
            sampling=replace(settings.sampling, **given),
            thinking=settings.thinking if params["thinking"] is None else params["thinking"] != "off",
        )
    )


def _conversation(params: Params, store: Conversations | None) -> StoredConversation | None:
    """Return the chat to go on with, if one is asked for. Raises UsageError if it is not there."""
    if params["cid"] is None and not params["continue_"]:
        return None
    cid = None
    if store is not None:
        cid = store.resolve(params["cid"]) if params["cid"] is not None else store.last()
    if store is None or cid is None:
        raise UsageError("there is no chat to go on with", hint="gptcli chat")
    return store.load(cid)


def _services(opener: ModelOpener, params: Params, output: Output) -> Services:
    from gptcli.models.inventory import known_names

    def open_model(spec: str) -> tuple[Engine, str]:
        model = opener.find(spec)
        return opener.open(model), opener.spec

    def find_passages(engine: Engine, names: Sequence[str], question: str) -> tuple[str, list[Passage]]:
        with opened_collection(names, b"", output, may_keep=not params["no_log"]) as collection:
            asked = in_language_of(engine, question, collection.sources())
            return asked, choose(collection, asked, budget_words=READ_WORDS)

    return Services(
        open_model=open_model,
        model_names=known_names,
        read_text=_read_text,
        find_passages=find_passages,
    )


def _read_text(name: str) -> str:
    """Return the text of a file to attach, also of a PDF. Raises GptcliError."""
    if not name.lower().endswith(".pdf"):
        return read_text(name)
    (file,) = find_files([name], on_skip=lambda _: None)
    return read_source(file).text


def _view(params: Params) -> ViewSettings:
    thinking = params["thinking"]
    shown: Thinking = thinking if thinking in get_args(Thinking) else "show"
    return ViewSettings(markdown=params["markdown"], thinking=shown, verbose=params["verbose"])


# ------------------------------------------------------------------------------------- a terminal


def _is_interactive(output: Output) -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and output.stderr_is_tty


def _talk(dialog: Dialog, params: Params, *, is_continued: bool) -> None:
    if params["json"]:
        raise UsageError("--json answers lines from a pipe", hint="echo hello | gptcli chat --json")
    if is_continued:
        from gptcli.chat.turn_commands import show_end

        show_end(dialog)
    with _reading_terminal(dialog.output):
        if params["prompt"]:
            dialog.take(f'"""{params["prompt"]}"""')
        if dialog.output.stdout_is_tty and dialog.output.can_move_cursor:
            from gptcli.chat.repl import PromptReader

            history = None if params["no_log"] else paths.chat_history_file()
            color = dialog.output.stdout_color
            dialog.run(PromptReader(dialog, history=history, vi=params["vi"], color=color))
        else:
            from gptcli.chat.plain import PlainReader

            dialog.session.begin_loading()
            dialog.run(PlainReader(dialog.output.stderr))


@contextmanager
def _reading_terminal(output: Output) -> Generator[None, None, None]:
    """Keep what is typed during an answer for the next line, where the line is ours to draw."""
    if not (output.stdout_is_tty and output.can_move_cursor):
        yield
        return
    from gptcli.chat.repl import quiet_terminal

    with quiet_terminal(sys.stdin.fileno()):
        yield


# ----------------------------------------------------------------------------------------- a pipe


def _answer_lines(session: Session, params: Params, output: Output, documents: Any) -> None:
    """Answer the prompt, then each line that comes in: it is a message, whatever it begins with."""
    messages = _messages(params)
    is_any = False
    for text in messages:
        is_any = True
        _answer(session.ask(text, documents), session, params, output)
        documents = ()
    session.keep()
    if not is_any:
        raise UsageError("there is nothing to answer", hint='gptcli chat "Hello"')


def _messages(params: Params) -> Iterator[str]:
    if params["prompt"]:
        yield params["prompt"]
    if sys.stdin is None or sys.stdin.isatty():
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        text = clean(decode(line, f"line {number} of stdin")).strip()
        if text:
            yield text


def _answer(events: ChatEvents, session: Session, params: Params, output: Output) -> None:
    is_json = params["json"]
    shown = params["thinking"]
    view = AnswerView(
        output,
        markdown=session.model.is_chat if params["markdown"] is None else params["markdown"],
        thinking=shown if shown in ("show", "fold") else "hide",
        silent=is_json,
    )
    with closing(events):
        try:
            view.show(_without_notices(events, output))
        finally:
            if is_json and view.samples:
                answer = answer_json(session.model, view.samples, logprobs=False)
                output.json(answer | {"cid": session.recorder.cid})
    output.note(timings_text(session.model, view.samples))


def _without_notices(events: ChatEvents, output: Output) -> Iterator[Event]:
    for event in events:
        if isinstance(event, TurnsLeft):
            output.warning(left_text(event))
        else:
            yield event
