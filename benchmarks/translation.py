"""Measure translations against references: chrF, BLEU, faults, speed.

    python -m benchmarks.translation -m base.gguf -m instruct.gguf --data DIR [-n 25] [--peers DIR]

DIR holds JSON Lines files, one a direction, with the fields source, reference, src_lang and tgt_lang.
Of each file, every other line counts (--half says which): forms were chosen on the first half, figures
are of the second. The ways (--ways), each with its segments a second:

    naive     one plain instruction a sentence, greedy, one sentence after the other
    server    the same of llama-server (of --peers), with 8 slots and 8 clients
    as-it-comes  what `gptcli translate` gives
    best      what `gptcli translate --best` gives

The time is that of a loaded model. Measure on an idle machine; quote ratios, not seconds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.batching import server
from gptcli.cli.translate import CANDIDATES
from gptcli.engine.api import (
    Completion,
    Engine,
    EngineSettings,
    Generate,
    ModelInfo,
    Prompt,
    complete,
)
from gptcli.engine.local import LocalEngine
from gptcli.errors import GptcliError
from gptcli.languages import find_language
from gptcli.models.gguf import read_header
from gptcli.prompts.translation import TranslationPrompt, instruction
from gptcli.sampling import SamplingParams
from gptcli.tasks.chrf import corpus_chrf
from gptcli.tasks.ordered import run_ordered
from gptcli.tasks.translate import TranslateTask, translate
from gptcli.tasks.translation_checks import Fault, is_looping, wrong_language
from gptcli.tasks.translation_metrics import Pair

NAIVE_TOKENS = 256
CLIENTS = 8
WAYS = ("naive", "server", "as-it-comes", "best")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Translations of the samples. `seconds` does not count the loading of the model."""

    texts: list[str]
    seconds: float
    remark: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure translations against references.")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--files", default="flores200_devtest.*.jsonl")
    parser.add_argument("-n", type=int, default=25, help="sentences a direction")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--best", type=int, default=int(CANDIDATES))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--peers", type=Path, help="folder of llama-server; without it, no such row")
    parser.add_argument("--save", type=Path, help="folder for the outputs")
    options = parser.parse_args()
    if options.peers:
        os.environ["LLAMA_CPP_LIB_PATH"] = str(options.peers)
    samples = read_samples(sorted(options.data.glob(options.files)), options.n, options.half)
    directions = list(dict.fromkeys(direction(sample) for sample in samples))
    print(
        f"| model | way | segments/s | chrF | BLEU | {' | '.join(directions)} "
        "| loops | wrong language | remark |"
    )
    print("|---" * (len(directions) + 8) + "|")
    for model in options.model:
        for way in options.ways.split(","):
            if way == "server" and not options.peers:
                continue
            outcome = measured(way, model, samples, options)
            print_row(model.name, way, samples, outcome)
            if options.save:
                save(options.save / f"{model.stem}.{way}.{options.half}.json", samples, outcome.texts)


def measured(way: str, model: Path, samples: Sequence[Pair], options: argparse.Namespace) -> Outcome:
    if way == "server":
        with server(options.peers, model) as url:
            return of_server(url, model, samples)
    parallel = 1 if way == "naive" else 0
    engine = LocalEngine(
        EngineSettings(
            model_path=str(model), model_name=model.name, parallel=parallel, threads=options.threads
        )
    )
    try:
        if way == "naive":
            return naive(engine, samples)
        return ours(engine, samples, options.best if way == "best" else 1)
    finally:
        engine.close()


def direction(pair: Pair) -> str:
    return f"{pair.source}-{pair.target}"


def read_samples(files: Sequence[Path], count: int, half: int) -> list[Pair]:
    samples = []
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        samples += [
            Pair(
                text=row["source"],
                reference=row["reference"],
                source=find_language(row["src_lang"]),
                target=find_language(row["tgt_lang"]),
            )
            for row in rows[half::2][:count]
        ]
    return samples


def naive_prompt(model: ModelInfo, sample: Pair) -> Prompt:
    """Return one plain instruction; for a base model, the same words as text."""
    asked = TranslationPrompt(text=sample.text, source=sample.source, target=sample.target)
    prompt = instruction(asked).prompt
    assert not isinstance(prompt, str)
    return prompt if model.is_chat else prompt.messages[-1].content + "\n"


