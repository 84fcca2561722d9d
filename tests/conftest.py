"""Fixtures: a home of its own for every test, models, and the command as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gptcli import paths
from gptcli.cli.app import run as run_command
from gptcli.engine.api import EngineSettings
from gptcli.engine.local import LocalEngine
from gptcli.models import starter
from gptcli.models.registry import load_registry
from gptcli.store.conversations import Conversations
from tests.hub_server import LoopbackHub
from tests.llama_matcher import Matcher
from tests.rule_engine import RuleEngine, by_words
from tests.tiny_gguf import make_tiny_model

KINDS = ("config", "data", "cache", "state")
FOREIGN = ("GPTCLI_", "HF_", "HUGGING", "TRANSFORMERS_", "OLLAMA_")
TOKEN, STRANGER = "hf_tokenThatMayReadAll", "hf_tokenOfAStranger"
COMMAND = (sys.executable, "-m", "gptcli")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's settings or tokens, or writes into the user's directories."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) and name != "GPTCLI_TEST_INSTRUCT":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("NO_COLOR", "COLUMNS", "LINES", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    for kind in KINDS:
        monkeypatch.setenv(f"GPTCLI_{kind.upper()}_DIR", str(tmp_path / kind))
    paths.logs_notice_file().parent.mkdir()
    paths.logs_notice_file().touch()  # told of the log already: what a command says is its own
    if "huggingface_hub" in sys.modules:  # its HTTP client belongs to the endpoint of another test
        import huggingface_hub

        huggingface_hub.close_session()
    return tmp_path


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the command left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The error object on stderr, with --json."""
        found: dict[str, Any] = json.loads(self.stderr.splitlines()[-1])["error"]
        return found


Cli = Callable[..., Result]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run the real command in a process of its own, its streams pipes."""

    def run(
        *arguments: str,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            (*COMMAND, *arguments),
            input=data,
            capture_output=True,
            env={**os.environ, **(env or {})},
            cwd=tmp_path,
            timeout=timeout_s,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def quick_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command in this process, its streams files: far faster, for tests of many runs."""

    def call(
        *arguments: str,
        stdin: str | bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with ExitStack() as opened, monkeypatch.context() as patch:
            files = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(data)
            files[0].seek(0)
            for name, file in zip(("stdin", "stdout", "stderr"), files, strict=True):
                mode = "r" if name == "stdin" else "w"
                stream = opened.enter_context(open(file.fileno(), mode, encoding="utf-8", closefd=False))
                patch.setattr(sys, name, stream)
            for key, value in (env or {}).items():
                patch.setenv(key, value)
            patch.chdir(tmp_path)
            status = run_command(arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            texts = []
            for file in files[1:]:
                file.seek(0)
                texts.append(file.read().decode())
            return Result(status, *texts)

    return call


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Write replies for the scripted engine; return the model SPEC that uses them."""

    def write(*replies: str | Mapping[str, Any], model: Mapping[str, Any] | None = None) -> str:
        path = tmp_path / "script.jsonl"
        lines: list[Mapping[str, Any]] = [{"model": {"name": "scripted", **model}}] if model else []
        lines += [{"text": reply} if isinstance(reply, str) else reply for reply in replies]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return f"scripted:{path}"

    return write


@pytest.fixture
def log_file() -> Path:
    return paths.logs_file()


@pytest.fixture
def log(log_file: Path) -> Iterator[Conversations]:
    """The log of this test's home, new."""
    log = Conversations(log_file)
    yield log
    log.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """An empty Hub, which HF_ENDPOINT names; TOKEN may read all of it, STRANGER nothing gated."""
    with LoopbackHub(tokens=[TOKEN], strangers=[STRANGER]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of a few hundred kilobytes with random weights, that llama.cpp really loads."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    template = (
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    path = tmp_path_factory.mktemp("tiny") / "tiny-chat.gguf"
    return make_tiny_model(path, chat_template=template)


@pytest.fixture(scope="session")
def starter_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter weights, joined once for all tests."""
    directory = tmp_path_factory.mktemp("starter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTCLI_DATA_DIR", str(directory))
        return starter.join(load_registry().find("starter"))


@pytest.fixture(scope="session")
def instruct_model() -> Path:
    """The instruct weights, which only the continuous integration has."""
    path = os.environ.get("GPTCLI_TEST_INSTRUCT")
    if not path:
        pytest.skip("GPTCLI_TEST_INSTRUCT names no model")
    return Path(path)


@pytest.fixture
def engine(tiny_model: Path) -> Iterator[LocalEngine]:
    """A real engine on the tiny model."""
    local = LocalEngine(EngineSettings(model_path=str(tiny_model), model_name="tiny"))
    yield local
    local.close()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matcher]:
    matcher = Matcher(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny.gguf"))
    yield matcher
    matcher.close()


@pytest.fixture
def rule_spec(
    script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Mapping[str, str]], str]:
    """Have commands in this process use an engine that labels by words; return its model SPEC."""

    def use(words: Mapping[str, str]) -> str:
        engine = RuleEngine(by_words(words))
        monkeypatch.setattr("gptcli.cli.opening.open_engine", lambda *_, **__: engine)
        return script("unused")

    return use
