"""A worker that answers each prompt with itself, and dies of the prompt "deadly"."""

from __future__ import annotations

import os
import signal
import sys

from gptcli.engine import wire
from gptcli.engine.api import Delta, Event, Finished, Generate, ModelInfo, Started, Usage


def main() -> None:
    requests = sys.stdin.buffer
    wire.loads(requests.readline())
    send(wire.Ready(model=ModelInfo(name="dying"), extra_buffers=False))
    messages = (wire.loads(line) for line in requests)
    for request in (each for message in messages if isinstance(message, tuple) for each in message):
        if not isinstance(request, Generate):
            continue
        send(Started(id=request.id, prompt_tokens=1, context_size=10))
        if request.prompt == "deadly":
            os.kill(os.getpid(), signal.SIGSEGV)
        send(Delta(id=request.id, text=str(request.prompt)))
        send(Finished(id=request.id, reason="stop", usage=Usage(completion_tokens=1)))


def send(message: Event | wire.Ready) -> None:
    sys.stdout.buffer.write(wire.dumps(message))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
