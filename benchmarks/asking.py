"""Measure answers from texts: F1 against a naive prompt, abstention, and how soon a second one comes.

    python -m benchmarks.asking -m base.gguf -m instruct.gguf --data DIR [-n 60] [--half 1]

DIR holds JSON Lines files in the shape of SQuAD: context, question, answers, id. `naive` is the passage
and the question in one plain prompt (with a chat template, if the model has one), greedy. The questions
come in the order of the hash of their ids, and --half takes half of them. The weights of answers were
chosen on the first 26 to 36 of XQuAD (English) and SQuAD 2.0, of both halves: others tell more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.batching import row
from gptcli.documents.passages import Passage, Source
from gptcli.engine.api import Completion, Engine, EngineSettings, Generate, complete
from gptcli.engine.local import LocalEngine
from gptcli.messages import Conversation, Message
from gptcli.prompts.ask import form_for
from gptcli.sampling import SamplingParams
from gptcli.tasks.answer_metrics import Question, best_f1, evaluate_answers
from gptcli.tasks.ask import ask

NAIVE_TOKENS = 64
FIGURES = (
    "em",
    "f1",
    "forced_f1",
    "answerable_f1",
    "no_answer_accuracy",
    "no_answer_recall",
    "citations",
)
DOCUMENT_CHARACTERS = 6_500  # some 1,500 tokens of English


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure answers from texts.")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--files", nargs="+", default=["xquad_en", "squad2", "xquad_zh", "cmrc2018"])
    parser.add_argument("-n", type=int, default=60, help="questions of a file")
    parser.add_argument("--half", type=int, choices=(0, 1), help="else both")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    print(f"| model | data | questions | naive F1 | {' | '.join(FIGURES)} | s/question |")
    print("|---" * (5 + len(FIGURES)) + "|")
    engines = {
        model.stem: EngineSettings(model_path=str(model), model_name=model.stem, threads=options.threads)
        for model in options.model
    }
    for name, settings in engines.items():
        for file in options.files:
            questions = read_half(options.data / f"{file}.jsonl", options.half)[: options.n]
            measure(LocalEngine(settings), name, file, questions)
    print("\n| figure | model | gptcli | peer | ratio | target |")
    print("|---|---|---|---|---|---|")
    for name, settings in engines.items():
        second_question_row(settings, name, options.data / f"{options.files[0]}.jsonl")


def read_half(path: Path, half: int | None) -> list[Question]:
    """Return the questions of a half, ordered by the hash of their ids."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records.sort(key=lambda record: digest(record["id"]))
    return [
        Question(record["context"], record["question"].strip(), tuple(record["answers"]))
        for record in records
        if half is None or digest(f"h{record['id']}")[-1] % 2 == half
    ]


def digest(text: str) -> bytes:
    return hashlib.sha1(text.encode(), usedforsecurity=False).digest()


def measure(engine: Engine, name: str, file: str, questions: list[Question]) -> None:
    answerable = [each for each in questions if each.answers]
    naive = [best_f1(naive_answer(engine, each), each.answers) for each in answerable]
    found = evaluate_answers(engine, questions).figures
    values = [f"{found[figure]:.3g}" if figure in found else "" for figure in FIGURES]
    score = 100 * sum(naive) / max(1, len(naive))
    print(
        f"| {name} | {file} | {len(questions)} | {score:.1f} | {' | '.join(values)} "
        f"| {found['seconds_per_question']:.2f} |",
        flush=True,
    )
    engine.close()


def naive_answer(engine: Engine, question: Question) -> str:
    text = f"{question.context}\n\nQuestion: {question.question}"
    prompt: Any = f"{text}\nAnswer:"
    if engine.model.is_chat:
        prompt = Conversation((Message("user", f"{text}\nAnswer the question from the text."),))
    sampling = SamplingParams(temperature=0, max_tokens=NAIVE_TOKENS)
    stop = () if engine.model.is_chat else ("\n",)
    return complete(engine, Generate(prompt=prompt, sampling=sampling, stop=stop)).text


def second_question_row(settings: EngineSettings, name: str, path: Path) -> None:
    """Compare the time to the first token of a second question about a document with the first's."""
    questions = read_half(path, None)
    text = "\n\n".join(dict.fromkeys(each.context for each in questions))[:DOCUMENT_CHARACTERS]
    first, second = [each.question for each in questions if each.context in text][:2]
    cold, warm = LocalEngine(settings), LocalEngine(settings)
    passages = [Passage(Source("document", text), 0, len(text), 1)]
    first_s = first_token_s(cold, text, first)
    began = time.perf_counter()
    ask(warm, first, passages)
    whole_s = time.perf_counter() - began
    second_s = first_token_s(warm, text, second)
    began = time.perf_counter()
    ask(warm, second, passages)
    again_s = time.perf_counter() - began
    tokens = first_s.usage.prompt_tokens
    row(
        f"second question on {tokens:,} tokens, s to the first token",
        name,
        second_s.timings.prompt_s,
        first_s.timings.prompt_s,
        "first question",
        "<= 0.2",
    )
    row("the whole answer, s", name, again_s, whole_s, "first question", "-")
    cold.close()
    warm.close()


def first_token_s(engine: Engine, text: str, question: str) -> Completion:
    prompt = form_for(text).prompt(text, question)
    sampling = SamplingParams(temperature=0, max_tokens=1)
    return complete(engine, Generate(prompt=prompt, sampling=sampling))


if __name__ == "__main__":
    main()
