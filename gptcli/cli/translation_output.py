"""Where translations go: documents to files or stdout, lines and records as soon as they are there."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gptcli.cli.translation_input import Input, SegmentUnit
from gptcli.errors import GptcliError, StorageError, UsageError
from gptcli.files import write_whole
from gptcli.languages import Language
from gptcli.output.console import Output
from gptcli.output.translations import TranslationView
from gptcli.tasks.translate import Translation

Params = dict[str, Any]
Result = Translation | GptcliError


class Sink(Protocol):
    """Takes the results in order. `shows_progress`: results appear on the terminal by themselves."""

    shows_progress: bool

    def take(self, unit: SegmentUnit, result: Result, /) -> None: ...

    def finish(self) -> None: ...


def check_output(params: Params, targets: Sequence[Language]) -> None:
    """Raise UsageError where results would overwrite each other or have no place."""
    inputs, name = params["input"] or [], params["output"]
    if name and (params["json"] or params["jsonl"]):
        raise UsageError("--output takes documents; --jsonl goes to stdout", hint="--jsonl > FILE")
    if params["json"] and params["jsonl"]:
        raise UsageError("--json and --jsonl exclude each other")
    if name and len(targets) > 1 and "{lang}" not in name:
        raise UsageError("several targets need a file each", hint="-o name.{lang}.md")
    if name and len(inputs) > 1 and "{name}" not in name and "{file}" not in name:
        raise UsageError("several inputs need a file each", hint="-o '{name}.fr.md'")
    records = params["json"] or params["jsonl"] or params["dry_run"]
    if len(targets) > 1 and inputs and not name and not records:
        raise UsageError("several targets need a file each", hint="-o '{name}.{lang}.md', or --jsonl")
    files = [file_name(name, each, t) for each in inputs or [""] for t in targets] if name else []
    _check_files(inputs, files)
    if (report := params["report"]) is not None:
        _check_place(report)
        if os.path.realpath(report) in map(os.path.realpath, (*inputs, *files)):
            raise UsageError(f'the report would overwrite "{report}"', hint="--report OTHER")


def _check_files(inputs: Sequence[str], files: Sequence[str]) -> None:
    """Raise UsageError where a file would be written twice, or over another input than its own."""
    for file, times in Counter(map(os.path.realpath, files)).items():
        if times > 1:
            raise UsageError(f'several translations would be "{Path(file).name}"', hint="one at a time")
    own = dict(zip(files, inputs, strict=False)) if len(files) == len(inputs) else {}
    for file in files:
        _check_place(file)
        for each in inputs:
            if each != own.get(file) and os.path.realpath(each) == os.path.realpath(file):
                raise UsageError(f'"{each}" would be overwritten by a translation', hint="-o OTHER")


def _check_place(file: str) -> None:
    if Path(file).is_dir():
        raise UsageError(f'"{file}" is a directory', hint=f"-o '{file.rstrip('/')}/{{file}}'")
    if not (parent := Path(file).parent).is_dir():
        raise UsageError(f'there is no directory "{parent}"', hint=f"mkdir -p {parent}")


def sink_of(
    params: Params, output: Output, targets: Sequence[Language], inputs: Sequence[Input] | None
) -> Sink:
    """Return where the results go, as the options say."""
    if params["jsonl"] or params["json"]:
        return Records(output, as_array=params["json"])
    if output.stdout_is_tty and not params["output"] and params["text"] is None:
        return View(output)
    if inputs is None:
        return Lines(output, len(targets))
    return Documents(params, output, inputs)


class Records:
    """JSON Lines, or one JSON array, a record a segment."""

    shows_progress = False

    def __init__(self, output: Output, *, as_array: bool) -> None:
        self._output, self._as_array = output, as_array
        self._count = 0

    def take(self, unit: SegmentUnit, result: Result) -> None:
        if unit.segment is None:
            return
        text = json.dumps(record_of(unit, result), ensure_ascii=False)
        if self._as_array:
            text = ("[\n" if not self._count else ",\n") + text
        else:
            text += "\n"
        self._count += 1
        self._output.write(text)

    def finish(self) -> None:
        if self._as_array:
            self._output.write("\n]\n" if self._count else "[]\n")


def record_of(unit: SegmentUnit, result: Result) -> dict[str, Any]:
    """Return a segment's record."""
    if isinstance(result, GptcliError):
        return {
            "source": unit.text,
            "source_lang": unit.source.tag,
            "target_lang": unit.target.tag,
            "line": unit.line,
            "error": {"code": result.code, "message": result.message},
        }
    return {
        "source": unit.text,
        "translation": result.text,
        "source_lang": unit.source.tag,
        "target_lang": unit.target.tag,
        "line": unit.line,
        "kept": result.is_kept,
        "warnings": list(result.warnings),
    }


