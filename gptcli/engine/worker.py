"""The worker process: one model, requests on stdin, events on stdout, logs on stderr.

Started by LocalEngine. It ends when its stdin closes, so it never outlives its parent, and it may
crash without taking the front along.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from gptcli.engine import wire
from gptcli.engine.api import Delta, Embedded, Failed, Finished, Request, Scored
from gptcli.engine.llama.backend import LlamaBackend
from gptcli.engine.llama.bindings import library_identity
from gptcli.engine.machine import cpu_model
from gptcli.engine.prompt_cache import PromptCache, model_fingerprint
from gptcli.engine.scheduler import Scheduler
from gptcli.errors import GptcliError
from gptcli.files import write_whole

TEXT_EVERY_S = 0.05
FINISH_TIMEOUT_S = 0.8  # less than the front waits
PARALLEL = 32  # decoding is bound by memory: 32 answers together come 5 times as fast as one
ANSWERS = (Delta, Scored, Embedded, Finished)  # the model was evaluated, and did not crash


def main() -> None:
    """Serve until stdin closes."""
    _harden()
    requests, events = sys.stdin.buffer, Outbox(_take_stdout())
    load = wire.loads(requests.readline())
    inbox = Inbox(requests)
    inbox.start()
    memory = CrashMemory(load.crash_memory)
    extra_buffers = not memory.known() if load.extra_buffers is None else load.extra_buffers
    try:
        backend = LlamaBackend(load.settings, extra_buffers=extra_buffers)
    except GptcliError as error:
        events.send(Failed(id=0, error=error))
        events.flush_when_due(is_idle=True)
        return
    events.send(wire.Ready(model=backend.info, extra_buffers=extra_buffers))
    events.flush_when_due(is_idle=True)
    inbox.prompt_cache = prompts = _prompt_cache(load)
    parallel = load.settings.parallel or PARALLEL
    inbox.scheduler = scheduler = Scheduler(backend, parallel, prompts)
    on_first_answer = memory.remember if load.extra_buffers is False else None
    while True:
        inbox.pass_on(scheduler)
        for event in scheduler.step():
            events.send(event)
            if on_first_answer is not None and isinstance(event, ANSWERS):
                on_first_answer()
                on_first_answer = None
        events.flush_when_due(is_idle=not scheduler.has_work)


class Outbox:
    """Sends events to the front; text that follows other text at once goes with the next.

    Each message wakes the front, on a CPU that the model could use: at 100 tokens a second that is
    4 % of the speed of a two-core machine. Nobody sees the difference of 50 ms.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._held = b""
        self._is_urgent = False
        self._sent_at = 0.0

    def send(self, event: object) -> None:
        self._held += wire.dumps(event)
        self._is_urgent |= not isinstance(event, Delta)

    def flush_when_due(self, *, is_idle: bool) -> None:
        """Send what is held, unless it is text and other text was sent a moment ago."""
        now = time.monotonic()
        if self._held and (self._is_urgent or is_idle or now - self._sent_at >= TEXT_EVERY_S):
            self._pipe.write(self._held)
            self._pipe.flush()
            self._held, self._sent_at, self._is_urgent = b"", now, False


class Inbox:
    """Reads what the front sends, from before the model is loaded: a cancellation is heard while a
    request runs, and the end of the front ends this process whatever it is doing.
    """

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self.requests: queue.SimpleQueue[Sequence[Request]] = queue.SimpleQueue()
        self.scheduler: Scheduler | None = None
        self.prompt_cache: PromptCache | None = None

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def pass_on(self, scheduler: Scheduler) -> None:
        """Give the scheduler what has come; wait for it if there is nothing to do. Input is never waited
        for to fill a batch.
        """
        while True:
            try:
                requests = self.requests.get(block=not scheduler.has_work)
            except queue.Empty:
                return
            for request in requests:
                scheduler.submit(request)

    def _read(self) -> None:
        for line in self._lines:
            message = wire.loads(line)
            if isinstance(message, tuple):
                if self.scheduler is not None:
                    self.scheduler.expect(*(request.id for request in message))
                self.requests.put(message)
            elif self.scheduler is not None:
                self.scheduler.cancel(message.id)
        # The parent is gone or done; nothing that runs here is wanted any more.
        if self.prompt_cache is not None:
            self.prompt_cache.finish(FINISH_TIMEOUT_S)
        os._exit(0)


class CrashMemory:
    """Remembers that llama.cpp's extra buffers crash: per build of the library and per CPU."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._key = f"{library_identity()} {cpu_model()}"

    def known(self) -> bool:
        return self._key in self._read()

    def remember(self) -> None:
        if self._path is None or self.known():
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps([*self._read(), self._key], indent=1))
        except OSError as error:  # then the next start crashes once more, and is saved once more
            sys.stderr.write(f"cannot remember the crash: {error}\n")

    def _read(self) -> list[str]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8")) if self._path else []
        except (OSError, ValueError):
            return []
        return found if isinstance(found, list) else []


def _prompt_cache(load: wire.Load) -> PromptCache | None:
    if load.prompt_cache is None:
        return None
    settings = load.settings
    try:
        model = model_fingerprint(Path(settings.model_path))
    except OSError:
        return None
    key = f"{model} {library_identity()} {cpu_model()} {settings.gpu_layers}"
    return PromptCache(Path(load.prompt_cache), key, settings.model_name)


def _harden() -> None:
    # Ctrl-C belongs to the front, which tells us; a core dump of gigabytes helps nobody.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _take_stdout() -> BinaryIO:
    # Native code that prints to stdout would break the protocol: it gets stderr instead.
    protocol = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return protocol


if __name__ == "__main__":
    main()
