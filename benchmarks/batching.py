"""Measure many requests at once against llama.cpp's own programs, in one run on an idle machine.

    python -m benchmarks.batching --peers DIR -m base.gguf -m instruct.gguf [--texts FILE.jsonl]

DIR holds llama-bench, llama-batched-bench and llama-server. All run llama.cpp of the same build
(LLAMA_CPP_LIB_PATH). FILE has a field `text` in each line: what is scored; without it sentences are
made up.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import run
from gptcli.engine.api import EngineSettings, Failed, Finished, Generate, Request, Score, Scored
from gptcli.engine.llama.backend import LlamaBackend
from gptcli.engine.local import LocalEngine
from gptcli.engine.scheduler import Scheduler
from gptcli.sampling import SamplingParams

GPTCLI = (sys.executable, "-m", "gptcli")
TOKENS = 32
PROMPTS = 32
WORDS = (
    *("river", "mill", "children", "mother", "evening", "bread", "soup"),
    *("winter", "road", "letter", "garden", "window", "stone", "bridge"),
)
INSTRUCTION = (
    "Decide whether the writer of a review liked the film. Answer with one word, positive or "
    "negative. Do not judge the film, only what the writer says of it. Mixed reviews get the side "
    "that outweighs.\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure batches against llama.cpp's own programs.")
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("-n", "--runs", type=int, default=3)
    options = parser.parse_args()
    os.environ["LLAMA_CPP_LIB_PATH"] = str(options.peers)
    print("| figure | model | gptcli | peer | ratio | target |")
    print("|---|---|---|---|---|---|")
    for model in options.model:
        batch_rows(options.peers, model, options.runs)
        worker_row(model, options.runs)
        server_row(options.peers, model)
        score_row(options.peers, model, options.texts)
        document_row(model)
    records_row()


def row(figure: str, model: str, ours: float, theirs: float, peer: str, target: str) -> None:
    print(
        f"| {figure} | {model} | {ours:.4g} | {peer} {theirs:.4g} | {ours / theirs:.3f} | {target} |",
        flush=True,
    )


# ------------------------------------------------------------------------------------------ batches


def prompts(count: int, words: int = 20) -> list[str]:
    """Return prompts of about the same length that begin differently."""
    rng = random.Random(1)
    return [" ".join(rng.choice(WORDS) for _ in range(words)) for _ in range(count)]


def generate_requests(count: int, limit: int) -> list[Request]:
    # No token ends an answer before its limit: the peers do not stop either.
    sampling = SamplingParams(temperature=0, max_tokens=limit)
    return [Generate(prompt=text, sampling=sampling, id=n) for n, text in enumerate(prompts(count))]


def engine(model: Path, parallel: int) -> LocalEngine:
    found = LocalEngine(
        EngineSettings(model_path=str(model), model_name=model.stem, parallel=parallel, ctx_size=0)
    )
    list(found.run([Generate(prompt="warm", sampling=SamplingParams(temperature=0, max_tokens=2))]))
    return found


def total_rate(model: Path, parallel: int, count: int, limit: int) -> tuple[float, float]:
    """Return prompt and answer tokens a second in all, and records a second."""
    worker = engine(model, parallel)
    started = time.perf_counter()
    tokens = 0
    for event in worker.run(generate_requests(count, limit)):
        if isinstance(event, Finished):
            tokens += event.usage.prompt_tokens + event.usage.completion_tokens
        assert not isinstance(event, Failed), event
    seconds = time.perf_counter() - started
    worker.close()
    return tokens / seconds, count / seconds


def batched_bench(peers: Path, model: Path) -> float:
    """Return the total tokens a second of llama-batched-bench with as many sequences."""
    done = run(
        [
            *(str(peers / "llama-batched-bench"), "-m", str(model), "-c", "4096"),
            *("-npp", "22", "-ntg", str(TOKENS), "-npl", str(PROMPTS), "--output-format", "jsonl"),
        ]
    )
    found = json.loads(re.search(r"^\{.*\}$", done.stdout, re.MULTILINE)[0])  # type: ignore[index]
    return float(found["speed"])


def batch_rows(peers: Path, model: Path, runs: int) -> None:
    ours, theirs, single = [], [], []
    for _ in range(runs):
        ours.append(total_rate(model, PROMPTS, PROMPTS, TOKENS)[0])
        theirs.append(batched_bench(peers, model))
        single.append(total_rate(model, 1, 8, TOKENS)[0])
    name = f"{PROMPTS} prompts x {TOKENS} tokens, tokens/s"
    middle = statistics.median
    row(name, model.stem, middle(ours), middle(theirs), "llama-batched-bench", ">= 0.9")
    row(name, model.stem, middle(ours), middle(single), "--parallel 1", ">= 4")


def in_process_rate(model: Path) -> float:
    """Return the total tokens a second of the scheduler in this process: no worker, no pipes."""
    settings = EngineSettings(model_path=str(model), model_name=model.stem, parallel=PROMPTS)
    scheduler = Scheduler(LlamaBackend(settings), PROMPTS)
    list(scheduler.run([Generate(prompt="warm", sampling=SamplingParams(max_tokens=2))]))
    started = time.perf_counter()
    ends = [e for e in scheduler.run(generate_requests(PROMPTS, TOKENS)) if isinstance(e, Finished)]
    seconds = time.perf_counter() - started
    return sum(end.usage.prompt_tokens + end.usage.completion_tokens for end in ends) / seconds


def worker_row(model: Path, runs: int) -> None:
    ours, theirs = [], []
    for _ in range(runs):
        with concurrent.futures.ProcessPoolExecutor(1) as process:  # its memory ends with it
            theirs.append(process.submit(in_process_rate, model).result())
        ours.append(total_rate(model, PROMPTS, PROMPTS, TOKENS)[0])
    name = f"{PROMPTS} prompts x {TOKENS} tokens, tokens/s"
    row(name, model.stem, statistics.median(ours), statistics.median(theirs), "in-process", ">= 0.97")


# ------------------------------------------------------------------------------------------- server


@contextmanager
def server(peers: Path, model: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(peers / "llama-server"), "-m", str(model), "-c", "8192", "-np", "8", "--port", str(port)),
        *("--host", "127.0.0.1", "--no-webui"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        try:
            yield url
        finally:
            process.kill()


def ask_server(url: str, prompt: str) -> None:
    body = {
        "prompt": prompt,
        "n_predict": TOKENS,
        "temperature": 0,
        "cache_prompt": True,
        "ignore_eos": True,
    }
    request = urllib.request.Request(
        f"{url}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=300).read()


def server_row(peers: Path, model: Path) -> None:
    count = 64
    with server(peers, model) as url:
        ask_server(url, "warm")
        started = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            list(clients.map(lambda text: ask_server(url, text), prompts(count)))
        theirs = count / (time.perf_counter() - started)
    ours = total_rate(model, 0, count, TOKENS)[1]
    row(
        "64 answers of 32 tokens, records/s", model.stem, ours, theirs, "llama-server, 8 slots", ">= 1.5"
    )


# ------------------------------------------------------------------------------------------- scores


def texts(path: Path | None) -> list[str]:
    if path is None:
        return prompts(300, 22)
    lines = path.read_text(encoding="utf-8").splitlines()[:300]
    return [str(json.loads(line)["text"]) for line in lines]


def score_row(peers: Path, model: Path, path: Path | None) -> None:
    found = texts(path)
    labels = (" positive", " negative")
    requests: list[Request] = [
        Score(prefix=f"{INSTRUCTION}Review: {text}\nSentiment:", continuations=labels, id=n)
        for n, text in enumerate(found)
    ]
    worker = engine(model, 0)
    started = time.perf_counter()
    new = 0
    for event in worker.run(requests):
        if isinstance(event, Scored):
            new += event.usage.prompt_tokens - event.usage.cached_tokens
    seconds = time.perf_counter() - started
    worker.close()
    name = f"scoring {len(found)} texts, new tokens/s"
    for size in (512, round(new / len(found))):
        limit = prompt_rate(peers, model, size)
        row(name, model.stem, new / seconds, limit, f"llama-bench pp{size}", ">= 0.9")


def prompt_rate(peers: Path, model: Path, size: int) -> float:
    """Return the tokens a second at which llama-bench reads prompts of so many tokens."""
    command = [str(peers / "llama-bench"), "-m", str(model), "-p", str(size), "-n", "0", "-r", "5"]
    return float(json.loads(run([*command, "-o", "json"]).stdout)[0]["avg_ts"])


# ----------------------------------------------------------------------------------------- document


def document_row(model: Path) -> None:
    document = "\n\n".join(prompts(40, 40))
    with tempfile.TemporaryDirectory() as cache:
        first, again = (
            first_token_s(model, document, question, cache) for question in ("Who?", "Where?")
        )
    name = "document asked again in a new process, s to the first token"
    row(name, model.stem, again[0], first[0], "first time", "<= 0.15")
    row(f"{name}, without loading", model.stem, again[1], first[1], "first time", "<= 0.15")


def first_token_s(model: Path, document: str, question: str, cache: str) -> tuple[float, float]:
    """Return the wall time of a whole process that answers with one token, and that of its prompt."""
    started = time.perf_counter()
    done = subprocess.run(
        [*GPTCLI, "generate", "--raw", "-m", str(model), "-n", "1", "--json", question],
        input=document.encode(),
        env={**os.environ, "GPTCLI_CACHE_DIR": cache},
        capture_output=True,
        check=True,
    )
    return time.perf_counter() - started, float(json.loads(done.stdout)["timings"]["prompt_s"])


# ------------------------------------------------------------------------------------------ records


def records_row() -> None:
    """Run `map` over 10,000 and 200,000 lines on the scripted engine."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.jsonl")
        script.write_text('{"text": "fine"}\n', encoding="utf-8")
        results = []
        for count in (10_000, 200_000):
            lines = Path(folder, f"{count}.txt")
            lines.write_text("".join(f"record number {n}\n" for n in range(count)), encoding="utf-8")
            target = str(Path(folder, f"{count}.out"))
            done = run(
                [*GPTCLI, "map", "-m", f"scripted:{script}", "-i", str(lines), "-o", target, "{text}"]
            )
            assert len(Path(target).read_text(encoding="utf-8").splitlines()) == count
            results.append((count / done.wall_s, done.peak_bytes))
    grown = (results[1][1] - results[0][1]) / 1e6
    print(f"| 200,000 lines, lines/s | scripted | {results[1][0]:,.0f} | | | >= 20,000 |")
    print(f"| front's memory, 10,000 to 200,000 lines, MB more | scripted | {grown:.1f} | | | < 10 |")


if __name__ == "__main__":
    main()
