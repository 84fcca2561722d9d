"""A dialog on a terminal in memory, with the scripted engine and a store of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gptcli.chat.dialog import Dialog, Services, ViewSettings
from gptcli.chat.recorder import Recorder
from gptcli.chat.session import Session
from gptcli.chat.turns import ChatSettings
from gptcli.cli.material import read_text
from gptcli.documents.passages import Passage
from gptcli.documents.sources import read_sources
from gptcli.engine.api import Engine, ModelInfo
from gptcli.engine.scripted import Reply, ScriptedEngine
from gptcli.errors import GptcliError, ModelNotFoundError
from gptcli.output.console import Output
from gptcli.store.conversations import Conversations
from gptcli.tasks.splitting import split
from tests.screen import Terminal

CHAT_MODEL = ModelInfo(
    name="scripted", context_length=4096, context_limit=4096, chat_template="{# any #}"
)


class Lines:
    """A reader of lines that are known; None is Ctrl-C. It keeps what was put on the line for it."""

    def __init__(self, *lines: str | None) -> None:
        self._lines = list(lines)
        self.prefills: list[str] = []
        self.is_vi = False

    def read(self, prefill: str = "") -> str:
        self.prefills.append(prefill)
        if not self._lines:
            raise EOFError
        line = self._lines.pop(0)
        if line is None:
            raise KeyboardInterrupt
        return line

    def set_vi(self, wanted: bool) -> None:
        self.is_vi = wanted

    def refresh(self) -> None:
        pass

    def fail(self, error: GptcliError) -> None:
        pass


def _passages(_engine: Engine, names: Sequence[str], question: str) -> tuple[str, list[Passage]]:
    sources = read_sources(names, on_skip=lambda _: None)
    return question, [passage for source in sources for passage in split(source, overlap_words=0)]


class Chat:
    """A dialog, and what it showed."""

    def __init__(
        self,
        path: Path,
        replies: Sequence[str | Reply] = (),
        *,
        info: ModelInfo = CHAT_MODEL,
        is_kept: bool = True,
        columns: int = 80,
        view: ViewSettings | None = None,
    ) -> None:
        self.terminal = Terminal(columns=columns, lines=40)
        self.engine: ScriptedEngine = ScriptedEngine(
            [Reply(text=each) if isinstance(each, str) else each for each in replies], model=info
        )
        self.store = Conversations(path / "chats.db") if is_kept else None
        output = Output(stdout=self.terminal, stderr=self.terminal, environ=self.terminal.environ)
        recorder = Recorder(self.store, output.warning)
        self.session = Session(lambda: self.engine, "scripted", recorder, ChatSettings())
        services = Services(
            open_model=self._open,
            model_names=lambda: ["qwen", "gemma"],
            read_text=read_text,
            find_passages=_passages,
        )
        self.dialog = Dialog(
            self.session, output, services, view=view or ViewSettings(), store=self.store
        )

    def _open(self, spec: str) -> tuple[Engine, str]:
        if spec not in ("qwen", "gemma"):
            raise ModelNotFoundError(f'model "{spec}" is not known', hint="gptcli models list")
        return self.engine, spec

    def run(self, *lines: str | None) -> Lines:
        reader = Lines(*lines)
        self.dialog.run(reader)
        return reader

    @property
    def text(self) -> str:
        return self.terminal.screen.text

    @property
    def flat(self) -> str:
        """What it showed, on one line: wherever the terminal wrapped it."""
        return " ".join(self.text.split())
