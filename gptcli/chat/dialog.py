"""A session with somebody: lines come in, answers and what there is to say about them go out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gptcli.chat.lines import Command, clean, parse
from gptcli.chat.session import ChatEvents, Session
from gptcli.chat.turns import ChatSettings
from gptcli.chat.window import TurnsLeft, left_text
from gptcli.documents.passages import Passage
from gptcli.engine.api import Delta, Engine, Event, Finished, Started
from gptcli.errors import ContextOverflowError, EngineCrashedError, GptcliError
from gptcli.output.amounts import counted
from gptcli.output.answer import AnswerView, Thinking, timings_text
from gptcli.output.console import Output
from gptcli.output.progress import Progress
from gptcli.prompts.compose import Document
from gptcli.tasks.generate import repeats_itself

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations

EXIT_HINT = "Ctrl-D or /bye ends the chat."
HISTORY_ENTRY = 100_000  # characters; longer inputs are not worth going back to


class Reader(Protocol):
    """Where lines come from. `read` raises EOFError at the end, KeyboardInterrupt for Ctrl-C.

    From any thread, `refresh`: what is shown beside the line has changed; `fail`: let `read` raise.
    """

    def read(self, prefill: str = "") -> str: ...

    def set_vi(self, wanted: bool) -> None: ...

    def refresh(self) -> None: ...

    def fail(self, error: GptcliError) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the chat needs of the layers above it. Each raises GptcliError for what cannot be done."""

    open_model: Callable[[str], tuple[Engine, str]]  # also by what it is found again
    model_names: Callable[[], list[str]]
    read_text: Callable[[str], str]
    # Of files and folders, for a question; with the question as it is asked of them, in their language.
    find_passages: Callable[[Engine, Sequence[str], str], tuple[str, list[Passage]]]


@dataclass(slots=True, kw_only=True)
class ViewSettings:
    """How answers are shown. `markdown`: None: if the model was trained to chat."""

    markdown: bool | None = None
    thinking: Thinking = "show"
    verbose: bool = False


