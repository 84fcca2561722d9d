"""Measure retrieval: how often the passage with the answer is found, and what an index costs.

    python -m benchmarks.retrieval --data squad2.jsonl --data cmrc2018.jsonl [-n RUNS]

Each file holds JSON Lines with context, question, answers, is_impossible and doc. Its contexts are
pooled, the paragraphs of a document in one source; a question with an answer counts as found where one
of the first k passages lies in its context and has an answer in it. The folder that is indexed has
200 files of made-up words, 2 MB, as many different ones as English texts of that length have.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptcli.documents.passages import Passage, Source
from gptcli.documents.sources import SourceFile, find_files, read_source
from gptcli.store.passage_index import PassageIndex

DEPTHS = (1, 3, 5, 10)
FILES, FILE_BYTES = 200, 10_000
VOCABULARY, WORD_LETTERS = 30_000, 9
WHOLE_PROCESS = """
import io, sys
from gptcli.cli.collecting import opened_collection
from gptcli.output.console import Output
from gptcli.tasks.retrieval import choose
with opened_collection(sys.argv[1:], b"", Output(stdout=io.StringIO())) as collection:
    assert choose(collection, "any question", budget_words=1000)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure retrieval.")
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("-n", "--runs", type=int, default=5)
    options = parser.parse_args()
    print("| figure | ours | target |")
    print("|---|---|---|")
    index_rows(options.runs)
    for path in options.data:
        recall_row(path)


def row(figure: str, ours: str, target: str) -> None:
    print(f"| {figure} | {ours} | {target} |", flush=True)


# ------------------------------------------------------------------------------------------ the index


def index_rows(runs: int) -> None:
    with tempfile.TemporaryDirectory() as workspace:
        folder = Path(workspace, "texts")
        size = write_folder(folder)
        made, again = [], []
        for run in range(runs):
            path = Path(workspace, f"{run}.passages")
            made.append(update_s(path, folder))
            again.append(update_s(path, folder))
        os.environ["GPTCLI_CACHE_DIR"] = f"{workspace}/cache"
        whole = [process_s(folder) for _ in range(runs + 1)]
    name = f"{FILES} files, {size / 1e6:.1f} MB"
    row(f"index of {name}, s", f"{statistics.median(made):.2f}", "<= 5")
    row(f"index of {name}, again, s", f"{statistics.median(again):.3f}", "<= 0.5")
    row(f"{name}: a whole process that makes it, s", f"{whole[0]:.2f}", "-")
    row(f"{name}: a whole process that has it, s", f"{statistics.median(whole[1:]):.2f}", "-")


def write_folder(folder: Path) -> int:
    """Write the files; return their size in bytes."""
    folder.mkdir()
    chance = random.Random(1)
    words = [
        "".join(chance.choices("etaoinshrdlu", k=chance.randint(2, WORD_LETTERS)))
        for _ in range(VOCABULARY)
    ]
    weights = [1 / rank for rank in range(1, VOCABULARY + 1)]  # as Zipf found
    size = 0
    for number in range(FILES):
        text = f"# Text {number}\n"
        while len(text) < FILE_BYTES:
            sentences = (chance.choices(words, weights, k=chance.randint(5, 25)) for _ in range(5))
            text += "\n" + " ".join(f"{' '.join(each)}." for each in sentences) + "\n"
        (folder / f"text{number}.md").write_text(text, encoding="utf-8")
        os.utime(folder / f"text{number}.md", (number, number))
        size += len(text)
    return size


def update_s(path: Path, folder: Path) -> float:
    started = time.perf_counter()
    index = PassageIndex(path)
    index.update(find_files([str(folder)], print), read_source, on_skip=print)
    index.close()
    return time.perf_counter() - started


def process_s(folder: Path) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", WHOLE_PROCESS, str(folder)], check=True)
    return time.perf_counter() - started


# ------------------------------------------------------------------------------------------- recall


def recall_row(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    contexts: dict[str, dict[str, None]] = {}
    for each in rows:
        contexts.setdefault(each["doc"], {})[each["context"]] = None
    sources = {doc: Source(doc, "\n\n".join(texts)) for doc, texts in contexts.items()}
    asked = [each for each in rows if not each["is_impossible"]]
    with tempfile.TemporaryDirectory() as workspace:
        index = PassageIndex(Path(workspace, "passages"))
        files = [SourceFile(name, 0, 0) for name in sources]
        index.update(files, lambda file: sources[file.name], on_skip=print)
        ranks = [rank_of_answer(index, each) for each in asked]
        index.close()
    found = ", ".join(
        f"{sum(rank <= depth for rank in ranks) / len(ranks):.3f} @{depth}" for depth in DEPTHS
    )
    row(f"recall, {path.stem}, {len(asked)} questions of {len(sources)} documents", found, ">= 0.90 @5")


def rank_of_answer(index: PassageIndex, asked: Mapping[str, Any]) -> float:
    """Return the rank of the first passage with the answer, from 1; infinite if it was not found."""
    found = index.search(asked["question"], max(DEPTHS))
    ranks = (
        rank
        for rank, each in enumerate(found, 1)
        if holds(each.passage, asked["context"], asked["answers"])
    )
    return next(ranks, float("inf"))


def holds(passage: Passage, context: str, answers: Sequence[str]) -> bool:
    """Tell whether a passage has an answer in what it shares with the context."""
    begin = passage.source.text.find(context)
    if begin < 0:
        return False
    shared = passage.source.text[max(begin, passage.start) : min(begin + len(context), passage.end)]
    return any(answer in shared for answer in answers)


if __name__ == "__main__":
    main()
