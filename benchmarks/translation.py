"""Measure translations against references: chrF, BLEU, faults, speed; naive, as it comes, and --best.

    python -m benchmarks.translation -m base.gguf -m instruct.gguf --data DIR [-n 25] [--best 8]

DIR holds JSON Lines files, one a direction, with the fields source, reference, src_lang and tgt_lang.
`naive` is one plain instruction a sentence, greedy, on the same model. Of each file, every other line
counts (--half says which): forms were chosen on the first half, figures are of the second.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptcli.engine.api import Completion, Engine, EngineSettings, Generate
from gptcli.engine.local import LocalEngine
from gptcli.errors import GptcliError
from gptcli.languages import Language, find_language
from gptcli.prompts.translation import TranslationPrompt, instruction
from gptcli.sampling import SamplingParams
from gptcli.tasks.chrf import corpus_chrf
from gptcli.tasks.ordered import run_ordered
from gptcli.tasks.translate import TranslateTask, translate
from gptcli.tasks.translation_checks import Fault, is_looping, wrong_language
from gptcli.tasks.translation_text import Protected

NAIVE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """A sentence with its reference."""

    text: str
    reference: str
    source: Language
    target: Language
    context: str = ""
    protected: tuple[Protected, ...] = ()

    def check(self, _translation: str, /) -> str:
        return ""

    @property
    def direction(self) -> str:
        return f"{self.source}-{self.target}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure translations against references.")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--files", default="flores200_devtest.*.jsonl")
    parser.add_argument("-n", type=int, default=25, help="sentences a direction")
    parser.add_argument("--half", type=int, choices=(0, 1), default=1)
    parser.add_argument("--best", type=int, default=8)
    parser.add_argument("--rows", default="naive,default,best")
    parser.add_argument("--save", type=Path, help="folder for the outputs")
    options = parser.parse_args()
    samples = read_samples(sorted(options.data.glob(options.files)), options.n, options.half)
    directions = list(dict.fromkeys(sample.direction for sample in samples))
    print(f"| model | way | chrF | BLEU | {' | '.join(directions)} | loops | wrong language | s |")
    print("|---" * (len(directions) + 7) + "|")
    for model in options.model:
        engine = LocalEngine(EngineSettings(model_path=str(model), model_name=model.name))
        try:
            for way in options.rows.split(","):
                started = time.monotonic()
                best = options.best if way == "best" else 1
                outputs = naive(engine, samples) if way == "naive" else ours(engine, samples, best)
                print_row(model.name, way, samples, outputs, time.monotonic() - started)
                if options.save:
                    save(options.save / f"{model.stem}.{way}.{options.half}.json", samples, outputs)
        finally:
            engine.close()


def read_samples(files: Sequence[Path], count: int, half: int) -> list[Sample]:
    samples = []
    for file in files:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        samples += [
            Sample(
                row["source"],
                row["reference"],
                find_language(row["src_lang"]),
                find_language(row["tgt_lang"]),
            )
            for row in rows[half::2][:count]
        ]
    return samples


def naive(engine: Engine, samples: Sequence[Sample]) -> list[str]:
    """Return what one plain instruction gives."""

    def request(item: tuple[int, Sample]) -> Generate:
        number, sample = item
        asked = TranslationPrompt(text=sample.text, source=sample.source, target=sample.target)
        prompt = instruction(asked).prompt
        if not engine.model.is_chat:
            assert not isinstance(prompt, str)
            prompt = prompt.messages[-1].content + "\n"
        sampling = SamplingParams(temperature=0, max_tokens=NAIVE_TOKENS)
        return Generate(prompt=prompt, sampling=sampling, id=number)

    results = run_ordered(engine, enumerate(samples), request)
    return [result.text.strip() if isinstance(result, Completion) else "" for _, result in results]


def ours(engine: Engine, samples: Sequence[Sample], best: int) -> list[str]:
    """Return what `gptcli translate` gives, with --best or without."""
    task = TranslateTask(best=best)
    outputs, kept = [], 0
    faults: Counter[Fault] = Counter()
    for _, result in translate(engine, task, samples):
        if isinstance(result, GptcliError):
            raise result
        outputs.append(result.text)
        kept += result.is_kept
        faults.update(finding.fault for finding in result.findings)
    print(f"<!-- best of {best}: {kept} left in the source language, {dict(faults)} -->")
    return outputs


def print_row(
    model: str, way: str, samples: Sequence[Sample], outputs: Sequence[str], seconds: float
) -> None:
    by_direction: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for sample, output in zip(samples, outputs, strict=True):
        by_direction[sample.direction][0].append(output)
        by_direction[sample.direction][1].append(sample.reference)
    references = [sample.reference for sample in samples]
    each = " | ".join(f"{corpus_chrf(*pair):.1f}" for pair in by_direction.values())
    both = list(zip(samples, outputs, strict=True))
    loops = sum(is_looping(output, sample.text) for sample, output in both)
    wrong = sum(bool(wrong_language(output, sample.target)) for sample, output in both)
    figures = f"{corpus_chrf(outputs, references):.2f} | {bleu(outputs, references)} | {each}"
    print(f"| {model} | {way} | {figures} | {loops} | {wrong} | {seconds:.0f} |", flush=True)


def bleu(outputs: Sequence[str], references: Sequence[str]) -> str:
    """Return sacreBLEU's BLEU, if that is installed."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        return ""
    return f"{BLEU().corpus_score(list(outputs), [list(references)]).score:.1f}"


def save(path: Path, samples: Sequence[Sample], outputs: Sequence[str]) -> None:
    rows = [
        {"source": each.text, "reference": each.reference, "direction": each.direction, "output": output}
        for each, output in zip(samples, outputs, strict=True)
    ]
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=0), encoding="utf-8")


if __name__ == "__main__":
    main()
