"""LocalEngine: a model in a worker process on this machine.

llama.cpp ends the process that hosts it in ways Python cannot catch: a failed assertion on a
malformed file, a CPU instruction that the build has and the machine does not honour, the kernel's
out-of-memory killer. Here that becomes an EngineCrashedError, and the next `run` starts anew.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import IO

from gptcli.engine import wire
from gptcli.engine.api import (
    FINAL_EVENTS,
    EngineSettings,
    Event,
    Failed,
    ModelInfo,
    Request,
    RequestId,
    Started,
)
from gptcli.errors import EngineCrashedError, GptcliError

# -P: a file named gptcli.py in the current directory must not be imported.
WORKER_COMMAND = (sys.executable, "-P", "-c", "from gptcli.engine.worker import main; main()")
REQUESTS_AHEAD = 64  # sent before they are worked on, so that the worker never waits for the front
CANCEL_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
INSTRUCTION_CRASHES = tuple(
    number
    for name in ("SIGSEGV", "SIGILL", "SIGBUS")
    if (number := getattr(signal, name, None)) is not None
)


class LocalEngine:
    """An Engine that starts loading its model when it is made; `model` waits for it.

    `crash_memory` is the file where workers remember which builds of llama.cpp crash with their
    extra buffers on which CPUs, `prompt_cache` the directory where they keep long prompts that were
    evaluated. `before_load` runs while the worker starts, before it opens the
    file; what it raises is raised here. `command` starts the worker; `show_logs` leaves it our stderr.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        crash_memory: str | None = None,
        prompt_cache: str | None = None,
        before_load: Callable[[], None] | None = None,
        command: Sequence[str] = WORKER_COMMAND,
        show_logs: bool = False,
    ) -> None:
        self._settings = settings
        self._crash_memory = crash_memory
        self._prompt_cache = prompt_cache
        self._command = command
        self._show_logs = show_logs
        self._restarts: list[str] = []
        self._is_running = False
        self._worker = self._start(before_load=before_load)

    @property
    def model(self) -> ModelInfo:
        """What the loaded model says of itself. Raises ModelFileError, MemoryFitError or
        EngineCrashedError, with `stage="load"` among the details, when it cannot be loaded.
        """
        if self._worker.is_spent():
            self._worker.close()
            self._worker = self._start()
        try:
            self._wait_until_ready()
        except EngineCrashedError as error:
            if not self._is_instruction_crash():
                raise
            self._restart_without_extra_buffers(error)
        assert self._worker.model is not None
        return self._worker.model

    def run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        """Yield events as they come. `requests` is read in another thread, as there is room."""
        if self._is_running:
            raise RuntimeError("this engine already runs requests")
        self._is_running = True
        try:
            _ = self.model
            yield from self._run(requests)
        finally:
            self._is_running = False

    def close(self) -> None:
        """End the worker. What it was doing is lost."""
        self._worker.close()

    @property
    def restarts(self) -> tuple[str, ...]:
        """What made this engine start its worker again, for --verbose."""
        return tuple(self._restarts)

    # ------------------------------------------------------------------------------------ running

    def _run(self, requests: Iterable[Request]) -> Generator[Event, None, None]:
        feeder = Feeder(requests, self._worker)
        feeder.start()
        try:
            while not feeder.is_finished():
                message = self._worker.messages.get()
                if message is None:
                    self._survive_death(feeder)
                elif isinstance(message, FeederDone):
                    feeder.take_end(message)
                else:
                    event: Event = wire.loads(message)
                    self._worker.has_answered |= not isinstance(event, Started)
                    feeder.take_event(event)
                    yield event
        finally:
            self._cancel(feeder)

    def _cancel(self, feeder: Feeder) -> None:
        """Stop what still runs, and read its last events, so that the next run starts clean."""
        outstanding = feeder.stop()
        if not outstanding or self._worker.has_exited():
            return
        for request_id in outstanding:
            self._worker.send(wire.Cancel(id=request_id))
        try:
            while feeder.outstanding:
                message = self._worker.messages.get(timeout=CANCEL_TIMEOUT_S)
                if message is None:
                    return
                if isinstance(message, bytes):
                    feeder.take_event(wire.loads(message))
        except (queue.Empty, KeyboardInterrupt):
            self._worker.kill()  # e.g. a GPU kernel that cannot be interrupted, or a second Ctrl-C

    # ---------------------------------------------------------------------------- starting, dying

    def _start(
        self, *, extra_buffers: bool | None = None, before_load: Callable[[], None] | None = None
    ) -> Worker:
        load = wire.Load(
            settings=self._settings,
            extra_buffers=extra_buffers,
            crash_memory=self._crash_memory,
            prompt_cache=self._prompt_cache,
        )
        worker = Worker(self._command, load, show_logs=self._show_logs)
        try:
            if before_load is not None:
                before_load()
        except BaseException:
            worker.close()
            raise
        worker.send(load)
        return worker

    def _wait_until_ready(self) -> None:
        if self._worker.model is not None:
            return
        message = self._worker.messages.get()
        if not isinstance(message, bytes):
            raise self._worker.death(stage="load")
        answer = wire.loads(message)
        if isinstance(answer, Failed):
            self._worker.has_failed = True
            answer.error.details["stage"] = "load"
            raise answer.error
        self._worker.model = answer.model
        self._worker.extra_buffers = answer.extra_buffers

    def _is_instruction_crash(self) -> bool:
        """Whether the worker died as it does where AMX is promised and not honoured."""
        worker = self._worker
        died_by = -(worker.exit_status() or 0)
        return died_by in INSTRUCTION_CRASHES and worker.extra_buffers and not worker.has_answered

    def _survive_death(self, feeder: Feeder) -> None:
        error = self._worker.death(stage="run")
        if self._is_instruction_crash():
            self._restart_without_extra_buffers(error)
        elif not feeder.has_events:
            # It died while it had nothing to do, and only now did we notice.
            self._restarts.append(f"{error.message}; started again")
            self._worker.close()
            self._worker = self._start()
            self._wait_until_ready()
        else:
            raise error
        feeder.has_events = True  # a second death is an error
        feeder.resend(self._worker)

    def _restart_without_extra_buffers(self, error: GptcliError) -> None:
        self._restarts.append(f"{error.message}; started again without extra buffers")
        self._worker.close()
        self._worker = self._start(extra_buffers=False)
        self._wait_until_ready()


