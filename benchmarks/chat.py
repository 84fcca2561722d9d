"""Measure a chat: what a turn costs when its conversation is kept, and how soon there is a prompt.

    python -m benchmarks.chat -m base.gguf -m instruct.gguf [-n RUNS]

A conversation of ten turns and about 2,000 tokens; the times are those to the first token, without
loading the model, and of a whole process to the prompt on a terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.batching import prompts, row

GPTCLI = (sys.executable, "-m", "gptcli")
TURNS = 10
WORDS = 130  # of a message
ANSWER = ("-n", "40", "--temperature", "0")
PROMPT = ">>> "


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a chat.")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("-n", "--runs", type=int, default=3)
    options = parser.parse_args()
    print("| figure | model | gptcli | peer | ratio | target |")
    print("|---|---|---|---|---|---|")
    for model in options.model:
        turn_rows(model)
        prompt_row(model, options.runs)


def turn_rows(model: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        places = {"GPTCLI_DATA_DIR": f"{folder}/data", "GPTCLI_CACHE_DIR": f"{folder}/cache"}
        *first, last = prompts(TURNS + 1, WORDS)
        tenth = answers(model, first, places)[-1]
        shutil.copytree(f"{folder}/data", f"{folder}/copy")
        (kept,) = answers(model, [last], places, "-c")
        # The copy is continued where nothing that was evaluated is kept.
        places = {"GPTCLI_DATA_DIR": f"{folder}/copy", "GPTCLI_CACHE_DIR": f"{folder}/empty"}
        (whole,) = answers(model, [last], places, "-c")
    tokens = whole["usage"]["prompt_tokens"]
    peer = f"all {tokens:,} tokens evaluated"
    everything = seconds(whole)
    row(f"turn {TURNS}, s to the first token", model.stem, seconds(tenth), everything, peer, "<= 0.15")
    row("chat -c in a new process, s", model.stem, seconds(kept), everything, peer, "<= 0.25")


def answers(
    model: Path, lines: list[str], places: dict[str, str], *options: str
) -> list[dict[str, Any]]:
    """Return the answers of one process to these messages."""
    done = subprocess.run(
        [*GPTCLI, "chat", "-m", str(model), "--json", *ANSWER, *options],
        input="".join(f"{line}\n" for line in lines),
        env=os.environ | places,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def seconds(answer: dict[str, Any]) -> float:
    return float(answer["timings"]["prompt_s"])


def prompt_row(model: Path, runs: int) -> None:
    middle = statistics.median(prompt_s(model) for _ in range(runs))
    print(f"| prompt on the screen, s | {model.stem} | {middle:.3f} | | | <= 0.25 |", flush=True)


def prompt_s(model: Path) -> float:
    """Return the time from the command to the prompt on a terminal."""
    import pexpect

    with tempfile.TemporaryDirectory() as folder:
        places = {"GPTCLI_DATA_DIR": f"{folder}/data", "GPTCLI_CACHE_DIR": f"{folder}/cache"}
        started = time.perf_counter()
        child = pexpect.spawn(
            GPTCLI[0],
            [*GPTCLI[1:], "chat", "-m", str(model), "--no-log"],
            env=os.environ | places | {"TERM": "xterm-256color"},
            encoding="utf-8",
        )
        child.expect_exact(PROMPT)
        found = time.perf_counter() - started
        child.close(force=True)
    return found


if __name__ == "__main__":
    main()
