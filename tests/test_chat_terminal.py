"""`gptcli chat` in a real terminal: a pseudo-terminal, and its screen."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from gptcli.store.conversations import Conversations
from tests.screen import Screen

Script = Callable[..., str]
CHAT = {"chat_template": "x"}
PROMPT = ">>>"  # without its space, which the screen trims
STORY = "Once upon a time there was a keeper. " * 40


class Terminal:
    """The command on a pseudo-terminal, and the screen that it draws on."""

    def __init__(self, arguments: list[str], columns: int, lines: int, env: Mapping[str, str]) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "gptcli", *arguments],
            dimensions=(lines, columns),
            env={**os.environ, **env},
            timeout=30,
        )
        self.child.delaybeforesend = None
        self.screen = Screen(columns, lines)

    def type(self, keys: str) -> None:
        self.child.send(keys)

    def wait_for(self, condition: Callable[[str], bool], timeout_s: float = 20) -> str:
        """Draw until the text of the screen, its scrollback included, is so; return it."""
        give_up = time.monotonic() + timeout_s
        while not condition(self.screen.text):
            assert time.monotonic() < give_up, f"the screen is:\n{self.screen.text}"
            try:
                data = self.child.read_nonblocking(65536, timeout=0.2)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                assert condition(self.screen.text), f"ended with:\n{self.screen.text}"
                break
            for _ in range(data.count(b"\x1b[6n")):  # where the cursor is: terminals answer
                x, y = self.screen.cursor
                self.child.send(f"\x1b[{y + 1};{x + 1}R")
            self.screen.feed(data)
        return self.screen.text

    def wait_for_prompt(self, count: int) -> str:
        return self.wait_for(lambda text: text.count(PROMPT) >= count)

    def end(self) -> int | None:
        """Leave; return the exit status."""
        self.type("\x04")
        self.child.expect(pexpect.EOF)
        self.child.close()
        status: int | None = self.child.exitstatus
        return status


@contextmanager
def terminal(
    *arguments: str, columns: int = 80, lines: int = 30, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    made = Terminal(list(arguments), columns, lines, env or {})
    try:
        yield made
    finally:
        made.child.close(force=True)


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_a_question_and_its_answer(script: Script, columns: int) -> None:
    answer = (
        "# A title\n\nSome **bold** words.\n\n```python\nprint('hi')\n```\n\n日本語の文 and the end."
    )
    with terminal("chat", "-m", script(answer, model=CHAT), columns=columns) as chat:
        chat.wait_for_prompt(1)
        chat.type("What is it?\r")
        text = chat.wait_for_prompt(2)

        assert "Send a message" in text
        assert chat.end() == 0
    for part in ("A title", "bold", "print('hi')", "日", "and the end."):
        assert text.count(part) == 1
    assert "**" not in text
    assert "```" not in text
    assert text.splitlines()[0].startswith(">>> What is it?")


def test_gptcli_alone_on_a_terminal_is_a_chat(script: Script, tmp_path: Path) -> None:
    with terminal(env={"GPTCLI_MODEL": script("Hello to you.", model=CHAT)}) as chat:
        chat.wait_for_prompt(1)
        chat.type("Hello\r")
        chat.wait_for(lambda text: "Hello to you." in text)
        assert chat.end() == 0


def test_ctrl_c_stops_the_answer_clears_the_line_and_hints_at_the_exit(script: Script) -> None:
    spec = script({"text": STORY, "delay_s": 0.02}, "And on.", model=CHAT)
    with terminal("chat", "-m", spec) as chat:
        chat.wait_for_prompt(1)
        chat.type("Tell me a story.\r")
        chat.wait_for(lambda text: "keeper" in text)
        chat.type("\x03")
        text = chat.wait_for(lambda text: "stopped; /continue goes on" in text)
        assert "Traceback" not in text
        chat.wait_for_prompt(2)
        chat.type("half a li")
        chat.wait_for(lambda text: "half a li" in text)
        chat.type("\x03")
        chat.wait_for(lambda text: "half a li" not in text)
        chat.type("\x03")
        chat.wait_for(lambda text: "Ctrl-D or /bye ends the chat." in text)
        chat.type("/continue\r")
        chat.wait_for(lambda text: "And on." in text)
        assert chat.end() == 0


def test_what_is_typed_during_an_answer_waits_for_its_end(script: Script) -> None:
    spec = script({"text": "word " * 60, "delay_s": 0.02}, "Second answer.", model=CHAT)
    with terminal("chat", "-m", spec) as chat:
        chat.wait_for_prompt(1)
        chat.type("First\r")
        chat.wait_for(lambda text: "word" in text)
        chat.type("typed ahead\r")
        text = chat.wait_for(lambda text: "Second answer." in text)

        assert text.count("typed ahead") == 1
        assert text.index("word") < text.index(">>> typed ahead") < text.index("Second answer.")


def test_what_is_typed_before_ctrl_c_is_not_lost(script: Script) -> None:
    spec = script({"text": STORY, "delay_s": 0.02}, "Second answer.", model=CHAT)
    with terminal("chat", "-m", spec) as chat:
        chat.wait_for_prompt(1)
        chat.type("First\r")
        chat.wait_for(lambda text: "keeper" in text)
        chat.type("typed ahead")
        time.sleep(0.3)
        chat.type("\x03")
        chat.wait_for(lambda text: ">>> typed ahead" in text)


def test_several_lines_and_a_paste(script: Script) -> None:
    with terminal("chat", "-m", script("Yes.", model=CHAT)) as chat:
        chat.wait_for_prompt(1)
        chat.type('"""one\r')
        chat.wait_for(lambda text: "\n..." in text)
        chat.type('two"""\r')
        chat.wait_for_prompt(2)
        chat.type("\x1b[200~pasted one\npasted two\n\x1b[201~")
        text = chat.wait_for(lambda text: "... pasted two" in text)
        assert text.count("Yes.") == 1
        chat.type("\r")
        chat.wait_for(lambda text: text.count("Yes.") == 2)
        assert chat.end() == 0
    with_quotes, pasted = _asked()
    assert (with_quotes, pasted) == ("one\ntwo", "pasted one\npasted two")