class FeederDone:
    """Says that no more requests come, and what ended them."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Feeder:
    """Sends requests to the worker as there is room; knows which are not finished yet.

    One thread reads the requests, another sends: requests that are there together arrive together, and
    the worker begins them together; none waits for a later one.
    """

    def __init__(self, requests: Iterable[Request], worker: Worker) -> None:
        self._requests = requests
        self._worker = worker
        self._room = threading.Semaphore(REQUESTS_AHEAD)
        self._changed = threading.Condition()
        self._unsent: list[Request] = []
        self._is_read = False
        self._is_stopped = False
        self._is_exhausted = False
        self._error: BaseException | None = None
        self.has_events = False
        self.outstanding: dict[RequestId, Request] = {}

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._send, daemon=True).start()

    def _read(self) -> None:
        try:
            for request in self._requests:
                self._room.acquire()
                with self._changed:
                    if self._is_stopped:
                        return
                    if request.id in self.outstanding:
                        raise ValueError(f"two requests with the id {request.id} at once")
                    self.outstanding[request.id] = request
                    self._unsent.append(request)
                    self._changed.notify()
        except BaseException as error:  # noqa: BLE001 (raised again by the thread that runs)
            self._end(FeederDone(error))
        else:
            self._end(FeederDone())

    def _send(self) -> None:
        with self._changed:
            while not self._is_stopped and not (self._is_read and not self._unsent):
                if self._unsent:
                    self._worker.send(self._unsent)
                    self._unsent = []
                else:
                    self._changed.wait()

    def _end(self, done: FeederDone) -> None:
        with self._changed:
            self._is_read = True
            self._changed.notify()
            self._worker.messages.put(done)

    def take_end(self, done: FeederDone) -> None:
        self._is_exhausted, self._error = True, done.error

    def take_event(self, event: Event) -> None:
        self.has_events = True
        if isinstance(event, FINAL_EVENTS):
            with self._changed:
                self.outstanding.pop(event.id, None)
            self._room.release()

    def is_finished(self) -> bool:
        """Tell whether all is done. Then raises what ended the requests, if it was an error."""
        finished = self._is_exhausted and not self.outstanding
        if finished and self._error is not None:
            raise self._error
        return finished

    def stop(self) -> list[RequestId]:
        """Send nothing more; return the ids of the requests that are not finished."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
            for request in self._unsent:
                del self.outstanding[request.id]
            return list(self.outstanding)

    def resend(self, worker: Worker) -> None:
        """Go on with a new worker, which gets all unfinished requests."""
        with self._changed:
            dead, self._worker = self._worker, worker
            while not dead.messages.empty():
                message = dead.messages.get()
                if isinstance(message, FeederDone):
                    worker.messages.put(message)
            self._unsent = []
            worker.send(list(self.outstanding.values()))


