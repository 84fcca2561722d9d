"""Compare gptcli's estimate of a model's memory with the measured peak of all its processes.

    python -m benchmarks.memory_fit -m MODEL.gguf [-m …] [--window 4096 …] [--empty]

The prompt fills the window, so the whole KV cache is used; --empty measures a short prompt instead
(llama.cpp clears the cache when it makes it, so that shows the cache too). Large windows take minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import run
from gptcli.models.fit import MemoryNeed, estimate
from gptcli.models.gguf import read_header

WINDOWS = (2048, 4096, 16384, 32768)
NEW_TOKENS = 16
TOKENS_OF_SENTENCE = 8  # at least
SENTENCE = "The quick brown fox jumps over the lazy dog. "


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare estimated with measured memory.")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--window", type=int, action="append", help="tokens; default: 2048 to 32768")
    parser.add_argument("--empty", action="store_true", help="a short prompt")
    options = parser.parse_args()
    print("| model | window | weights + KV + buffers | estimate, MiB | measured | ratio |")
    print("|---|---|---|---|---|---|")
    for model in options.model:
        for window in options.window or WINDOWS:
            need = estimate(read_header(model), model.stat().st_size, window)
            measured = peak_bytes(model, window, is_full=not options.empty)
            row(model, window, need, measured)


def peak_bytes(model: Path, window: int, *, is_full: bool = True) -> int:
    """Return the peak memory of `gptcli generate` with this context window, full or almost empty."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as text:
        text.write(SENTENCE * (window // TOKENS_OF_SENTENCE + 1))
        text.flush()
        material = ("-f", text.name, "--overflow", "head") if is_full else ()
        command = (sys.executable, "-m", "gptcli", "generate", "-m", str(model), "--raw")
        settings = ("--ctx-size", str(window), "--gpu-layers", "0", "--temperature", "0", "--json")
        # Where llama.cpp's extra buffers crash, the first start has two workers, and remembers it.
        run([*command, *settings, "-n", "1", "Go on."])
        done = run([*command, *settings, "-n", str(NEW_TOKENS), *material, "Go on."])
    return done.peak_bytes


def row(model: Path, window: int, need: MemoryNeed, measured: int) -> None:
    parts = (need.weights, need.kv_cache, need.buffers)
    sizes = " + ".join(f"{part / 2**20:.0f}" for part in parts)
    figures = f"{need.total / 2**20:.0f} | {measured / 2**20:.0f} | {need.total / measured:.2f}"
    print(f"| {model.stem} | {window} | {sizes} | {figures} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parent.parent))
    main()
