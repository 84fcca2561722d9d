"""/read and /ask: answers from documents within a chat, as turns of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from gptcli.chat.asking import answer_from
from gptcli.chat.repl import PromptReader
from gptcli.documents.passages import Passage, Source
from gptcli.engine.api import Generate, Score
from gptcli.engine.scripted import Reply
from gptcli.errors import EngineCrashedError, GptcliError
from gptcli.messages import Conversation
from gptcli.tasks.ask import ask
from tests.chat_dialog import CHAT_MODEL, Chat
from tests.rule_engine import RuleEngine, favouring

LEASE = (
    "The lease begins on 1 May 2021 and ends on\n30 April 2026. The tenant pays 900 euros a month.\n\n"
    "Pets are not allowed.\n"
)
QUOTE = "The lease begins on 1 May 2021 and ends on 30 April 2026."
END = "When does the lease end?"


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    monkeypatch.chdir(tmp_path)
    Path("lease.txt").write_text(LEASE)
    made = Chat(tmp_path)
    replies = [Reply(text=f"answer {n}") for n in range(3)]
    made.engine = RuleEngine(favouring("30 April 2026", "900 euros"), replies, model=CHAT_MODEL)
    yield made
    assert made.store is not None
    made.store.close()


def prefixes(chat: Chat) -> list[str]:
    return [str(each.prefix) for each in chat.engine.requests if isinstance(each, Score)]


def messages(chat: Chat) -> list[str]:
    """Return what the messages of the last request for an answer say."""
    request = [each for each in chat.engine.requests if isinstance(each, Generate)][-1]
    assert isinstance(request.prompt, Conversation)
    return [message.content for message in request.prompt.messages]


def test_an_answer_from_a_document_is_a_turn_with_its_quote(chat: Chat) -> None:
    passage = Passage(Source("lease.txt", LEASE), 0, len(LEASE), 1)
    answer = answer_from(chat.session, END, lambda engine: ask(engine, END, [passage]))

    (turn,) = chat.session.turns
    assert answer.text == "30 April 2026"
    assert (turn.text, turn.finish_reason) == (END, "stop")
    assert turn.answer == f"30 April 2026\n\n> {QUOTE} (lease.txt:1)"
    assert chat.store is not None
    assert chat.session.recorder.cid is not None
    question, kept = chat.store.load(chat.session.recorder.cid).messages
    assert (question.text, kept.text, kept.finish_reason) == (END, turn.answer, "stop")


def test_read_then_ask_shows_the_answer_and_its_quote(chat: Chat) -> None:
    chat.run("/read lease.txt", f"/ask {END}")

    assert "lease.txt: 116 characters go with the next message; /ask answers from them" in chat.flat
    assert "30 April 2026" in chat.text
    assert "lease.txt:1" in chat.text
    assert "The lease begins on" in chat.text


def test_the_model_reads_what_was_found_and_the_document_with_the_next_message(chat: Chat) -> None:
    chat.run("/read lease.txt", f"/ask {END}", "Write that in French.")

    asked, answered, following = messages(chat)
    assert asked == END
    assert QUOTE in answered
    assert following.startswith("Write that in French.")
    assert "Pets are not allowed." in following


def test_the_second_question_begins_as_the_first_so_that_the_text_is_not_read_again(chat: Chat) -> None:
    chat.run("/read lease.txt", f"/ask {END}", "/ask How much is the rent?")

    readings = [prefix for prefix in prefixes(chat) if "Pets are not allowed." in prefix]
    first, second = (prefix.removesuffix("\nAnswer:").rpartition("\n")[0] for prefix in readings[:2])
    assert first == second
    assert len(chat.session.turns) == 2


def test_a_folder_is_a_source_and_is_not_sent(chat: Chat, tmp_path: Path) -> None:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "fee.txt").write_text("The fee is 900 euros.\n")
    chat.run("/read papers", "/ask How much is the fee?", "hello")

    assert "papers: /ask answers from the files in it" in chat.text
    assert "papers/fee.txt:1" in chat.text
    assert messages(chat)[-1] == "hello"


def test_a_document_is_read_as_it_is_now(chat: Chat) -> None:
    chat.run("/read lease.txt")
    Path("lease.txt").write_text("The tenant pays 900 euros.")
    chat.run("/ask How much is the rent?")

    assert chat.session.turns[0].answer == "900 euros\n\n> The tenant pays 900 euros. (lease.txt:1)"


def test_not_found_is_said_plainly(chat: Chat) -> None:
    Path("dots.txt").write_text("… — …\n")
    chat.run("/read dots.txt", "/ask Who signed it?")

    assert "Not found in dots.txt." in chat.text
    assert chat.session.turns[0].answer == "Not found in dots.txt."


def test_what_cannot_be_asked(chat: Chat) -> None:
    chat.run("/ask", "/ask Who?", "/read lease.txt", "/new", "/ask Who?")

    assert "/ask needs a question" in chat.text
    assert chat.text.count("nothing was read that could answer") == 2
    assert "try: /read FILE, then /ask QUESTION" in chat.text
    assert chat.session.turns == []


@pytest.mark.parametrize("error", [GptcliError("broken"), EngineCrashedError("died")])
def test_a_question_that_fails_is_taken_back_and_the_chat_goes_on(
    chat: Chat, error: GptcliError
) -> None:
    rule = favouring("30 April 2026")
    failures = [error]

    def failing(prefix: str, continuation: str) -> float:
        if failures:
            raise failures.pop()
        return rule(prefix, continuation)

    chat.engine = RuleEngine(failing, model=CHAT_MODEL)
    chat.run("/read lease.txt", f"/ask {END}", f"/ask {END}")

    assert error.message in chat.text
    assert [turn.text for turn in chat.session.turns] == [END]


def test_ctrl_c_takes_the_question_back(chat: Chat) -> None:
    def interrupted(_prefix: str, _continuation: str) -> float:
        raise KeyboardInterrupt

    chat.engine = RuleEngine(interrupted, model=CHAT_MODEL)
    chat.run("/read lease.txt", f"/ask {END}")

    assert "stopped" in chat.text
    assert chat.session.turns == []


def test_what_documents_answer_is_not_asked_of_the_model_again(chat: Chat) -> None:
    chat.run("/read lease.txt", f"/ask {END}", "/retry", "/continue")

    assert "what documents answer stays the same" in chat.text
    assert "the answer is complete" in chat.text
    assert not any(isinstance(each, Generate) for each in chat.engine.requests)


def test_typed_at_the_prompt(chat: Chat) -> None:
    with create_pipe_input() as pipe:
        reader = PromptReader(chat.dialog, history=None, input=pipe, output=DummyOutput())
        keys = f"/read lease.txt\r/ask {END}\r\x04"
        sender = threading.Thread(target=pipe.send_text, args=(keys,))
        sender.start()
        chat.dialog.run(reader)
        sender.join()

    assert [turn.text for turn in chat.session.turns] == [END]
