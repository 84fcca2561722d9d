"""The log of a command's run: opened, told of once, and never a reason for the command to fail."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol

from gptcli import paths
from gptcli.engine.api import (
    Delta,
    Event,
    Finished,
    FinishReason,
    ModelInfo,
    Started,
    Timings,
    Usage,
)
from gptcli.errors import StorageError
from gptcli.output.console import Output
from gptcli.prompts.compose import PromptParts
from gptcli.sampling import SamplingParams
from gptcli.tasks.generate import sampling_of_sample

if TYPE_CHECKING:
    from gptcli.store.conversations import Conversations

Params = Mapping[str, Any]

# Options that say nothing of the answer, or are kept in places of their own.
NOT_SETTINGS = {"prompt", "system", "model", "quiet", "verbose", "debug", "color"}
NOT_SETTINGS |= {each.name for each in fields(SamplingParams)}


def open_log(params: Params, output: Output) -> Conversations | None:
    """Return the log that a command's options ask for; None with --no-log, or where it cannot be kept.

    That is a warning: no command fails because it cannot be logged.
    """
    if params["no_log"]:
        return None
    try:
        from gptcli.store.conversations import Conversations

        log = Conversations(paths.logs_file())
        for notice in log.notices:
            output.warning(notice)
    except ImportError:  # Python can be built without SQLite
        output.warning("this is not logged: this Python has no sqlite3")
        return None
    except StorageError as error:
        output.warning(f"this is not logged: {error.message}")
        return None
    _tell_once(output)
    return log


def _tell_once(output: Output) -> None:
    """Say that there is a log, where, and how to stop it: once for all commands and processes."""
    notice = paths.logs_notice_file()
    if output.quiet or notice.exists():
        return
    try:
        notice.parent.mkdir(parents=True, exist_ok=True)
        notice.open("x").close()
    except FileExistsError:  # another process says it now
        return
    except OSError:  # it cannot be remembered, and is said again
        pass
    output.status(
        f"what is asked and answered is kept in {paths.logs_file()}; gptcli logs off stops that"
    )


@contextmanager
def logged_run(kind: str, params: Params, output: Output) -> Generator[RunLog, None, None]:
    """Yield the log of one run of a command. What was answered when it is stopped is kept."""
    log = RunLog(kind, params, output)
    try:
        yield log
    except (KeyboardInterrupt, BrokenPipeError):
        log.end_answer("cancelled")
        raise
    finally:
        log.close()


class Counts(Protocol):
    """What a run over many texts says of itself: what was done so far, and the tokens written."""

    @property
    def summary(self) -> str: ...

    tokens: int


@contextmanager
def logged_batch(
    kind: str,
    params: Params,
    output: Output,
    model: ModelInfo,
    parts: PromptParts,
    counts: Counts,
    sampling: SamplingParams | None = None,
) -> Generator[None, None, None]:
    """Log a run over many texts: how it was asked, and its counts.

    The texts and the answers are in files of the user's, where they can be found and deleted.
    """
    with logged_run(kind, params, output) as log:
        log.ask(model, parts)
        log.begin_answer(sampling or SamplingParams(temperature=0))
        try:
            yield
        finally:
            log.grow(counts.summary)
        log.end_answer("stop", Usage(completion_tokens=counts.tokens))


class RunLog:
    """One run in the log: what was asked, and the answers. After a failure it only warned, once."""

    def __init__(self, kind: str, params: Params, output: Output) -> None:
        self._kind, self._params, self._output = kind, params, output
        self._log = open_log(params, output)
        self._cid = ""
        self._model: ModelInfo | None = None
        self._model_hash = ""
        self._message_id: int | None = None
        self._text = self._thinking = ""

    def ask(self, model: ModelInfo, parts: PromptParts) -> None:
        """Log what is asked of a model, before it is."""
        with self._tolerant() as log:
            if log is None:
                return
            from gptcli.store.records import Attachment

            self._model = model
            given = {name: value for name, value in self._params.items() if _is_given(name, value)}
            self._cid = log.begin(self._kind, model.name, system=parts.system, settings=given)
            attachments = [Attachment(each.name, each.text) for each in parts.documents]
            log.add(self._cid, "user", parts.instruction, attachments)

    def watch(self, events: Iterable[Event], sampling: SamplingParams) -> Iterator[Event]:
        """Pass on the events of samples, and log each as an answer."""
        for event in events:
            if isinstance(event, Started):
                self.begin_answer(sampling_of_sample(sampling, event.id))
            elif isinstance(event, Delta):
                self.grow(event.text, is_thinking=event.channel == "thinking")
            elif isinstance(event, Finished):
                self.end_answer(event.reason, event.usage, event.timings)
            yield event

    def begin_answer(self, sampling: SamplingParams) -> None:
        """Log that an answer begins."""
        self._text = self._thinking = ""
        with self._tolerant() as log:
            if log is not None and self._model is not None:
                from gptcli.engine.prompt_cache import fingerprint_or
                from gptcli.store.records import Provenance

                # The engine reads the prompt meanwhile: this is not waited for.
                self._model_hash = self._model_hash or fingerprint_or(self._model.path, "")
                origin = Provenance.of(self._model, sampling, self._model_hash)
                self._message_id = log.add(self._cid, "assistant", "", provenance=origin)

    def grow(self, text: str, *, is_thinking: bool = False) -> None:
        """Log the next piece of the answer."""
        if is_thinking:
            self._thinking += text
        else:
            self._text += text
        if self._log is not None and self._message_id is not None:
            self._log.grow(self._message_id, self._text, thinking=self._thinking)

    def end_answer(
        self, reason: FinishReason, usage: Usage | None = None, timings: Timings | None = None
    ) -> None:
        """Log that the answer has ended, if one was begun."""
        with self._tolerant() as log:
            if log is not None and self._message_id is not None:
                log.finish(self._message_id, self._text, reason, usage, timings, thinking=self._thinking)
        self._message_id = None

    def close(self) -> None:
        """Write what is there; an answer that was not ended stays unfinished."""
        with self._tolerant() as log:
            if log is not None:
                log.close()
        self._log = None

    @contextmanager
    def _tolerant(self) -> Iterator[Conversations | None]:
        try:
            yield self._log
        except StorageError as error:
            self._output.warning(f"this is not logged: {error.message}")
            log, self._log = self._log, None
            if log is not None:
                with suppress(StorageError):
                    log.close()


def _is_given(name: str, value: object) -> bool:
    return name not in NOT_SETTINGS and value not in (None, False, (), [], "auto")
