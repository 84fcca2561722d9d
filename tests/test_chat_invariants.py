"""Whatever is done with a chat: the store holds what the session holds, and prompts only grow."""

from __future__ import annotations

import tempfile
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gptcli.chat.recorder import Recorder
from gptcli.chat.session import Session
from gptcli.chat.turns import ChatSettings
from gptcli.engine.api import Delta, Generate, ModelInfo
from gptcli.engine.scripted import ScriptedEngine
from gptcli.errors import ContextOverflowError, EngineCrashedError, UsageError
from gptcli.messages import Conversation, Message
from gptcli.prompts.chat import transcript
from gptcli.prompts.compose import Document
from gptcli.store.conversations import Conversations

texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30)
WINDOW = 30  # words: a few turns fill it

actions = st.one_of(
    st.tuples(st.just("ask"), texts, texts),
    st.tuples(st.just("ask with a file"), texts, texts),
    st.tuples(st.just("crash"), texts, texts),
    st.tuples(st.just("stop"), texts, st.integers(1, 3)),
    st.tuples(st.just("cut"), texts, texts),
    st.tuples(st.sampled_from(["retry", "resume", "compact"]), texts, texts),
    st.tuples(st.just("undo"), texts, st.integers(1, 3)),
    st.tuples(st.just("edit"), texts, st.integers(0, 2)),
    st.tuples(st.sampled_from(["fork", "system", "new"]), texts, texts),
)


def act(session: Session, engine: ScriptedEngine, kind: str, text: str, more: str | int) -> None:
    engine._replies.clear()
    if kind == "crash":
        engine.fail(EngineCrashedError("boom"))
    else:
        engine.reply(f"{more} a b c", finish_reason="length" if kind == "cut" else "stop")
    match kind:
        case "ask" | "crash" | "cut":
            list(session.ask(text))
        case "ask with a file":
            list(session.ask(text, [Document("a file", "a.txt")]))
        case "stop":
            with closing(session.ask(text)) as events:
                left = int(more)
                for event in events:
                    left -= isinstance(event, Delta)
                    if not left:
                        break
        case "retry":
            list(session.retry())
        case "resume":
            list(session.resume())
        case "compact":
            list(session.compact())
        case "undo":
            session.undo(int(more))
        case "edit" if int(more) < len(session.turns):
            list(session.edit(int(more), text))
        case "fork":
            session.fork()
        case "system":
            session.change(replace(session.settings, system=text))
        case "new":
            session.new()


@settings(deadline=None, max_examples=60)
@given(st.lists(actions, max_size=12), st.booleans())
def test_the_store_holds_what_the_session_holds(
    steps: list[tuple[str, str, str | int]], is_chat: bool
) -> None:
    info = ModelInfo(
        name="scripted",
        context_length=WINDOW,
        context_limit=WINDOW,
        chat_template="x" if is_chat else None,
    )
    engine = ScriptedEngine(model=info)
    with tempfile.TemporaryDirectory() as directory:
        store = Conversations(Path(directory) / "chats.db")
        failures: list[str] = []

        def new_session() -> Session:
            return Session(lambda: engine, "scripted", Recorder(store, failures.append), ChatSettings())

        session = new_session()
        for kind, text, more in steps:
            with suppress(UsageError, EngineCrashedError, ContextOverflowError):
                act(session, engine, kind, text, more)
            check_prompts(engine)
            if session.recorder.cid is not None:
                stored = store.load(session.recorder.cid)
                ids = [(turn.user_id, turn.answer_id) for turn in session.turns]
                kept = [number for pair in ids for number in pair if number is not None]
                assert [message.id for message in stored.messages] == kept
                again = new_session()
                again.load(stored)
                assert again.turns == session.turns
                assert (again.start, again.summary) == (session.start, session.summary)
                assert again.settings == session.settings
        assert failures == []
        store.close()


def check_prompts(engine: ScriptedEngine) -> None:
    """Users and assistant take turns in every prompt, which fits the window."""
    for request in engine.requests:
        if isinstance(request, Generate) and isinstance(request.prompt, Conversation):
            roles = [message.role for message in request.prompt.messages if message.role != "system"]
            assert roles == [("user", "assistant")[n % 2] for n in range(len(roles))]
    engine.requests.clear()


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.one_of(st.just(""), texts))
def test_each_transcript_begins_with_the_one_before(turns: list[tuple[str, str]], system: str) -> None:
    messages = [Message("system", system)] if system else []
    before = ""
    for question, answer in turns:
        messages.append(Message("user", question))
        prompt = transcript(messages)
        assert prompt.startswith(before)
        messages.append(Message("assistant", answer))
        before = f"{prompt} {answer}"
        assert transcript(messages) == before