class Worker:
    """One worker process and the thread that reads its answers."""

    def __init__(self, command: Sequence[str], load: wire.Load, *, show_logs: bool) -> None:
        self.model: ModelInfo | None = None
        self.extra_buffers = load.extra_buffers is not False
        self.has_answered = False
        self.has_failed = False  # and was reported
        self.messages: queue.SimpleQueue[bytes | FeederDone | None] = queue.SimpleQueue()
        self._logs: IO[bytes] | None = None if show_logs else tempfile.TemporaryFile()  # noqa: SIM115
        with _sigint_blocked():
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._logs
            )
        assert self._process.stdin is not None
        self._requests = self._process.stdin
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, message: object) -> None:
        """Write one message. A dead worker is noticed where its answers are read."""
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._requests.write(wire.dumps(message))
            self._requests.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self.messages.put(line)
        self.messages.put(None)

    def exit_status(self) -> int | None:
        """Return the exit status of a worker that closed its pipe; negative: the signal."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_TIMEOUT_S)
        return self._process.returncode

    def has_exited(self) -> bool:
        return self._process.poll() is not None

    def is_spent(self) -> bool:
        """Tell whether a new worker is needed: this one failed, or died while it had nothing to do."""
        return self.has_failed or (self.model is not None and self.has_exited())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        if self._logs is not None:
            self._logs.close()

    def death(self, *, stage: str) -> EngineCrashedError:
        """Return the error that says how this worker died and why that may be."""
        self.has_failed = True
        status = self.exit_status()
        last_words = self._last_words()
        if status is not None and status < 0:
            name = signal.Signals(-status).name
            cause, hint = _cause(-status, last_words)
            message = f"the engine was ended by {name}: {cause}"
        else:
            message = f"the engine ended with status {status}: {last_words or 'it said nothing'}"
            hint = "gptcli doctor, or the same command with --debug"
        return EngineCrashedError(message, hint=hint, stage=stage)

    def _last_words(self) -> str:
        if self._logs is None:
            return ""
        size = self._logs.seek(0, 2)
        self._logs.seek(max(0, size - 4096))
        lines = self._logs.read().decode("utf-8", "replace").split("\n")
        telling = [line for line in lines if "GGML_ASSERT" in line or "rror" in line]
        return next((line.strip() for line in reversed(telling or lines) if line.strip()), "")


def _cause(number: int, last_words: str) -> tuple[str, str]:
    if number == getattr(signal, "SIGKILL", None):
        return "most likely the system ran out of memory", "a smaller model, or a smaller --ctx-size"
    if number in INSTRUCTION_CRASHES:
        return (
            "most likely llama.cpp was built for another CPU than this",
            "gptcli doctor",
        )
    if number == signal.SIGABRT:
        return f"llama.cpp gave up ({last_words or 'without a word'})", "gptcli doctor"
    return "somebody stopped it", "the same command again"


@contextlib.contextmanager
def _sigint_blocked() -> Generator[None, None, None]:
    # The terminal sends Ctrl-C to all processes. The worker inherits that it waits for ever; for us
    # it waits until the worker is started.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