def test_a_wide_line_wraps_without_marks(script: Script) -> None:
    with terminal("chat", "-m", script("Yes.", model=CHAT), columns=40) as chat:
        chat.wait_for_prompt(1)
        chat.type("日本語 " * 12 + "end\r")
        text = chat.wait_for_prompt(2)

        assert "..." not in text.partition("Yes.")[0]
        assert max(map(len, text.splitlines())) <= 40


def test_a_resize_between_and_during_answers(script: Script) -> None:
    spec = script({"text": "some words of text. " * 30, "delay_s": 0.005}, model=CHAT)
    with terminal("chat", "-m", spec, columns=100) as chat:
        chat.wait_for_prompt(1)
        chat.child.setwinsize(30, 50)
        chat.screen.resize(50, 30)
        chat.type("Hello\r")
        chat.wait_for(lambda text: "words" in text)
        chat.child.setwinsize(30, 120)
        chat.screen.resize(120, 30)
        chat.wait_for_prompt(2)
        assert chat.end() == 0


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_without_colour_there_is_none(script: Script, env: dict[str, str]) -> None:
    with terminal("chat", "-m", script("Some **bold** words.", model=CHAT), env=env) as chat:
        chat.child.logfile_read = log = _Log()
        chat.wait_for_prompt(1)
        chat.type("Hello\n" if env.get("TERM") == "dumb" else "Hello\r")
        chat.wait_for_prompt(2)
        assert chat.end() == 0

    styles = {part.partition(b"m")[0] for part in log.data.split(b"\x1b[")[1:]}
    colours = {style for style in styles if style.replace(b";", b"").isdigit() and style[:1] in b"349"}
    assert not {style for style in colours if len(style) > 1}
    if env.get("TERM") == "dumb":
        assert b"\x1b" not in log.data


