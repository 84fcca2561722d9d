"""Measure sentiment: right labels and honest scores beside other ways, and speed beside llama-server.

    python -m benchmarks.labels -m base.gguf -m instruct.gguf --data tweets.jsonl --binary sst2.jsonl
        [--peers DIR] [-n 1000] [--keep FILE]

Data are JSON Lines files with the fields text and label: positive, negative, neutral; of those of
--binary, records that are neutral are left out. Beside gptcli stand the same model
asked plainly, in one sentence, greedy; and the word lists of VADER and TextBlob, if they are installed.

With --peers, -n texts are labelled by gptcli, and a quarter of them by llama-server (8 slots, 8 clients,
cached prompts, a word each) with the same examples and asked plainly; and the rate of new tokens is set
against llama-bench's. Measure on an idle machine.

With --keep, what was measured of the models is written as gptcli/store/calibrations.toml has it; --form
MODEL:LABELS:FORM (the file's name; 2 or 3, for Chinese texts 2zh or 3zh) chooses a form by these figures
instead of by the sample.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.batching import prompt_rate, server
from gptcli.engine.api import Completion, Engine, EngineSettings, Generate, Prompt
from gptcli.engine.local import LocalEngine
from gptcli.engine.prompt_cache import model_fingerprint
from gptcli.messages import Conversation, Message
from gptcli.prompts.labels import LabelForm
from gptcli.sampling import SamplingParams
from gptcli.tasks.evaluation import Item, evaluate_labels
from gptcli.tasks.label_setup import Question, measure, sentiment_question
from gptcli.tasks.labels import Classifier, LabelTask
from gptcli.tasks.metrics import label_metrics
from gptcli.tasks.ordered import run_ordered

CLIENTS = 8
ANSWER_TOKENS = 4  # at most: a word and its end
SHOWN = 1500  # characters of a text that the plain question shows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--binary", type=Path, action="append", default=[])
    parser.add_argument("--peers", type=Path, help="folder of llama-server and llama-bench")
    parser.add_argument("-n", "--texts", type=int, default=1000, help="texts to measure speed with")
    parser.add_argument("--keep", type=Path, help="file for the calibrations of these models")
    parser.add_argument("--form", action="append", default=[], help="MODEL:2|3|2zh|3zh:FORM")
    parser.add_argument("--no-naive", action="store_true", help="leave out the plain question")
    options = parser.parse_args()
    if options.keep:
        keep_calibrations(options.keep, options.model, options.form)
    sets = {path.stem: read_items(path) for path in options.data}
    for path in options.binary:
        sets[path.stem] = [item for item in read_items(path) if item.target != "neutral"]
    print("| data | records | labels | way | accuracy | macro-F1 | calibration error | records/s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, items in sets.items():
        for way, judge in word_lists().items():
            print_way(name, items, way, [judge(item.text, labels_of(items)) for item in items])
    for model in options.model:
        engine = LocalEngine(EngineSettings(model_path=str(model), model_name=model.stem))
        for name, items in sets.items():
            print_ours(engine, name, items)
            if not options.no_naive:
                print_way(name, items, f"{model.stem}, asked plainly", asked_plainly(engine, items))
        engine.close()
    if options.peers:
        some = [item.text for items in sets.values() for item in items if len(item.text) < 400]
        texts = (some * (options.texts // max(1, len(some)) + 1))[: options.texts]
        print("\n| figure | model | gptcli | peer | ratio |\n|---|---|---|---|---|")
        for model in options.model:
            speed_rows(options.peers, model, texts)


def read_items(path: Path) -> list[Item]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return [Item(record["text"], record["label"]) for record in records]


def labels_of(items: Sequence[Item]) -> tuple[str, ...]:
    return sentiment_question(
        with_neutral=any(item.target == "neutral" for item in items), is_chat=False
    ).labels


def print_ours(engine: Engine, name: str, items: Sequence[Item]) -> None:
    classifier = Classifier(engine, calibrated(engine, len(labels_of(items)) > 2))
    found = evaluate_labels(classifier, items, labels_of(items))
    form = classifier.task.forms[0].name
    figures = (found.figures[each] for each in ("accuracy", "macro_f1", "calibration_error"))
    shown = " | ".join(f"{value:.3f}" for value in figures)
    way = f"{len(labels_of(items))} | {engine.model.name}, gptcli ({form})"
    print(f"| {name} | {len(items)} | {way} | {shown} | {found.per_second:.1f} |", flush=True)


def calibrated(engine: Engine, with_neutral: bool) -> LabelTask:
    question: Question = sentiment_question(with_neutral=with_neutral, is_chat=engine.model.is_chat)
    choices = [measure(engine, each, lambda *_: None) for each in (question, question.chinese) if each]
    return question.task(*choices)


def keep_calibrations(path: Path, models: Sequence[Path], forms: Sequence[str]) -> None:
    """Measure each model on the sample of both questions; write what `find_choice` reads."""
    lines = ["# By weights and question: form and calibration (benchmarks.labels --keep).\n"]
    for model in models:
        with contextlib.closing(
            LocalEngine(EngineSettings(model_path=str(model), model_name=model.stem))
        ) as engine:
            lines.append(f"[{model_fingerprint(model)}] # {model.stem}\n")
            is_chat = engine.model.is_chat
            asked = [sentiment_question(with_neutral=each, is_chat=is_chat) for each in (False, True)]
            questions = [(question, "") for question in asked]
            questions += [(question.chinese, "zh") for question in asked if question.chinese]
            for question, language in questions:
                wanted = f"{model.stem}:{len(question.labels)}{language}:"
                chosen = [form.removeprefix(wanted) for form in forms if form.startswith(wanted)]
                compared = question.only(chosen[0]) if chosen else question
                choice = measure(engine, compared, lambda *_: None)
                weights, biases = (
                    ", ".join(f"{value:.4f}" for value in values)
                    for values in (choice.calibration.weights, choice.calibration.biases)
                )
                lines.append(
                    f'{question.digest} = {{ form = "{choice.form}", weights = [{weights}], '
                    f"biases = [{biases}] }}\n"
                )
    path.write_text("".join(lines), encoding="utf-8")


def print_way(name: str, items: Sequence[Item], way: str, answers: Sequence[str]) -> None:
    labels = labels_of(items)
    found = label_metrics(
        labels,
        [labels.index(item.target) for item in items],
        [labels.index(answer) for answer in answers],
        [1.0] * len(items),
    )
    shown = f"{found.accuracy:.3f} | {found.macro_f1:.3f}"
    print(f"| {name} | {len(items)} | {len(labels)} | {way} | {shown} | | |", flush=True)


# ----------------------------------------------------------------------------------- other ways


def word_lists() -> dict[str, Callable[[str, Sequence[str]], str]]:
    """Return the judges that are installed: a text and the labels to a label."""
    judges: dict[str, Callable[[str, Sequence[str]], str]] = {}
    try:
        from vaderSentiment.vaderSentiment import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            SentimentIntensityAnalyzer,
        )

        analyzer = SentimentIntensityAnalyzer()
        judges["VADER"] = lambda text, labels: by_threshold(
            analyzer.polarity_scores(text)["compound"], 0.05, labels
        )
    except ImportError:
        pass
    try:
        from textblob import TextBlob  # type: ignore[import-untyped, import-not-found, unused-ignore]

        judges["TextBlob"] = lambda text, labels: by_threshold(
            TextBlob(text).sentiment.polarity, 0.05, labels
        )
    except ImportError:
        pass
    return judges


def by_threshold(polarity: float, width: float, labels: Sequence[str]) -> str:
    if len(labels) > 2 and abs(polarity) < width:
        return "neutral"
    return "positive" if polarity >= 0 else "negative"


def plain_prompt(text: str, labels: Sequence[str], *, is_chat: bool) -> Prompt:
    choice = ", ".join(labels[:-1]) + f" or {labels[-1]}"
    asked = f"Is the sentiment of this text {choice}? Answer with one word.\n\n{text[:SHOWN]}"
    return Conversation((Message("user", asked),)) if is_chat else f"{asked}\n\nAnswer:"


def asked_plainly(engine: Engine, items: Sequence[Item]) -> list[str]:
    labels = labels_of(items)
    numbered = list(enumerate(items))
    answers = []
    for (_, _), result in run_ordered(
        engine,
        numbered,
        lambda pair: Generate(
            prompt=plain_prompt(pair[1].text, labels, is_chat=engine.model.is_chat),
            sampling=SamplingParams(temperature=0, max_tokens=6),
            id=pair[0],
        ),
    ):
        said = result.text.lower() if isinstance(result, Completion) else ""
        places = {label: said.find(label) for label in labels if label in said}
        answers.append(min(places, key=places.__getitem__) if places else labels[0])
    return answers


# ---------------------------------------------------------------------------------------- speed


def speed_rows(peers: Path, model: Path, texts: Sequence[str]) -> None:
    engine = LocalEngine(EngineSettings(model_path=str(model), model_name=model.stem))
    task = calibrated(engine, with_neutral=False)
    classifier = Classifier(engine, task)
    list(classifier.classify(texts[:CLIENTS], lambda text: text))  # it has read the examples
    started = time.perf_counter()
    found = [each for _, each in classifier.classify(texts, lambda text: text)]
    seconds = time.perf_counter() - started
    ours = len(texts) / seconds
    tokens = sum(getattr(each, "tokens", 0) for each in found)
    form, is_chat = classifier.task.forms[0], engine.model.is_chat
    assert isinstance(form, LabelForm)
    labels = classifier.task.labels
    engine.close()
    asked: dict[str, Callable[[str], Prompt]] = {
        "the same examples": form.prompt,
        "a plain question": lambda text: plain_prompt(text, labels, is_chat=is_chat),
    }
    for way, prompt in asked.items():
        theirs = server_rate(peers, model, [prompt(text) for text in texts[: len(texts) // 4]])
        print(
            f"| {len(texts)} texts, records/s | {model.stem} | {ours:.2f} "
            f"| llama-server, {way}, {theirs:.2f} | {ours / theirs:.2f} |",
            flush=True,
        )
    for size in (512, round(tokens / len(texts))):
        limit = prompt_rate(peers, model, size)
        print(
            f"| new tokens/s | {model.stem} | {tokens / seconds:.0f} "
            f"| llama-bench pp{size} {limit:.0f} | {tokens / seconds / limit:.2f} |",
            flush=True,
        )


def server_rate(peers: Path, model: Path, prompts: Sequence[Prompt]) -> float:
    """Return how many a second llama-server answers with a word, from 8 clients on 8 slots."""

    def ask(prompt: Prompt) -> None:
        body: dict[str, object] = {"temperature": 0, "cache_prompt": True, "max_tokens": ANSWER_TOKENS}
        if isinstance(prompt, str):
            path, body["prompt"], body["stop"] = "/completion", prompt, ["\n"]
            body["n_predict"] = ANSWER_TOKENS
        else:
            path = "/v1/chat/completions"
            body["messages"] = [dataclasses.asdict(message) for message in prompt.messages]
        request = urllib.request.Request(
            f"{url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=300).read()

    with server(peers, model) as url, concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(ask, prompts[:CLIENTS]))  # each slot has read the examples
        started = time.perf_counter()
        list(clients.map(ask, prompts))
        return len(prompts) / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
