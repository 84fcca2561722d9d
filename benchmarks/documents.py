"""Translate documents and tell what was kept: skeleton, placeholders, tags, numbers, addresses, code.

    python -m benchmarks.documents DIR -m base.gguf -m instruct.gguf --out FOLDER [--limit SECONDS]

Every file below DIR is translated by the command, into French, or English if it is not English itself;
then again, which must take no call of a model. What was kept is counted by expressions of its own over
the whole file, not by those that the command protects it with. `--limit` stops a translation after so
many seconds; run again, it goes on from the translation memory. Exit 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptcli.documents.document import Document
from gptcli.documents.formats import DocumentOptions, open_document
from gptcli.tasks.detect import detect

GPTCLI = (sys.executable, "-m", "gptcli")
SECOND_RUN_S = 1.5
KINDS: Mapping[str, re.Pattern[str]] = {
    "placeholders": re.compile(
        r"\{\{.*?\}\}|\{%.*?%\}|\$\{[^{}\s]*\}|\{\w*\}|%\(\w+\)[sdif]|%[sdif]\b|&[A-Za-z]+;|\[\^\w+\]"
    ),
    "tags": re.compile(r"</?[A-Za-z][^<>]*>"),
    "numbers": re.compile(r"\d(?:[.,'’\u00a0\u202f ]?\d)*"),
    "addresses": re.compile(r"https?://[^\s\"'<>)\]`]+[\w/]"),
    "code": re.compile(
        r"(?<!`)(`{1,2})(?!`)[^`]+\1(?!`)|<(?:code|kbd)>.*?</(?:code|kbd)>|```.*?```", re.S
    ),
}
TEXT_ATTRIBUTE = re.compile(
    r"\s(?:alt|title|placeholder|label|content|value|summary|abbr|aria-label)=(?:\"[^\"]*\"|'[^']*')"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """How many things of one kind a document has, and which of them its translation lacks."""

    count: int
    lost: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count - len(self.lost)}/{self.count}" if self.count else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description="Translate documents and tell what was kept.")
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("-m", "--model", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the translations")
    parser.add_argument("--only", default="*", help="pattern of the files' names")
    parser.add_argument("--limit", type=float, help="seconds after which a translation is stopped")
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    files = sorted(path for path in options.data.rglob(options.only) if path.is_file())
    names = ("file", "model", "to", "segments", "left", "skeleton", *KINDS, "first s", "again s")
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    failed = False
    for model in options.model:
        folder = options.out / model.stem
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(files, key=lambda path: path.stat().st_size):
            failed |= not measure(path, model, folder, options)
    sys.exit(failed)


def measure(path: Path, model: Path, folder: Path, options: argparse.Namespace) -> bool:
    """Translate a file twice and print what was kept; tell whether all was."""
    target = target_of(path)
    report = folder / f"{path.name}.json"
    command = [
        *(*GPTCLI, "translate", "-i", str(path), "-o", str(folder / path.name), "--to", target),
        *("-m", str(model), "--all-entries", "--quiet", "--report", str(report)),
        *("--threads", str(options.threads)),
    ]
    first_s = seconds_of(command, options.limit)
    if first_s is None:
        print(
            f"| {path.name} | {model.stem} | {target} | stopped after {options.limit:.0f} s |",
            flush=True,
        )
        return False
    left = json.loads(report.read_text(encoding="utf-8"))["kept"]
    again_s = seconds_of(command, None) or 0.0
    again = json.loads(report.read_text(encoding="utf-8"))
    source, translation = opened(path, target), opened(folder / path.name, target)
    kept = [skeleton_of(source, translation), *(kept_of(kind, source, translation) for kind in KINDS)]
    is_free = again["tokens"] == 0 and again_s <= SECOND_RUN_S
    figures = (
        again["segments"],
        left,
        *kept,
        f"{first_s:.1f}",
        f"{again_s:.2f}{'' if is_free else ' !'}",
    )
    print(f"| {path.name} | {model.stem} | {target} | {' | '.join(map(str, figures))} |", flush=True)
    for name, each in zip(("skeleton", *KINDS), kept, strict=True):
        if each.lost:
            print(f"{path.name}: {name} lost: {each.lost[:10]}", file=sys.stderr)
    return is_free and not any(each.lost for each in kept)


def seconds_of(command: Sequence[str], limit_s: float | None) -> float | None:
    """Run the command; return the wall seconds of the whole process, None if it was stopped."""
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
            return None
    if status:
        sys.exit(f"{' '.join(command)}: exit status {status}")
    return time.monotonic() - started


def target_of(path: Path) -> str:
    texts = " ".join(segment.text for segment in opened(path, "fr").segments)
    return "fr" if detect(texts).language == "en" else "en"


def opened(path: Path, target: str) -> Document:
    options = DocumentOptions(target_language=target, all_entries=True)
    return open_document(path.read_bytes(), name=path.name, options=options)


def skeleton_of(source: Document, translation: Document) -> Kept:
    """Return how many of the texts around the segments the translation has, in their order."""
    if source.format == "po":  # its segments are the messages, beside which the translations stand
        pairs = zip(source.skeleton, translation.skeleton, strict=False)
        lost = [before for before, after in pairs if before != after]
        return Kept(len(source.skeleton), tuple(lost))
    around = []
    end = 0
    for segment in sorted(source.segments, key=lambda segment: (segment.start, -segment.end)):
        if segment.start >= end:  # else it is within another one, as an image's text is
            around.append(source.text[end : segment.start])
        end = max(end, segment.end)
    around.append(source.text[end:])
    place, lost = 0, []
    for text in around:
        found = translation.text.find(text, place)
        if found < 0:
            lost.append(text)
        else:
            place = found + len(text)
    if not translation.text.startswith(around[0]) or not translation.text.endswith(around[-1]):
        lost.append("its first or last text")
    return Kept(len(around), tuple(lost))


def kept_of(kind: str, source: Document, translation: Document) -> Kept:
    lost: list[str] = []
    count = 0
    for before, after, optional in texts_of(source, translation):
        wanted = found_in(kind, before)
        count += wanted.total()
        lost += (wanted - found_in(kind, after) - optional).elements()
    return Kept(count, tuple(lost))


def texts_of(source: Document, translation: Document) -> Iterator[tuple[str, str, Counter[str]]]:
    """Yield what stands for what: both documents; of PO, each message that has a translation.

    What a translation may lack comes with it: the number of a plural form that is for one number.
    """
    if source.format != "po":
        yield source.text, translation.text, Counter()
        return
    for before, after in zip(source.segments, translation.segments, strict=True):
        if after.present is not None:
            optional = Counter(each.source for each in before.placeholders if each.is_optional)
            text = "".join(part if isinstance(part, str) else part.source for part in before.parts)
            yield text, after.present, optional


def found_in(kind: str, text: str) -> Counter[str]:
    found = [match[0] for match in KINDS[kind].finditer(text)]
    if kind == "numbers":  # 1,000 may be written as 1 000
        found = ["".join(str(int(char)) for char in each if char.isdecimal()) for each in found]
    elif kind == "tags":
        found = [" ".join(TEXT_ATTRIBUTE.sub("", each).split()) for each in found]
    elif kind == "code":
        found = ["".join(each.split()) for each in found]
    return Counter(found)


if __name__ == "__main__":
    main()
