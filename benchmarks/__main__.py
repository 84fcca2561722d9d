"""Measure gptcli against llama.cpp's own programs, side by side in one run, and print a table.

    python -m benchmarks --peers DIR -m base.gguf -m instruct.gguf [--llm PATH] [--transformers PYTHON]

DIR holds llama-bench and llama-completion. gptcli runs twice: with the library that its Python
package brought, and with the peers' own (LLAMA_CPP_LIB_PATH), which compares gptcli alone.
Every figure is the median of interleaved runs; quote ratios, not seconds. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.processes import Run, busy_cores, run
from gptcli.engine.machine import cpu_budget, cpu_model

GPTCLI = (sys.executable, "-m", "gptcli")
PROMPT = "The quick brown fox"
ONE_SHOT_TOKENS = 64
DECODE_TOKENS = 128
CONTEXT = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure gptcli against llama.cpp's own programs.")
    parser.add_argument(
        "--peers", type=Path, required=True, help="folder of llama-bench, llama-completion"
    )
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--llm", help="path of the llm command, for start-up time")
    parser.add_argument("--transformers", help="a Python that has the packages of the extra `bench`")
    parser.add_argument("-n", "--runs", type=int, default=5)
    options = parser.parse_args()
    threads = cpu_budget().count
    print(f"{cpu_model()}, {threads} threads, median of {options.runs} interleaved runs\n")
    print("| figure | model | gptcli | peer | ratio | target |")
    print("|---|---|---|---|---|---|")
    peers = Peers(options.peers, threads)
    for model in options.model:
        for build, env in (("same build", peers.library()), ("stock build", {})):
            decode_rows(peers, model, options.runs, build, env)
            one_shot_rows(peers, model, options.runs, build, env)
        contention_row(peers, model, options.runs)
        if options.transformers:
            transformers_rows(options.transformers, model, threads)
    if options.llm:
        startup_row(options.llm, options.runs)


class Peers:
    """llama.cpp's programs, and gptcli asked for the same work."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.folder = folder
        self.threads = str(threads)

    def library(self) -> dict[str, str]:
        return {"LLAMA_CPP_LIB_PATH": str(self.folder)}

    def bench_rate(self, model: Path) -> float:
        """Return llama-bench's decode rate in tokens per second."""
        command = [str(self.folder / "llama-bench"), "-m", str(model), "-t", self.threads, "-p", "0"]
        done = run([*command, "-n", str(DECODE_TOKENS), "-r", "1", "-o", "json"])
        return float(json.loads(done.stdout)[0]["avg_ts"])

    def complete(self, model: Path) -> Run:
        return run(
            [
                *(str(self.folder / "llama-completion"), "-m", str(model), "-t", self.threads),
                *("-c", str(CONTEXT), "-n", str(ONE_SHOT_TOKENS), "--temp", "0", "-no-cnv"),
                *("--no-display-prompt", "--ignore-eos", "-p", PROMPT),
            ]
        )

    def gptcli(self, model: Path, tokens: int, env: Mapping[str, str]) -> Run:
        return run(
            [
                *(*GPTCLI, "generate", "-m", str(model), "--raw", "--threads", self.threads),
                *("--ctx-size", str(CONTEXT), "-n", str(tokens), "--temperature", "0", "--json"),
                PROMPT,
            ],
            env,
        )

    def gptcli_rate(self, model: Path, env: Mapping[str, str]) -> float:
        """Return gptcli's decode rate. The first token comes from the prompt's evaluation."""
        answer = json.loads(self.gptcli(model, DECODE_TOKENS, env).stdout)
        return float((answer["usage"]["completion_tokens"] - 1) / answer["timings"]["generate_s"])


def decode_rows(peers: Peers, model: Path, runs: int, build: str, env: Mapping[str, str]) -> None:
    ours, theirs = interleaved(
        runs, lambda: peers.gptcli_rate(model, env), lambda: peers.bench_rate(model)
    )
    row(f"decode, tokens/s ({build})", model, ours, theirs, ">= 0.97", "llama-bench")


def one_shot_rows(peers: Peers, model: Path, runs: int, build: str, env: Mapping[str, str]) -> None:
    pairs = [(peers.gptcli(model, ONE_SHOT_TOKENS, env), peers.complete(model)) for _ in range(runs + 1)]
    pairs = pairs[1:]  # the first one warms the page cache
    ours = [pair[0].wall_s for pair in pairs]
    theirs = [pair[1].wall_s for pair in pairs]
    name = f"one shot, {ONE_SHOT_TOKENS} tokens, s ({build})"
    row(name, model, ours, theirs, "<= 1.10", "llama-completion")
    ours = [pair[0].peak_bytes / 2**20 for pair in pairs]
    theirs = [pair[1].peak_bytes / 2**20 for pair in pairs]
    row(f"peak memory, MiB ({build})", model, ours, theirs, "<= 1.25", "llama-completion")


def contention_row(peers: Peers, model: Path, runs: int) -> None:
    idle = [peers.gptcli_rate(model, {}) for _ in range(runs)]
    peer_idle = [peers.bench_rate(model) for _ in range(runs)]
    with busy_cores(max(1, int(peers.threads) // 2)):
        busy = [peers.gptcli_rate(model, {}) for _ in range(runs)]
        peer_busy = [peers.bench_rate(model) for _ in range(runs)]
    share = statistics.median(busy) / statistics.median(idle)
    peer_share = statistics.median(peer_busy) / statistics.median(peer_idle)
    print(
        f"| decode with half of the cores busy, share of idle | {model.stem} | {share:.2f} "
        f"| llama-bench {peer_share:.2f} | {share / peer_share:.2f} | share >= 0.40 |",
        flush=True,
    )


def startup_row(llm: str, runs: int) -> None:
    ours, theirs = interleaved(
        runs, lambda: run((*GPTCLI, "--version")).wall_s, lambda: run((llm, "--version")).wall_s
    )
    row("start-up, --version, s", Path("-"), ours, theirs, "<= 0.30", "llm")


def transformers_rows(python: str, model: Path, threads: int) -> None:
    script = Path(__file__).with_name("with_transformers.py")
    done = run((python, str(script), str(model), str(threads), str(ONE_SHOT_TOKENS)))
    theirs = json.loads(done.stdout.splitlines()[-1])
    started = run(
        [
            *(*GPTCLI, "generate", "-m", str(model), "--raw", "--threads", str(threads)),
            *("-n", str(ONE_SHOT_TOKENS), "--temperature", "0", "--json", PROMPT),
        ]
    )
    answer = json.loads(started.stdout)
    timings = answer["timings"]
    first_s = started.wall_s - timings["generate_s"]
    name = "Transformers"
    row("decode, tokens/s", model, [timings["tokens_per_s"]], [theirs["tokens_per_s"]], "-", name)
    row("to the first token, s", model, [first_s], [theirs["first_token_s"]], "-", name)
    peak = started.peak_bytes / 2**20
    row("peak memory, MiB", model, [peak], [done.peak_bytes / 2**20], "-", name)


def interleaved(
    runs: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Return both figures of each pair of runs; the first pair is warm-up and left out."""
    pairs = [(ours(), theirs()) for _ in range(runs + 1)][1:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def row(
    figure: str, model: Path, ours: list[float], theirs: list[float], target: str, peer: str
) -> None:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    mine, other = statistics.median(ours), statistics.median(theirs)
    name = model.stem
    print(
        f"| {figure} | {name} | {mine:.3g} | {peer} {other:.3g} | {ratio:.3f} | {target} |", flush=True
    )


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    main()
