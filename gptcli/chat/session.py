"""A chat without a terminal: turns go in, the engine's events come out, and nothing is lost.

Each user's message is kept before the model is asked, and the answer grows in the store. A turn whose
answer failed stays, and can be asked again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gptcli.chat.loading import LoadingModel
from gptcli.chat.recorder import Recorder
from gptcli.chat.turns import (
    ChatSettings,
    Turn,
    answered,
    conversation_of,
    messages_of,
    state_of,
    stored_state,
    stored_turns,
)
from gptcli.chat.window import TEMPLATE_TOKENS, TurnsLeft, fitting_start, prompt_room
from gptcli.engine.api import (
    Delta,
    Engine,
    Event,
    Finished,
    Generate,
    Keep,
    ModelInfo,
    Prompt,
    Tokenize,
    Usage,
    stream,
    tokenize,
)
from gptcli.errors import ContextOverflowError, GptcliError, UsageError
from gptcli.output.amounts import counted
from gptcli.prompts.chat import TRANSCRIPT_STOPS, chat_prompt, summary_prompt
from gptcli.prompts.compose import Document
from gptcli.sampling import MAX_SEED, SamplingParams, new_seed
from gptcli.tasks.generate import with_limit

if TYPE_CHECKING:
    from gptcli.store.records import StoredConversation

SUMMARY_TOKENS, SUMMARY_TEMPERATURE = 400, 0.2


ChatEvent = Event | TurnsLeft
ChatEvents = Generator[ChatEvent, None, None]


class Session:
    """One conversation with one model. Not for several threads.

    `model_spec` is what the user calls the model, so that a continued chat finds it again. Generators
    of events must be closed or read to the end; closing one stops the answer and keeps what is there.
    `open_engine` is called, in another thread, when loading begins.
    """

    def __init__(
        self,
        open_engine: Callable[[], Engine],
        model_spec: str,
        recorder: Recorder,
        settings: ChatSettings,
    ) -> None:
        self.model_spec = model_spec
        self.recorder = recorder
        self.settings = settings
        self.turns: list[Turn] = []
        self.start = 0  # the first turn that is in the prompt
        self.summary = ""  # of the turns before it
        self.sources: list[str] = []  # documents that questions are answered from, by their names
        self.total = Usage()
        self._used: int | None = 0  # tokens of the window after the last answer, None: not known
        self._attempt = 0
        self._is_evaluated = False
        self.on_loaded: Callable[[], object] = lambda: None  # called in another thread
        self._loading = LoadingModel(open_engine, self._tell_loaded)

    # -------------------------------------------------------------------------------------- model

    def begin_loading(self) -> None:
        """Load the model beside what the caller does. What needs the model begins that too."""
        self._loading.begin()

    @property
    def model(self) -> ModelInfo:
        """The loaded model; waits for it. Raises what its loading raised."""
        return self._loading.result()

    @property
    def loaded_model(self) -> ModelInfo | None:
        """The model if it is loaded by now."""
        return self._loading.model

    @property
    def load_error(self) -> GptcliError | None:
        return self._loading.error

    def use_engine(self, engine: Engine, model_spec: str) -> None:
        """Go on with another model, which begins to load; the last one is closed already."""
        self._is_evaluated = False
        self.model_spec = model_spec
        self._loading = LoadingModel(lambda: engine, self._tell_loaded)
        self._loading.begin()
        self._used = None
        self._keep_state()

    def reload(self) -> None:
        """Have an engine that died start again, beside what the caller does."""
        engine = self._loading.engine
        self._loading = LoadingModel(lambda: engine, self._tell_loaded)
        self._loading.begin()

    def _tell_loaded(self) -> None:
        self.on_loaded()

    # -------------------------------------------------------------------------------------- turns

    def ask(self, text: str, documents: Sequence[Document] = ()) -> ChatEvents:
        """Keep the user's message, then yield the answer's events.

        Raises ContextOverflowError when the message alone exceeds the window: it is taken back.
        """
        self._begin(text, documents)
        return self._answer()

    def answer_with(self, text: str, find: Callable[[Engine], str]) -> None:
        """Keep the user's message, then what `find` answers to it.

        Raises what that raises: then the message is taken back.
        """
        self.keep()  # what is read now takes the place of the conversation in the engine
        self._begin(text, ())
        try:
            answer = find(self._loading.engine)
        except BaseException:
            self.undo()
            raise
        self._sampling, self._used = SamplingParams(temperature=0), None
        turn = self._begun(replace(self.turns[-1], answer=answer))
        self.turns[-1] = turn = replace(turn, finish_reason="stop")
        self.recorder.finish(turn)

    def _begin(self, text: str, documents: Sequence[Document]) -> None:
        system, state = self.settings.system, self._state()
        user_id = self.recorder.ask(self.model_spec, system, state, text, documents)
        self.turns.append(Turn(text=text, documents=tuple(documents), user_id=user_id))
        self._attempt = 0

    def retry(self) -> ChatEvents:
        """Answer the last message anew. Raises UsageError if there is none."""
        self._check_turns("there is nothing to ask again")
        turn = self.turns[-1]
        self.turns[-1] = Turn(text=turn.text, documents=turn.documents, user_id=turn.user_id)
        self._take_back(turn.user_id)
        self._attempt += 1
        return self._answer()

    def resume(self) -> ChatEvents:
        """Go on with the last answer, which was cut. Raises UsageError if there is none."""
        self._check_turns("there is nothing to go on with")
        turn = self.turns[-1]
        if turn.answer and turn.finish_reason == "stop":
            raise UsageError("the answer is complete", hint="/retry answers anew")
        if not turn.answer:
            return self._answer()
        self.recorder.reopen(turn.answer_id)
        return self._answer()

    def edit(self, number: int, text: str) -> ChatEvents:
        """Ask turn `number` (from 0) with another text; what followed it is taken back."""
        documents = self.turns[number].documents
        self.undo(len(self.turns) - number)
        return self.ask(text, documents)

    def undo(self, count: int = 1) -> list[Turn]:
        """Take back the last turns, and return them. Raises UsageError if there are not so many."""
        if not 1 <= count <= len(self.turns):
            has = counted(len(self.turns), "turn")
            raise UsageError(f"cannot take back {count}: this chat has {has}")
        keep = len(self.turns) - count
        removed, self.turns = self.turns[keep:], self.turns[:keep]
        if self.start > max(0, keep - 1):  # what a summary was made of is gone, or the only turn left
            self.start, self.summary = 0, ""
        self._take_back(self.turns[-1].last_id if self.turns else None)
        self._keep_state()
        return removed

    def compact(self) -> ChatEvents:
        """Replace the turns before the last one by a summary, and yield the summary's events.

        Raises UsageError if there is nothing to summarize.
        """
        done = answered(self.turns)
        if done - self.start < 2:
            raise UsageError("there is nothing to summarize yet")
        start = fitting_start(
            self.start, done - 1, lambda n: self._count(self._summary_prompt(n, done)), self._room
        )
        text = ""
        request = Generate(
            prompt=self._summary_prompt(start, done),
            sampling=SamplingParams(temperature=SUMMARY_TEMPERATURE, max_tokens=SUMMARY_TOKENS),
            stop=() if self.model.is_chat else TRANSCRIPT_STOPS,
            thinking=False,
        )
        with closing(stream(self._loading.engine, request)) as events:
            for event in events:
                if isinstance(event, Delta) and event.channel == "answer":
                    text += event.text
                elif isinstance(event, Finished):
                    self.total += event.usage
                yield event
        if not (text := text.strip()):
            raise UsageError("the model wrote no summary; all stays as it is")
        # A base model goes on with something else.
        self.summary = text if self.model.is_chat else text.partition("\n\n")[0].strip()
        self.start = done - 1
        self._used = None
        self._keep_state()

    # -------------------------------------------------------------------------- other conversations

    def fork(self) -> str | None:
        """Go on in a copy of this chat; return the id of the one that stays as it is."""
        start, summary = self.start, self.summary
        original, copy = self.recorder.fork()
        if copy is not None:
            self.load(copy)
            self.start, self.summary = start, summary
            self._keep_state()  # messages have other ids in the copy
        return original

    def new(self, settings: ChatSettings | None = None) -> None:
        """Begin another conversation, with other settings if they are given."""
        self.keep()
        self.recorder.cid = None
        self.settings = settings or self.settings
        self.turns, self.start, self.summary, self.sources = [], 0, "", []
        self._used, self._attempt = 0, 0

    def load(self, conversation: StoredConversation) -> None:
        """Go on with a conversation from the store, in the state in which it was left."""
        self.keep()
        self.recorder.cid = conversation.id
        self.turns, self.sources = stored_turns(conversation), []
        state = stored_state(conversation, self.turns)
        self.start, self.summary = state.start, state.summary
        self.settings = replace(
            self.settings, system=conversation.system, sampling=state.sampling, thinking=state.thinking
        )
        self._used, self._attempt = None, 0

    def change(self, settings: ChatSettings) -> None:
        """Go on with other settings."""
        if settings.system != self.settings.system:
            self._used = None
        self.settings = settings
        self._keep_state()

    def as_stored(self) -> StoredConversation:
        """Return the conversation as the store does, also where nothing of it is kept."""
        store, cid = self.recorder.store, self.recorder.cid
        if store is not None and cid is not None:
            return store.load(cid)
        return conversation_of(
            cid or "", self.model_spec, self.settings.system, self.turns, self._state()
        )

    def keep(self) -> None:
        """Have the engine keep what it has evaluated, so that another process does not read it again.

        Where chats are not kept, neither is that. Nothing else depends on it: it never fails.
        """
        if not self._is_evaluated or self.recorder.store is None or not self.turns:
            return
        self._is_evaluated = False
        with contextlib.suppress(GptcliError):
            request = Keep(prompt=self._prompt(), thinking=self.settings.thinking)
            for _ in stream(self._loading.engine, request):
                pass

    # ------------------------------------------------------------------------------------- window

    @property
    def used_tokens(self) -> int | None:
        """Tokens of the window that the conversation takes; None while that is not known."""
        return self._used

    def measure(self) -> dict[str, int]:
        """Return the tokens of the window by part: system, summary, files, messages, and the rest."""
        whole = self._count(self._prompt()) if self.turns else 0
        files = (file.text for turn in self.turns[self.start :] for file in turn.documents)
        parts = {
            "system": self._count(self.settings.system),
            "summary": self._count(self.summary),
            "files": sum(map(self._count, files)),
        }
        parts["messages"] = max(0, whole - sum(parts.values()))
        if self._used is None:
            self._used = whole
        return parts | {"free": max(0, self.model.context_limit - sum(parts.values()))}

    @property
    def _room(self) -> int:
        """Tokens that a prompt may have so that an answer has room behind it."""
        return prompt_room(self.model.context_limit, self.settings.sampling.max_tokens)

    def _make_room(self) -> Generator[TurnsLeft, None, None]:
        """Let the oldest turns leave if the window is full: so many that this is seldom needed,
        because what stays must be evaluated again.
        """
        limit, last, turn = self.model.context_limit, len(self.turns) - 1, self.turns[-1]
        at_most = len(turn.content.encode()) + len(turn.answer.encode()) + TEMPLATE_TOKENS
        if self._used is not None and self._used + at_most <= self._room:
            return
        if self._count(self._prompt()) <= self._room:
            return
        start = fitting_start(self.start, last, lambda n: self._count(self._prompt(n)), limit // 2)
        if start == last and (count := self._count(self._prompt(last))) >= limit:
            raise ContextOverflowError(
                f"this message has {count:,} tokens, and the context window holds {limit:,}",
                hint="a part of it, or a larger --ctx-size",
                prompt_tokens=count,
                context_size=limit,
            )
        left, self.start = start - self.start, start
        self._keep_state()
        if left:
            yield TurnsLeft(left, limit)

    def _count(self, prompt: Prompt) -> int:
        if not prompt:
            return 0
        request = Tokenize(prompt=prompt, thinking=self.settings.thinking)
        return tokenize(self._loading.engine, request).token_count

    def _prompt(self, start: int | None = None) -> Prompt:
        start = self.start if start is None else start
        messages = messages_of(self.turns[start:], self.settings.system, self.summary)
        return chat_prompt(messages, is_chat=self.model.is_chat)

    def _summary_prompt(self, start: int, end: int) -> Prompt:
        messages = messages_of(self.turns[start:end], self.settings.system, self.summary)
        return summary_prompt(messages, is_chat=self.model.is_chat)

    # ------------------------------------------------------------------------------------- answers

    def _answer(self) -> ChatEvents:
        """Yield the events of the answer to the last turn, or of the rest of it."""
        try:
            yield from self._make_room()
        except ContextOverflowError:
            if not self.turns[-1].answer:
                self.undo()
            raise
        request = self._request()
        finished, is_stopped = None, False
        try:
            with closing(stream(self._loading.engine, request)) as events:
                for event in events:
                    if isinstance(event, Delta):
                        event = self._take_delta(event)
                        if not event.text:
                            continue
                    elif isinstance(event, Finished):
                        finished = event
                    yield event
        except (GeneratorExit, KeyboardInterrupt):
            is_stopped = finished is None
            raise
        finally:
            self._settle(finished, is_stopped=is_stopped)

    def _request(self) -> Generate:
        model, settings = self.model, self.settings
        seed = settings.sampling.seed
        seed = new_seed() if seed is None else (seed + self._attempt) % MAX_SEED
        sampling = with_limit(replace(settings.sampling, seed=seed), None, is_chat=model.is_chat)
        self._sampling = sampling
        return Generate(
            prompt=self._prompt(),
            sampling=sampling,
            stop=settings.stop if model.is_chat else (*settings.stop, *TRANSCRIPT_STOPS),
            thinking=settings.thinking,
        )

    def _take_delta(self, delta: Delta) -> Delta:
        turn = self.turns[-1]
        if delta.channel == "thinking":
            turn = replace(turn, thinking=turn.thinking + delta.text)
        else:
            if not turn.answer and not self.model.is_chat:
                delta = replace(delta, text=delta.text.lstrip())  # the space after "Assistant:"
            turn = replace(turn, answer=turn.answer + delta.text)
        self.turns[-1] = turn = self._begun(turn)
        self.recorder.grow(turn.answer_id, turn.answer, turn.thinking)
        return delta

    def _begun(self, turn: Turn) -> Turn:
        if turn.answer_id is not None or not (turn.answer or turn.thinking):
            return turn
        answer_id = self.recorder.begin_answer(self.model, self._sampling, self._loading.fingerprint())
        return replace(turn, answer_id=answer_id)

    def _settle(self, finished: Finished | None, *, is_stopped: bool) -> None:
        """Keep the answer as it is now. Stopped, it has no counts; failed, it stays unfinished."""
        turn = self.turns[-1]
        self._is_evaluated = is_stopped or finished is not None
        self._used = None
        if finished is not None:
            if finished.reason == "stop" and not self.model.is_chat:
                turn = replace(turn, answer=turn.answer.rstrip())
            usage = finished.usage
            self.total += usage
            turn = replace(turn, finish_reason=finished.reason, usage=usage, timings=finished.timings)
            self._used = usage.prompt_tokens + usage.completion_tokens
        elif is_stopped:
            turn = replace(turn, finish_reason="cancelled", usage=None, timings=None)
        else:
            self.recorder.flush()
            return
        self.turns[-1] = turn
        self.recorder.finish(turn)

    # --------------------------------------------------------------------------------------- store

    def _check_turns(self, fact: str) -> None:
        if not self.turns:
            raise UsageError(fact)

    def _take_back(self, last_id: int | None) -> None:
        self._used = None if self.turns else 0
        self.recorder.take_back(last_id)

    def _state(self) -> Mapping[str, Any]:
        sampling, thinking = self.settings.sampling, self.settings.thinking
        return state_of(self.turns, self.start, self.summary, sampling, thinking=thinking)

    def _keep_state(self) -> None:
        self.recorder.set_state(self.model_spec, self.settings.system, self._state())
