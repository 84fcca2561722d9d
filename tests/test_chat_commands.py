"""Slash commands, each as a user would use it, on a terminal in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gptcli.chat.commands import BY_NAME, COMMANDS
from gptcli.chat.completion import offers
from gptcli.chat.dialog import ViewSettings, meter_text
from gptcli.chat.text_commands import code_blocks, open_fence
from gptcli.engine.api import Delta, Generate, ModelInfo
from gptcli.engine.scripted import Reply
from gptcli.errors import EngineCrashedError
from tests.chat_dialog import CHAT_MODEL, Chat


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    monkeypatch.chdir(tmp_path)
    made = Chat(tmp_path, [f"answer {n}" for n in range(9)])
    yield made
    assert made.store is not None
    made.store.close()


def asked(chat: Chat) -> list[str]:
    """Return the last message of each request for an answer."""
    return [
        getattr(each.prompt, "messages")[-1].content  # noqa: B009
        for each in chat.engine.requests
        if isinstance(each, Generate)
    ]


def test_names_are_unique_and_every_command_says_what_it_does() -> None:
    names = [name for command in COMMANDS for name in (command.name, *command.aliases)]

    assert len(names) == len(set(names)) == len(BY_NAME)
    assert all(command.help[-1] in ".…" for command in COMMANDS)


def test_help_names_every_command_and_fits(tmp_path: Path) -> None:
    for columns in (40, 80):
        chat = Chat(tmp_path, columns=columns, is_kept=False)
        chat.run("/help")
        assert all(f"/{name}" in chat.text for name in BY_NAME)
        assert max(map(len, chat.text.splitlines())) <= columns


def test_help_of_one_command(chat: Chat) -> None:
    chat.run("/help undo", "/help nonsense")

    assert "Take back the last turn" in chat.text
    assert "/retry" not in chat.text
    assert "there is no command /nonsense" in chat.text


def test_an_unknown_command_is_refused_with_the_nearest_and_never_sent(chat: Chat) -> None:
    chat.run("/contxt", "/usr/bin/python is what?")

    assert "there is no command /contxt" in chat.text
    assert "try: /context, or //contxt to send it to the model" in chat.text
    assert "/usr/bin/python" in chat.text
    assert asked(chat) == []


def test_a_literal_slash(chat: Chat) -> None:
    chat.run("//usr is what?")

    assert asked(chat) == ["/usr is what?"]


@pytest.mark.parametrize("word", ["/exit", "/bye", "/quit", "exit", "quit"])
def test_ways_out(chat: Chat, word: str) -> None:
    chat.run(word, "never read")

    assert asked(chat) == []


def test_retry_continue_and_undo(chat: Chat) -> None:
    chat.run("hello", "/retry", "/continue", "/undo", "/undo", "/retry")

    assert asked(chat) == ["hello", "hello"]
    assert "answer 1" in chat.text
    assert "the answer is complete" in chat.text
    assert "taken back: hello" in chat.text
    assert "cannot take back 1: this chat has 0 turns" in chat.text
    assert "there is nothing to ask again" in chat.text


def test_an_answer_cut_by_the_limit_offers_to_go_on(tmp_path: Path) -> None:
    chat = Chat(tmp_path, ["one two three four", " three four"], is_kept=False)
    chat.run("/set max_tokens 2", "count", "/set max_tokens default", "/continue")

    assert "cut after 2 tokens; /continue goes on" in chat.text
    assert chat.session.turns[0].answer == "one two three four"


def test_edit_puts_the_message_on_the_line_and_replaces_it(chat: Chat) -> None:
    reader = chat.run("one", "two", "/edit 1", "uno", "/edit", None, "three", "/edit 9")

    assert reader.prefills[3] == "one"
    assert reader.prefills[5] == "uno"
    assert [turn.text for turn in chat.session.turns] == ["uno", "three"]
    assert "1 later turn will be taken back" in chat.text
    assert "nothing was edited" in chat.text
    assert "there is no message 9: this chat has 2 turns" in chat.text


def test_fork_list_load_save_search(chat: Chat) -> None:
    chat.run("the first question", "/save my title")
    first = chat.session.recorder.cid
    chat.run("/fork", "only in the copy", "/new", "another chat", "/load my title", "/list")

    assert first is not None
    assert f"{first} stays as it is" in chat.text
    assert chat.session.recorder.cid is not None
    chat.run(f"/load {first}", "/search COPY")
    assert [turn.text for turn in chat.session.turns] == ["the first question"]
    assert chat.flat.endswith("only in the copy")


def test_load_of_a_chat_that_is_not_there(chat: Chat) -> None:
    chat.run("hello", "/load", "/load zzzz")

    assert "/load needs the id or the title of a chat" in chat.text
    assert "zzzz" in chat.text
    assert [turn.text for turn in chat.session.turns] == ["hello"]


def test_clear_keeps_the_system_prompt_and_new_does_not(chat: Chat) -> None:
    chat.run("/system Be brief.", "hello", "/clear", "again", "/new", "and again", "/system")

    first, second, third = (
        [message.role for message in getattr(each.prompt, "messages")]  # noqa: B009
        for each in chat.engine.requests
        if isinstance(each, Generate)
    )
    assert (first, second, third) == (["system", "user"], ["system", "user"], ["user"])
    assert "there is no system prompt" in chat.text
    assert chat.store is not None
    assert len(chat.store.summaries()) == 3


def test_compact_shows_the_summary(chat: Chat) -> None:
    chat.run("one", "two", "/compact")

    assert chat.session.summary == "answer 2"
    assert "answer 2" in chat.text


def test_files_go_with_the_next_message(chat: Chat, tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "with space.txt"):
        (tmp_path / name).write_text(f"content of {name}", encoding="utf-8")
    chat.run('/read a.py "with space.txt"', "what is it?", "and now?", "/glob *.py", "")

    with_files, without, only_files = asked(chat)
    assert with_files.startswith('what is it?\n\n<document name="a.py">\ncontent of a.py\n</document>')
    assert '<document name="with space.txt">' in with_files
    assert without == "and now?"
    assert only_files.count("<document") == 2
    assert "a.py: 15 characters go with the next message" in chat.text


def test_files_that_cannot_be_sent(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "good.txt").write_text("text", encoding="utf-8")
    chat.run(
        *("/read", "/read photo.png", "/read missing.txt", "/read empty.txt"),
        *("/glob", "/glob *.none", "/glob *", "/image photo.png"),
    )

    for fact in (
        "/read needs a file",
        '"photo.png" is not UTF-8 text',
        'cannot read "missing.txt"',
        '"empty.txt" is empty',
        "/glob needs a pattern",
        "no file matches *.none",
        "scripted has no eyes",
    ):
        assert fact in chat.flat
    assert [document.name for document in chat.dialog.attached] == ["good.txt"]
    assert asked(chat) == []


def test_a_file_larger_than_the_window(tmp_path: Path) -> None:
    info = ModelInfo(name="scripted", context_length=50, context_limit=50, chat_template="x")
    chat = Chat(tmp_path, ["answer"], info=info)
    (tmp_path / "long.txt").write_text("word " * 100, encoding="utf-8")
    reader = chat.run(f"/read {tmp_path}/long.txt", "what is it?", "hello")

    assert reader.prefills[2] == "what is it?"
    assert "this message has 10" in chat.text
    assert "the context window holds 50" in chat.text
    assert [turn.text for turn in chat.session.turns] == ["hello"]
    assert chat.store is not None
    chat.store.close()


# ----------------------------------------------------------------------------------------- settings


def test_set(chat: Chat) -> None:
    chat.run(
        *("/set temperature 0.5", "/set parameter num_predict 20", "/set Top-K 3", "/set stop END"),
        *("/set thinking off", "/set verbose", "/set vi on", "/set system Be brief.", "/set"),
    )

    settings = chat.session.settings
    sampling = settings.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.top_k) == (0.5, 20, 3)
    assert (settings.stop, settings.thinking, settings.system) == (("END",), False, "Be brief.")
    assert chat.dialog.view.verbose
    assert "top_p" in chat.text
    assert "default (0.95)" in chat.text
    chat.run("/set temperature default", "/set stop none", "/set nothink", "/set think", "/set quiet")
    assert chat.session.settings.sampling.temperature is None
    assert chat.session.settings.stop == ()
    assert chat.session.settings.thinking
    assert not chat.dialog.view.verbose


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("/set temprature 1", "try: /set temperature"),
        ("/set temperature", "/set temperature needs a value"),
        ("/set temperature hot", "temperature is a number or default, not 'hot'"),
        ("/set temperature nan", "between 0 and 10"),
        ("/set top_k 1.5", "top_k is a whole number or default"),
        ("/set top_p 7", "between 0 and 1"),
        ("/set seed -1", "must be at least 0"),
        ("/set thinking loud", "thinking is show, fold, hide or off"),
        ("/set verbose maybe", "verbose is on or off"),
        ("/set logit_bias x", "there is no setting logit_bias"),
        ("/show nonsense", "cannot show nonsense"),
        ("/undo zero", "'zero' is not a number from 1"),
        ("/undo 0", "'0' is not a number from 1"),
        ("/save", "/save needs a title"),
        ("/export", "/export needs a file"),
        ("/stats", "there is no answer to tell of yet"),
        ("/copy", "there is no answer yet"),
        ("/code", "there is no answer yet"),
        ("/model nonsense", 'model "nonsense" is not known'),
        ("/search", "there is nothing to search for"),
    ],
)
def test_nonsense_is_refused_and_the_chat_goes_on(chat: Chat, line: str, fact: str) -> None:
    chat.run(line, "hello")

    assert fact in chat.flat
    assert asked(chat) == ["hello"]


def test_show_context_stats_and_model(chat: Chat) -> None:
    chat.run("hello there", "/show", "/show system", "/show template", "/context", "/stats", "/model")

    for fact in ("scripted", "{# any #}", "4,096 tokens", "messages", "free", "in all:"):
        assert fact in chat.text
    assert meter_text(chat.session) == "0% of 4,096"


def test_stats_of_a_stopped_answer_claim_no_counts(chat: Chat) -> None:
    with closing(chat.session.ask("hello there")) as events:
        next(event for event in events if isinstance(event, Delta))
    chat.run("/stats", "and then?", "/stats")

    assert "the last answer was stopped: its tokens are not counted" in chat.text
    assert [line for line in chat.text.splitlines() if "in all" in line] == [
        "in all: 0 prompt tokens (0 cached), 0 written",
        "in all: 8 prompt tokens (0 cached), 2 written",
    ]


def test_the_window_is_shown_as_bars(chat: Chat) -> None:
    chat.run("word " * 1232, "/context")

    bars = [line.split()[-1] for line in chat.text.splitlines() if "%" in line and "█" in line]
    assert bars == ["█" * 7 + "▎", "█" * 16 + "▊"]  # of 24


def test_another_model_answers_from_now_on(chat: Chat) -> None:
    chat.run("hello", "/model qwen", "and now?")

    assert chat.session.model_spec == "qwen"
    assert chat.store is not None
    assert chat.session.recorder.cid is not None
    assert chat.store.load(chat.session.recorder.cid).model == "qwen"


# -------------------------------------------------------------------------------------------- texts

CODE = "Look:\n\n```python\nprint(1)\n```\n\nand\n\n~~~\nplain\n~~~\n\n````\n```\n````\n"


def test_code_blocks() -> None:
    assert code_blocks(CODE) == ["print(1)\n", "plain\n", "```\n"]
    assert code_blocks("none") == []
    assert code_blocks("```\nunfinished") == ["unfinished"]


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        ("```python\nx = 1", "```python\n"),
        ("```python\nx = 1\n```\n", ""),
        ("```\na\n```\n\n~~~ c\nb\n", "~~~ c\n"),
        ("plain", ""),
    ],
)
def test_the_rest_of_a_code_block_is_shown_as_code(text: str, fence: str) -> None:
    assert open_fence(text) == fence


def test_code_is_printed_or_written(tmp_path: Path) -> None:
    chat = Chat(tmp_path, [CODE], is_kept=False)
    target = tmp_path / "out.py"
    chat.run("hello", "/code 9", f"/code 1 {target}", f"/code 1 {target}", "/code 2")

    assert target.read_text(encoding="utf-8") == "print(1)\n"
    assert "there is no code block 9: the answer has 3" in chat.text
    assert "istherealready" in chat.flat.replace(" ", "")  # a long path is cut anywhere
    assert chat.text.splitlines()[-1] == "plain"


def test_copy_asks_the_terminal_where_there_is_no_desktop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    chat = Chat(tmp_path, [CODE], is_kept=False)
    chat.run("hello", "/copy code", "/copy that")

    assert "\x1b]52;c;YGBgCg==\x07" in chat.terminal.sent
    assert "copied 4 characters" in chat.text
    assert "cannot copy 'that'" in chat.text


@pytest.mark.parametrize("is_kept", [True, False])
def test_export(tmp_path: Path, is_kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chat = Chat(tmp_path, ["answer 0"], is_kept=is_kept)
    names = ("chat.md", "chat.json", "chat.html", "chat.md")
    chat.run("hello", *(f"/export {name}" for name in names))

    assert "is there already" in chat.flat
    assert "answer 0" in (tmp_path / "chat.md").read_text(encoding="utf-8")
    (exported,) = json.loads((tmp_path / "chat.json").read_text(encoding="utf-8"))
    assert [message["text"] for message in exported["messages"]] == ["hello", "answer 0"]
    assert "<html" in (tmp_path / "chat.html").read_text(encoding="utf-8")
    if chat.store is not None:
        chat.store.close()


def test_export_to_the_home_of_nobody(chat: Chat) -> None:
    chat.run("hello", "/export ~nobody-at-all/chat.md", "and then?")

    assert "cannot write ~nobody-at-all/chat.md" in chat.flat
    assert asked(chat) == ["hello", "and then?"]


def test_without_a_store_what_needs_one_says_so(tmp_path: Path) -> None:
    chat = Chat(tmp_path, ["answer"], is_kept=False)
    chat.run("hello", "/list", "/save title", "/fork", "/load x", "/search x")

    assert chat.text.count("gptcli logs on") == 5


# ------------------------------------------------------------------------------------------- answers


def test_a_dead_engine_is_one_line_and_the_turn_can_be_asked_again(tmp_path: Path) -> None:
    crash = Reply(error=EngineCrashedError("the engine was ended by SIGKILL", hint="a smaller model"))
    chat = Chat(tmp_path, [crash, "back again"])
    chat.run("hello", "/retry")

    assert "gptcli: the engine was ended by SIGKILL" in chat.text
    assert "the engine starts again; /retry asks again" in chat.text
    assert "back again" in chat.text
    assert [turn.text for turn in chat.session.turns] == ["hello"]
    assert chat.store is not None
    chat.store.close()


def test_thinking_is_shown_folded_or_hidden(tmp_path: Path) -> None:
    shown = {}
    for mode in ("show", "fold", "hide"):
        reply = Reply(text="Forty-two.", thinking="Let me think.")
        chat = Chat(tmp_path, [reply], is_kept=False, view=ViewSettings())
        chat.run(f"/set thinking {mode}", "hello", "/show thinking" if mode == "fold" else "/stats")
        shown[mode] = chat.text.partition(mode)[2]

    assert "Let me think." in shown["show"]
    assert "thought for 0 s, 3 words" in shown["fold"]
    assert shown["fold"].index("Forty-two.") < shown["fold"].index("Let me think.")
    assert "think" not in shown["hide"].replace("thinking =", "")


def test_the_hint_to_leave(chat: Chat) -> None:
    chat.run(None)

    assert "Ctrl-D or /bye ends the chat." in chat.text


# ------------------------------------------------------------------------------------------ completion


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("/co", ["/continue", "/compact", "/copy", "/code", "/context"]),
        ("/nothing", []),
        ("hello /co", []),
        ("//co", []),
        ("/help un", ["undo"]),
        ("/set temp", ["temperature"]),
        ("/set temperature 1", []),
        ("/show t", ["template", "thinking"]),
        ("/model g", ["gemma"]),
        ("/model mod", ["models/", "model.gguf"]),
        ("/read a", ["a.py"]),
        ("/read a.py mo", ["model.gguf", "models/"]),
        ("/read models/", ["models/q.gguf"]),
        ("/read .h", [".hidden"]),
        ("/read nowhere/", []),
        ("/read ~nobody-of-this-name/", []),
    ],
)
def test_completion(chat: Chat, tmp_path: Path, before: str, expected: list[str]) -> None:
    (tmp_path / "models").mkdir()
    for name in ("a.py", "model.gguf", "models/q.gguf", ".hidden"):
        (tmp_path / name).write_text("x", encoding="utf-8")

    assert sorted(offer.text for offer in offers(chat.dialog, before)) == sorted(expected)


def test_completion_of_chats(chat: Chat) -> None:
    chat.run("something about whales")
    (offer,) = offers(chat.dialog, "/load whal")

    assert (offer.text, offer.length) == (chat.session.recorder.cid, 4)
    assert CHAT_MODEL.is_chat
