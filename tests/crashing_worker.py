"""A worker that dies like llama.cpp does, then serves: run as a script by tests/test_local_engine.py.

usage: crashing_worker.py MODE   instructions: SIGSEGV at the first request while extra buffers are on
                                 always: SIGSEGV at every request
                                 load: SIGABRT while loading
                                 memory: SIGKILL at the first request
                                 late: SIGSEGV after the first piece of text
                                 python: an exception while loading
"""

from __future__ import annotations

import os
import signal
import sys

from gptcli.engine import wire
from gptcli.engine.api import Delta, Finished, Generate, ModelInfo, Started, Usage


def main(mode: str) -> None:
    requests, events = sys.stdin.buffer, sys.stdout.buffer
    load = wire.loads(requests.readline())
    extra_buffers = load.extra_buffers is not False
    if mode == "load":
        print("GGML_ASSERT(n_layer <= 512) failed", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGABRT)
    if mode == "python":
        raise ImportError("no module named llama_cpp")
    send(events, wire.Ready(model=ModelInfo(name="crashing"), extra_buffers=extra_buffers))
    for request in (request for line in requests for request in wire.loads(line)):
        assert isinstance(request, Generate)
        send(events, Started(id=request.id, prompt_tokens=1, context_size=10))
        if mode == "always" or (mode == "instructions" and extra_buffers):
            os.kill(os.getpid(), signal.SIGSEGV)
        if mode == "memory":
            os.kill(os.getpid(), signal.SIGKILL)
        send(events, Delta(id=request.id, text=f"answer {request.id}"))
        if mode == "late":
            os.kill(os.getpid(), signal.SIGSEGV)
        send(events, Finished(id=request.id, reason="stop", usage=Usage(completion_tokens=1)))


def send(events: object, message: object) -> None:
    events.write(wire.dumps(message))  # type: ignore[attr-defined]
    events.flush()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(sys.argv[1])
