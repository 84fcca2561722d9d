"""A process of tests/test_store.py: it writes answers that grow, until it is killed or has done COUNT.

python growing_answer.py DATABASE NUMBER [COUNT]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gptcli.store.conversations import Conversations


def grow_until_killed(log: Conversations, number: int) -> None:
    """Ask, and answer with the time, word by word; say each word once it is handed to the log."""
    cid = log.begin("chat", "tiny")
    log.add(cid, "user", f"question {number}")
    print("asked", flush=True)
    answer = log.add(cid, "assistant", "")
    text = ""
    while True:
        word = f"{time.monotonic():.4f} "
        text += word
        log.grow(answer, text)
        print(word, flush=True)
        time.sleep(0.004)


def write_many(log: Conversations, number: int, count: int) -> None:
    """Write `count` conversations as quickly as the disk allows."""
    for turn in range(count):
        text = f"question {number}-{turn}"
        cid = log.begin("chat", "tiny")
        log.add(cid, "user", text)
        answer = log.add(cid, "assistant", "")
        log.grow(answer, text[:3])
        log.finish(answer, text[::-1], "stop")
    log.close()


if __name__ == "__main__":
    _, path, number, *count = sys.argv
    conversations = Conversations(Path(path))
    if count:
        write_many(conversations, int(number), int(count[0]))
    else:
        grow_until_killed(conversations, int(number))
