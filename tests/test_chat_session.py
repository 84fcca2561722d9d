"""The chat session on the scripted engine: turns, the window, what is kept, what fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gptcli.chat.recorder import Recorder
from gptcli.chat.session import ChatEvents, Session
from gptcli.chat.turns import ChatSettings
from gptcli.chat.window import TurnsLeft
from gptcli.engine.api import Delta, Finished, FinishReason, Generate, ModelInfo, Usage
from gptcli.engine.scripted import ScriptedEngine
from gptcli.errors import ContextOverflowError, EngineCrashedError, StorageError, UsageError
from gptcli.messages import Conversation, Message
from gptcli.prompts.compose import Document
from gptcli.sampling import SamplingParams
from gptcli.store.conversations import Conversations

CHAT_MODEL = ModelInfo(
    name="scripted", context_length=4096, context_limit=4096, chat_template="{# any #}"
)


def model(window: int = 4096, *, is_chat: bool = True) -> ModelInfo:
    template = "{# any #}" if is_chat else None
    return ModelInfo(
        name="scripted", context_length=window, context_limit=window, chat_template=template
    )


class Chat:
    """A session with what tests look at: the engine, the store, what went wrong with it."""

    def __init__(self, path: Path, info: ModelInfo = CHAT_MODEL, *, system: str = "") -> None:
        self.engine = ScriptedEngine(model=info)
        self.store = Conversations(path / "chats.db")
        self.failures: list[str] = []
        self.session = Session(
            lambda: self.engine,
            "scripted",
            Recorder(self.store, self.failures.append),
            ChatSettings(system=system),
        )

    def say(
        self,
        text: str,
        answer: str,
        *documents: Document,
        thinking: str = "",
        finish_reason: FinishReason = "stop",
    ) -> list[object]:
        self.engine.reply(answer, thinking=thinking, finish_reason=finish_reason)
        return list(self.session.ask(text, documents))

    @property
    def prompt(self) -> tuple[tuple[str, str], ...]:
        """The messages of the last request for an answer."""
        prompt = self.request.prompt
        assert isinstance(prompt, Conversation)
        return tuple((message.role, message.content) for message in prompt.messages)

    @property
    def request(self) -> Generate:
        return [each for each in self.engine.requests if isinstance(each, Generate)][-1]

    @property
    def stored(self) -> list[tuple[str, str, str | None]]:
        assert self.session.recorder.cid is not None
        messages = self.store.load(self.session.recorder.cid).messages
        return [(each.role, each.text, each.finish_reason) for each in messages]


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[Chat]:
    made = Chat(tmp_path)
    yield made
    made.store.close()


def stop_after(events: ChatEvents, deltas: int) -> None:
    """Close an answer after so many deltas, as Ctrl-C does."""
    with closing(events):
        for event in events:
            deltas -= isinstance(event, Delta)
            if not deltas:
                return


def test_each_prompt_begins_with_the_one_before(chat: Chat) -> None:
    chat.say("Hello", "Hi!")
    first = chat.prompt
    chat.say("And you?", "Fine.")

    assert chat.prompt == (*first, ("assistant", "Hi!"), ("user", "And you?"))


def test_a_message_is_kept_before_the_model_is_asked(chat: Chat) -> None:
    chat.engine.fail(EngineCrashedError("boom"))
    events = chat.session.ask("Hello")

    assert chat.stored == [("user", "Hello", None)]
    with pytest.raises(EngineCrashedError):
        list(events)
    assert chat.stored == [("user", "Hello", None)]


def test_a_turn_whose_answer_failed_can_be_asked_again(chat: Chat) -> None:
    chat.engine.fail(EngineCrashedError("boom"))
    with pytest.raises(EngineCrashedError):
        list(chat.session.ask("Hello"))
    chat.engine.reply("Hi!")

    list(chat.session.retry())

    assert chat.prompt == (("user", "Hello"),)
    assert chat.stored == [("user", "Hello", None), ("assistant", "Hi!", "stop")]


def test_a_message_without_an_answer_goes_with_the_next(chat: Chat) -> None:
    chat.engine.fail(EngineCrashedError("boom"))
    with pytest.raises(EngineCrashedError):
        list(chat.session.ask("Hello"))

    chat.say("Are you there?", "Yes.")

    assert chat.prompt == (("user", "Hello\n\nAre you there?"),)


def test_a_stopped_answer_is_kept_as_far_as_it_came(chat: Chat) -> None:
    chat.engine.reply("one two three four")

    stop_after(chat.session.ask("Count"), 2)

    assert chat.stored == [("user", "Count", None), ("assistant", "one two", "cancelled")]
    assert (chat.session.turns[-1].usage, chat.session.total) == (None, Usage())
    chat.say("Go on", "three")
    assert chat.prompt[1:] == (("assistant", "one two"), ("user", "Go on"))


def test_an_answer_that_is_complete_is_not_stopped_any_more(chat: Chat) -> None:
    chat.engine.reply("one two")

    with closing(chat.session.ask("Count")) as events:
        next(event for event in events if isinstance(event, Finished))

    assert chat.stored[-1] == ("assistant", "one two", "stop")
    assert chat.session.total.completion_tokens == 2


def test_an_answer_stopped_before_its_first_word_leaves_the_question(chat: Chat) -> None:
    chat.engine.reply("one")
    with closing(chat.session.ask("Count")) as events:
        next(events)

    assert chat.stored == [("user", "Count", None)]
    assert chat.session.turns[-1].answer == ""


def test_a_cut_answer_goes_on(chat: Chat) -> None:
    chat.say("Count", "one two", finish_reason="length")
    chat.engine.reply(" three")

    list(chat.session.resume())

    assert chat.prompt == (("user", "Count"), ("assistant", "one two"))
    assert chat.stored == [("user", "Count", None), ("assistant", "one two three", "stop")]
    with pytest.raises(UsageError, match="complete"):
        chat.session.resume()


def test_a_retry_takes_the_answer_back_and_draws_another_seed(chat: Chat) -> None:
    chat.session.change(ChatSettings(sampling=SamplingParams(seed=7)))
    chat.say("Hello", "Hi!")
    first = chat.request
    chat.engine.reply("Good day!")

    list(chat.session.retry())

    assert chat.request.prompt == first.prompt
    assert (first.sampling.seed, chat.request.sampling.seed) == (7, 8)
    assert chat.stored == [("user", "Hello", None), ("assistant", "Good day!", "stop")]
    assert chat.session.recorder.cid is not None
    every = chat.store.load(chat.session.recorder.cid, with_removed=True).messages
    assert [each.text for each in every if each.is_removed] == ["Hi!"]


def test_undo_and_edit(chat: Chat) -> None:
    for number in range(3):
        chat.say(f"question {number}", f"answer {number}")
    chat.engine.reply("another answer")

    list(chat.session.edit(1, "another question"))

    assert chat.stored == [
        ("user", "question 0", None),
        ("assistant", "answer 0", "stop"),
        ("user", "another question", None),
        ("assistant", "another answer", "stop"),
    ]
    assert [turn.text for turn in chat.session.undo(2)] == ["question 0", "another question"]
    assert chat.stored == []
    with pytest.raises(UsageError, match="this chat has 0 turns"):
        chat.session.undo()


def test_a_fork_leaves_the_original_as_it_is(chat: Chat) -> None:
    chat.say("Hello", "Hi!")
    original = chat.session.fork()
    chat.say("In the copy", "Yes.")

    assert original is not None
    assert original != chat.session.recorder.cid
    assert len(chat.stored) == 4
    assert len(chat.store.load(original).messages) == 2


def test_attachments_are_delimited_blocks(chat: Chat) -> None:
    chat.say("Compare.", "Done.", Document("one\n", "a.txt"), Document("two", "b.txt"))

    assert chat.prompt == (
        (
            "user",
            'Compare.\n\n<document name="a.txt">\none\n</document>\n\n'
            '<document name="b.txt">\ntwo\n</document>',
        ),
    )


def test_a_base_model_gets_a_transcript_that_only_grows(tmp_path: Path) -> None:
    chat = Chat(tmp_path, model(is_chat=False))
    chat.say("Hello", " Hi there.\n\nUser: what the model invents")
    first = chat.request
    chat.say("And you?", " Fine.")

    assert isinstance(first.prompt, str)
    assert isinstance(chat.request.prompt, str)
    assert chat.session.turns[0].answer == "Hi there."
    assert chat.request.prompt == f"{first.prompt} Hi there.\n\nUser: And you?\n\nAssistant:"
    assert first.sampling.max_tokens == 256
    chat.store.close()


# ----------------------------------------------------------------------------------------- the window


def test_the_oldest_turns_leave_a_full_window_and_it_is_said(tmp_path: Path) -> None:
    chat = Chat(tmp_path, model(window=100), system="Be brief.")
    events = [event for n in range(6) for event in chat.say(f"q{n} " + "w " * 10, "a " * 10)]

    left = [event for event in events if isinstance(event, TurnsLeft)]
    gone = sum(event.count for event in left)
    assert left
    assert chat.prompt[0] == ("system", "Be brief.")
    asked = [content[:2] for role, content in chat.prompt if role == "user"]
    assert asked == [f"q{n}" for n in range(gone, 6)]
    assert len(asked) > 1
    assert len(chat.stored) == 12
    chat.store.close()


def test_what_left_stays_away_when_the_chat_is_continued(tmp_path: Path) -> None:
    chat = Chat(tmp_path, model(window=100))
    for n in range(6):
        chat.say(f"q{n} " + "w " * 10, "a " * 10)
    cid, prompt = chat.session.recorder.cid, chat.prompt
    chat.store.close()

    again = Chat(tmp_path, model(window=100))
    assert cid is not None
    again.session.load(again.store.load(cid))
    again.engine.reply("x")
    list(again.session.retry())

    assert again.prompt == prompt
    again.store.close()


def test_a_message_larger_than_the_window_is_taken_back(tmp_path: Path) -> None:
    chat = Chat(tmp_path, model(window=100))
    chat.say("short", "yes")

    with pytest.raises(ContextOverflowError, match="this message has 201 tokens"):
        list(chat.session.ask("x " * 200))

    assert [turn.text for turn in chat.session.turns] == ["short"]
    assert len(chat.stored) == 2
    chat.store.close()


def test_a_summary_replaces_the_older_turns(chat: Chat) -> None:
    for n in range(3):
        chat.say(f"question {n}", f"answer {n}")
    chat.engine.reply("They talked.")

    list(chat.session.compact())
    chat.say("next", "yes")

    assert chat.prompt == (
        ("system", "Summary of the conversation so far:\nThey talked."),
        ("user", "question 2"),
        ("assistant", "answer 2"),
        ("user", "next"),
    )
    assert len(chat.stored) == 8
    chat.session.undo(4)
    assert chat.session.summary == ""


def test_the_summary_of_a_base_model_is_its_first_paragraph(tmp_path: Path) -> None:
    chat = Chat(tmp_path, model(is_chat=False))
    for n in range(2):
        chat.say(f"question {n}", f"answer {n}")
    chat.engine.reply("\n\nThey talked.\n\nThe end of a book")

    list(chat.session.compact())

    assert chat.session.summary == "They talked."
    assert isinstance(chat.request.prompt, str)
    assert chat.request.prompt.endswith("Summary of the conversation between User and Assistant:")
    chat.store.close()


def test_there_must_be_something_to_summarize(chat: Chat) -> None:
    chat.say("question", "answer")

    with pytest.raises(UsageError, match="nothing to summarize"):
        list(chat.session.compact())


def test_the_parts_of_the_window_sum_up_to_it(chat: Chat) -> None:
    chat.session.change(ChatSettings(system="Be brief."))
    chat.say("Compare.", "Done.", Document("one two three", "a.txt"))

    parts = chat.session.measure()

    assert (parts["system"], parts["files"]) == (2, 3)
    assert sum(parts.values()) == 4096


# ------------------------------------------------------------------------------------------ the store


def test_a_chat_goes_on_in_another_process(tmp_path: Path) -> None:
    chat = Chat(tmp_path, system="Be brief.")
    chat.session.change(
        ChatSettings(system="Be kind.", sampling=SamplingParams(top_k=5), thinking=False)
    )
    chat.say("Hello", "Hi!", Document("text", "a.txt"), thinking="hm")
    turns = chat.session.turns
    cid = chat.store.last()
    chat.store.close()

    again = Chat(tmp_path)
    assert cid is not None
    again.session.load(again.store.load(cid))

    assert again.session.turns == turns
    assert again.session.settings == ChatSettings(
        system="Be kind.", sampling=SamplingParams(top_k=5), thinking=False
    )
    again.store.close()


def test_a_store_that_refuses_is_said_once_and_the_chat_goes_on(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.say("Hello", "Hi!")

    def refuse(*args: object, **more: object) -> None:
        raise StorageError("the disk is full")

    for name in ("add", "finish", "begin"):
        monkeypatch.setattr(chat.store, name, refuse)
    for _ in range(2):
        chat.say("More", "Yes.")

    assert chat.failures == ["the disk is full"]
    assert [turn.answer for turn in chat.session.turns] == ["Hi!", "Yes.", "Yes."]


def test_without_a_store_all_works(tmp_path: Path) -> None:
    engine = ScriptedEngine(model=CHAT_MODEL)
    session = Session(lambda: engine, "scripted", Recorder(None, pytest.fail), ChatSettings())
    for n in range(3):
        engine.reply(f"answer {n}")
        assert isinstance(list(session.ask(f"question {n}"))[-1], Finished)
    session.undo()

    assert [each.text for each in session.as_stored().messages] == [
        "question 0",
        "answer 0",
        "question 1",
        "answer 1",
    ]
    assert session.fork() is None
    session.new()
    assert session.turns == []


def test_thinking_is_kept_apart_and_not_sent_back(chat: Chat) -> None:
    chat.say("Hello", "Hi!", thinking="What do they want?")
    chat.say("More", "Yes.")

    assert chat.session.turns[0].thinking.strip() == "What do they want?"
    assert chat.prompt[1] == ("assistant", "Hi!")


def test_a_model_that_does_not_load_is_tried_again() -> None:
    engine = ScriptedEngine(model=CHAT_MODEL)
    attempts: list[Exception | None] = [UsageError("no memory"), None]

    def open_engine() -> ScriptedEngine:
        error = attempts.pop(0)
        if error is not None:
            raise error
        return engine

    session = Session(open_engine, "scripted", Recorder(None, pytest.fail), ChatSettings())
    with pytest.raises(UsageError, match="no memory"):
        list(session.ask("Hello"))
    engine.reply("Hi!")

    list(session.retry())

    assert session.turns[-1].answer == "Hi!"
    assert Message("user", "Hello") in getattr(engine.requests[-1], "prompt").messages  # noqa: B009