class View:
    """Two columns on a terminal, doubtful segments marked."""

    shows_progress = True

    def __init__(self, output: Output) -> None:
        self._view = TranslationView(output)

    def take(self, unit: SegmentUnit, result: Result) -> None:
        if unit.segment is None:
            return
        if isinstance(result, GptcliError):
            self._view.show(unit.text, "", (result.message,))
        else:
            self._view.show(unit.text, result.text, result.warnings)

    def finish(self) -> None:
        pass


class Lines:
    """A line in is a line out, at once; several targets stand beside each other, behind tabs."""

    shows_progress = False

    def __init__(self, output: Output, targets: int) -> None:
        self._output, self._targets = output, targets
        self._row: list[str] = []
        self._end = ""

    def take(self, unit: SegmentUnit, result: Result) -> None:
        rendering = unit.origin.document.render(_accepted(unit, result))
        line = rendering.data.decode(rendering.encoding, "replace")
        body = line.rstrip("\r\n")
        self._row.append(body)
        if len(self._row) == self._targets:
            self._output.write("\t".join(self._row) + (line[len(body) :] or "\n"))
            self._row.clear()

    def finish(self) -> None:
        pass


def _accepted(unit: SegmentUnit, result: Result) -> Mapping[int, str]:
    if unit.segment is None or isinstance(result, GptcliError):
        return {}
    return {unit.segment.index: result.text}


class Documents:
    """Whole documents, each written when all of it is there: files at once and in one piece."""

    shows_progress = False

    def __init__(self, params: Params, output: Output, inputs: Sequence[Input]) -> None:
        self._params, self._output = params, output
        self._waiting = list(inputs)
        self._texts: dict[int, str] = {}
        self._doubtful: set[int] = set()
        self._count = 0

    def take(self, unit: SegmentUnit, result: Result) -> None:
        while self._waiting[0] is not unit.origin:
            self._write(self._waiting.pop(0))
        assert unit.segment is not None
        if isinstance(result, Translation):
            self._texts[unit.segment.index] = result.text
            if result.findings:
                self._doubtful.add(unit.segment.index)
        else:
            self._doubtful.add(unit.segment.index)

    def finish(self) -> None:
        for each in self._waiting:
            self._write(each)
        self._waiting.clear()

    def _write(self, origin: Input) -> None:
        rendering = origin.document.render(self._texts, doubtful=self._doubtful)
        self._texts, self._doubtful = {}, set()
        for index, why in rendering.refused.items():
            line = origin.document.segments[index].line
            self._output.warning(f"{origin.shown}, line {line:,}: left in the source language: {why}")
        for notice in rendering.notices:
            self._output.warning(f"{origin.shown}: {notice}")
        if self._params["output"] is None:
            self._output.write_bytes(rendering.data, rendering.encoding)
            if self._params["text"] is not None:
                self._output.finish_text()
            return
        path = Path(file_name(self._params["output"], origin.name, origin.target))
        if _is_stdout(path):
            self._output.write_bytes(rendering.data, rendering.encoding)
            return
        write_output(path, rendering.data)
        self._output.status(f"{path}")


def file_name(pattern: str, name: str, target: Language) -> str:
    """Return where the translation of a file goes: `{lang}`, `{name}` and `{file}` are filled in."""
    path = Path(name if name not in ("", "-") else "text")
    return (
        pattern.replace("{lang}", target.tag).replace("{name}", path.stem).replace("{file}", path.name)
    )


def _is_stdout(path: Path) -> bool:
    """Tell whether a path is where stdout goes, such as /dev/stdout, however that is redirected."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):
        return False


def write_output(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises StorageError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise StorageError(f'cannot write "{path}": {error.strerror}') from error