def test_output_elsewhere_is_plain(script: Script, tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    command = f"{sys.executable} -m gptcli chat -m {script('One **answer**.', model=CHAT)} > {out}"
    child = pexpect.spawn("/bin/sh", ["-c", command], timeout=30, env=dict(os.environ))
    child.expect_exact(PROMPT)
    child.send("Hello\n")
    child.expect_exact(PROMPT)
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()

    assert out.read_text(encoding="utf-8") == "One **answer**.\n"


def test_a_broken_file_ends_it_with_a_status(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 100)
    with terminal("chat", "-m", str(path)) as chat:
        chat.wait_for(lambda text: "gptcli: " in text)
        chat.child.expect(pexpect.EOF)
        chat.child.close()

        assert chat.child.exitstatus == 3


def test_the_last_turn_is_shown_when_a_chat_goes_on(script: Script) -> None:
    spec = script("The first answer.", "The second.", model=CHAT)
    with terminal("chat", "-m", spec, "Hello there") as chat:
        chat.wait_for(lambda text: "The first answer." in text and PROMPT in text)
        assert chat.end() == 0
    with terminal("chat", "-c") as chat:
        text = chat.wait_for(lambda text: text.count(PROMPT) >= 2)
        assert "going on with" in text
        assert text.index(">>> Hello there") < text.index("The first answer.")
        assert chat.end() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker by /proc")
def test_the_engine_dies_and_the_chat_goes_on(tiny_chat_model: Path) -> None:
    with terminal("chat", "-m", str(tiny_chat_model), "-n", "3000", "--no-markdown") as chat:
        chat.wait_for_prompt(1)
        chat.type("Hello\r")
        chat.wait_for(lambda text: len(text.splitlines()) > 3)
        pid = chat.child.pid
        (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        os.kill(int(worker), signal.SIGKILL)
        text = chat.wait_for(lambda text: "the engine starts again; /retry asks again" in text)
        assert text.count("gptcli: the engine was ended by SIGKILL") == 1
        before = len(text)
        chat.type("/retry\r")
        chat.wait_for(lambda text: len(text) > before + 300)
        chat.type("\x03")
        chat.wait_for(lambda text: "stopped; /continue goes on" in text)
        assert chat.end() == 0


def test_a_hangup_ends_it_and_nothing_is_lost(script: Script) -> None:
    spec = script({"text": STORY, "delay_s": 0.02}, model=CHAT)
    with terminal("chat", "-m", spec) as chat:
        chat.wait_for_prompt(1)
        chat.type("Tell me a story.\r")
        chat.wait_for(lambda text: "keeper" in text)
        time.sleep(1.2)
        chat.child.kill(signal.SIGHUP)
        chat.child.expect(pexpect.EOF)
        chat.child.close()
        assert chat.child.signalstatus == signal.SIGHUP

    store = Conversations(_logs())
    try:
        cid = store.last()
        assert cid is not None
        question, answer = store.load(cid).messages
    finally:
        store.close()
    assert question.text == "Tell me a story."
    assert answer.text.startswith("Once upon a time")
    assert answer.is_unfinished


def test_the_terminal_is_left_as_it_was(script: Script) -> None:
    spec = script("Yes.", model=CHAT)
    command = f"stty -a > before; {sys.executable} -m gptcli chat -m {spec}; stty -a > after; echo over"
    directory = Path(spec.removeprefix("scripted:")).parent
    child = pexpect.spawn(
        "/bin/sh", ["-c", command], timeout=30, cwd=str(directory), env=dict(os.environ)
    )
    child.expect_exact(PROMPT)
    child.send("Hello\r")
    child.expect_exact("Yes.")
    child.expect_exact(PROMPT)
    child.send("\x04")
    child.expect_exact("over")
    child.close(force=True)

    before, after = (directory / name for name in ("before", "after"))
    assert before.read_text(encoding="utf-8") == after.read_text(encoding="utf-8")


class _Log:
    """What came from the terminal."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> None:
        pass


def _logs() -> Path:
    from gptcli import paths

    return paths.logs_file()


def _asked() -> list[str]:
    store = Conversations(_logs())
    try:
        cid = store.last()
        assert cid is not None
        return [each.text for each in store.load(cid).messages if each.role == "user"]
    finally:
        store.close()