def naive(engine: Engine, samples: Sequence[Pair]) -> Outcome:
    def request(item: tuple[int, Pair]) -> Generate:
        number, sample = item
        sampling = SamplingParams(temperature=0, max_tokens=NAIVE_TOKENS)
        return Generate(prompt=naive_prompt(engine.model, sample), sampling=sampling, id=number)

    warm(engine)
    started = time.perf_counter()
    results = list(run_ordered(engine, enumerate(samples), request))
    seconds = time.perf_counter() - started
    return Outcome(
        [each.text.strip() if isinstance(each, Completion) else "" for _, each in results], seconds
    )


def of_server(url: str, model: Path, samples: Sequence[Pair]) -> Outcome:
    is_chat = read_header(model).chat_template is not None
    info = ModelInfo(name=model.name, chat_template="" if is_chat else None)

    def ask(sample: Pair) -> str:
        prompt = naive_prompt(info, sample)
        body: dict[str, Any] = {"temperature": 0, "cache_prompt": True}
        if isinstance(prompt, str):
            body |= {"prompt": prompt, "n_predict": NAIVE_TOKENS}
            return str(post(f"{url}/completion", body)["content"])
        messages = [{"role": each.role, "content": each.content} for each in prompt.messages]
        body |= {"messages": messages, "max_tokens": NAIVE_TOKENS}
        return str(post(f"{url}/v1/chat/completions", body)["choices"][0]["message"]["content"])

    ask(samples[0])
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        texts = list(clients.map(ask, samples))
    return Outcome([text.strip() for text in texts], time.perf_counter() - started)


def post(url: str, body: dict[str, Any]) -> Any:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=600).read())


def ours(engine: Engine, samples: Sequence[Pair], best: int) -> Outcome:
    """Translate as `gptcli translate` does, with --best or without."""
    task = TranslateTask(best=best)
    texts, kept = [], 0
    faults: Counter[Fault] = Counter()
    warm(engine)
    started = time.perf_counter()
    for _, result in translate(engine, task, samples):
        if isinstance(result, GptcliError):
            raise result
        texts.append(result.text)
        kept += result.is_kept
        faults.update(finding.fault for finding in result.findings)
    seconds = time.perf_counter() - started
    said = ", ".join(f"{fault} {count}" for fault, count in faults.most_common())
    return Outcome(texts, seconds, f"{kept} left in the source language" + (f"; {said}" if said else ""))


def warm(engine: Engine) -> None:
    complete(engine, Generate(prompt="warm", sampling=SamplingParams(max_tokens=2)))


def print_row(model: str, way: str, samples: Sequence[Pair], outcome: Outcome) -> None:
    by_direction: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    outputs = outcome.texts
    for sample, output in zip(samples, outputs, strict=True):
        by_direction[direction(sample)][0].append(output)
        by_direction[direction(sample)][1].append(sample.reference)
    references = [sample.reference for sample in samples]
    each = " | ".join(f"{corpus_chrf(*pair):.1f}" for pair in by_direction.values())
    both = list(zip(samples, outputs, strict=True))
    loops = sum(is_looping(output, sample.text) for sample, output in both)
    wrong = sum(bool(wrong_language(output, sample.target)) for sample, output in both)
    figures = f"{corpus_chrf(outputs, references):.2f} | {bleu(outputs, references)} | {each}"
    rate = len(samples) / outcome.seconds
    print(
        f"| {model} | {way} | {rate:.2f} | {figures} | {loops} | {wrong} | {outcome.remark} |",
        flush=True,
    )


def bleu(outputs: Sequence[str], references: Sequence[str]) -> str:
    """Return sacreBLEU's BLEU, if that is installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        return ""
    return f"{BLEU().corpus_score(list(outputs), [list(references)]).score:.1f}"


def save(path: Path, samples: Sequence[Pair], outputs: Sequence[str]) -> None:
    rows = [
        {
            "source": each.text,
            "reference": each.reference,
            "direction": direction(each),
            "output": output,
        }
        for each, output in zip(samples, outputs, strict=True)
    ]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")


if __name__ == "__main__":
    main()