class Dialog:
    """Runs commands and asks what else is typed. Errors are shown, and the chat goes on."""

    def __init__(
        self,
        session: Session,
        output: Output,
        services: Services,
        *,
        view: ViewSettings,
        store: Conversations | None = None,
    ) -> None:
        self.session = session
        self.output = output
        self.services = services
        self.view = view
        self.store = store
        self.first_settings: ChatSettings = session.settings
        self.attached: list[Document] = []
        self.editing: int | None = None  # the turn that the next message replaces
        self.prefill = ""
        self.is_over = False
        self.reader: Reader | None = None
        self._notes_told: set[str] = set()
        self._was_loaded = False

    def run(self, reader: Reader) -> None:
        """Take lines until there are no more, or somebody wants to leave.

        Raises what the first loading of the model raises.
        """
        self.reader, self.session.on_loaded = reader, self._take_loaded
        while not self.is_over:
            prefill, self.prefill = self.prefill, ""
            try:
                text = reader.read(prefill)
            except KeyboardInterrupt:
                self._interrupt()
            except EOFError:
                break
            else:
                self.take(text)
        with suppress(KeyboardInterrupt), Progress(self.output, "keeping the state of the model"):
            self.session.keep()

    def take(self, text: str) -> None:
        """Run a command, or ask; show what is wrong with it."""
        from gptcli.chat.commands import run_command

        try:
            parsed = parse(clean(text))
            if isinstance(parsed, Command):
                run_command(self, parsed)
            elif parsed or self.attached:
                self.say(parsed)
        except GptcliError as error:
            self.output.error(error)
        except KeyboardInterrupt:
            self.output.status("stopped")

    def say(self, text: str) -> None:
        """Ask the model, with what is attached."""
        documents, self.attached = tuple(self.attached), []
        editing, self.editing = self.editing, None
        try:
            if editing is not None and editing < len(self.session.turns):
                self.show(self.session.edit(editing, text))
            else:
                self.show(self.session.ask(text, documents))
        except ContextOverflowError:
            self.prefill = text if len(text) <= HISTORY_ENTRY else ""  # to be shortened
            raise

    def show(self, events: ChatEvents, *, echo: str = "") -> None:
        """Show an answer as it comes, after `echo`. Ctrl-C stops it, and what is there is kept."""
        try:
            with closing(events):
                view = self._view(echo)
                view.show(self._watch(events))
        except KeyboardInterrupt:
            self.output.finish_text()
            self._after_stop()
        except EngineCrashedError as error:
            self.output.error(error)
            self.output.status("the engine starts again; /retry asks again")
            self.session.reload()
        else:
            self._after(view)
        self.output.status("")

    def _view(self, echo: str) -> AnswerView:
        with Progress(self.output, f"loading {self.session.model_spec}"):
            model = self.session.model
        for note in model.notes:
            if note not in self._notes_told and self.view.verbose:
                self.output.status(note)
            self._notes_told.add(note)
        markdown = model.is_chat if self.view.markdown is None else self.view.markdown
        shown = echo if markdown and self.output.stdout_is_tty else ""
        return AnswerView(self.output, markdown=markdown, thinking=self.view.thinking, echo=shown)

    def _watch(self, events: ChatEvents) -> Generator[Event, None, None]:
        """Pass the engine's events on; show that a prompt is being read, and tell of turns that left."""
        progress: Progress | None = None
        try:
            for event in events:
                if isinstance(event, TurnsLeft):
                    self.output.status(left_text(event))
                    continue
                if isinstance(event, Started):
                    progress = Progress(self.output, "reading")
                    progress.__enter__()
                    progress.update(0, text=counted(event.prompt_tokens, "token"))
                elif progress is not None and isinstance(event, Delta | Finished):
                    progress.__exit__(None, None, None)
                    progress = None
                yield event
        finally:
            if progress is not None:
                progress.__exit__(None, None, None)

    def _after(self, view: AnswerView) -> None:
        if not view.samples:
            return
        sample = view.samples[-1]
        if sample.finish_reason == "length":
            tokens = counted(sample.usage.completion_tokens, "token")
            self.output.status(f"cut after {tokens}; /continue goes on")
        if repeats_itself(sample.text):
            self.output.warning("the answer repeats itself; try /set dry_multiplier 0.8")
        if not sample.text.strip():
            self.output.status("the model wrote nothing; /retry asks again")
        if self.view.verbose:
            self.output.status(timings_text(self.session.model, view.samples))

    def _after_stop(self) -> None:
        turns = self.session.turns
        is_begun = bool(turns and turns[-1].answer)
        self.output.status("stopped; /continue goes on" if is_begun else "stopped; /retry asks again")

    def _interrupt(self) -> None:
        if self.editing is not None:
            self.editing = None
            self.output.status("nothing was edited")
        else:
            self.output.status(EXIT_HINT)

    def _take_loaded(self) -> None:
        assert self.reader is not None
        self.reader.refresh()
        if self.session.load_error is not None and not self._was_loaded:
            self.reader.fail(self.session.load_error)
        self._was_loaded = True

    def attach(self, documents: Sequence[Document]) -> None:
        """Send documents along with the next message; questions are answered from them too."""
        self.attached += documents
        self.add_sources([document.name for document in documents if document.name])
        for document in documents:
            self.output.status(
                f"{document.name}: {len(document.text):,} characters go with the next message; "
                "/ask answers from them"
            )

    def add_sources(self, names: Sequence[str]) -> None:
        """Let questions be answered from these files and folders too."""
        from gptcli.chat.text_commands import expanded

        known = self.session.sources
        known += [name for name in map(expanded, names) if name not in known]


def meter_text(session: Session) -> str:
    """Return how full the window is; "" where that is not known yet."""
    if session.load_error is not None:
        return "no model"
    model, used = session.loaded_model, session.used_tokens
    if model is None:
        return "loading…"
    if used is None or not model.context_limit:
        return ""
    return f"{used / model.context_limit:.0%} of {model.context_limit:,}"
