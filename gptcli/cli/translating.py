"""What `gptcli translate` does with its options."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import Any

from gptcli.cli.logged import logged_batch
from gptcli.cli.opening import find_model, opened_model
from gptcli.cli.options import engine_settings, make_output
from gptcli.cli.translation_input import (
    SegmentUnit,
    SourceLanguages,
    document_units,
    is_streamed,
    line_units,
    read_inputs,
    stdin_data,
    stdin_lines,
)
from gptcli.cli.translation_memory import RunMemory, opened_memory
from gptcli.cli.translation_output import Result, Sink, check_output, sink_of
from gptcli.cli.translation_run import Run, estimate
from gptcli.documents.glossary import read_glossary
from gptcli.engine.api import ModelInfo
from gptcli.errors import UsageError
from gptcli.languages import Language, find_language
from gptcli.models.resolve import ResolvedModel
from gptcli.output.console import Output
from gptcli.prompts.compose import PromptParts
from gptcli.tasks.translate import TranslateTask, translate

Params = dict[str, Any]
MOST_CANDIDATES = 32


def run_translate(params: Params) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    output = make_output(params)
    targets = _targets(params)
    languages = SourceLanguages(output, _source(params, targets))
    task = _task(params)
    engine_settings(params, path="", name="")
    check_output(params, targets)
    if is_streamed(params):
        lines, is_document = stdin_lines()
        if not is_document or params["format"] == "lines":
            units = line_units(lines, targets, languages)
            _run(params, output, task, units, sink_of(params, output, targets, None))
            return
        data = b"".join(lines)
    else:
        data = stdin_data(params)
    inputs = [each for target in targets for each in read_inputs(params, target, data)]
    for each in inputs:
        for notice in each.document.notices:
            output.warning(f"{each.shown}: {notice}")
    found = list(document_units(inputs, languages, params["context_size"]))
    _run(params, output, task, found, sink_of(params, output, targets, inputs))


def _run(
    params: Params, output: Output, task: TranslateTask, units: Iterable[SegmentUnit], sink: Sink
) -> None:
    """Translate units: those of documents (a list), or of a stream of lines."""
    model = find_model(params["model"], output, task="translate")
    with opened_memory(params, output, task, model) as memory:
        if params["dry_run"]:
            translator = _Translator(params, output, task, model, memory)
            estimate(output, list(units), memory, translator.timed, as_json=params["json"])
            return
        run = Run(params, output, sink, len(units) if isinstance(units, list) else None)
        translator = _Translator(params, output, task, model, memory, run)
        with run.running():
            results = (
                translator.each_once(units) if isinstance(units, list) else translator.translated(units)
            )
            for unit, result in results:
                run.take(unit, result)


@dataclass(frozen=True, slots=True)
class _Translator:
    """Opens the model when there is something to translate."""

    params: Params
    output: Output
    task: TranslateTask
    model: ResolvedModel
    memory: RunMemory
    run: Run | None = None  # that is logged

    def each_once(self, units: Sequence[SegmentUnit]) -> Iterator[tuple[SegmentUnit, Result]]:
        """Yield the segments with their translations; what occurs often is translated once.

        Where all are remembered, no model is loaded.
        """
        keys = [self.memory.key(unit) for unit in units]
        first = dict(zip(reversed(keys), reversed(units), strict=True))
        results: dict[str, Result] = {}
        missing = []
        for key in dict.fromkeys(keys):
            found = self.memory.find(first[key])
            if found is None:
                missing.append(first[key])
            else:
                results[key] = found
        new = self.translated(missing) if missing else iter(())
        for unit, key in zip(units, keys, strict=True):
            while key not in results:
                done, result = next(new)
                results[self.memory.key(done)] = result
            yield unit, results[key]

    def translated(self, units: Iterable[SegmentUnit]) -> Iterator[tuple[SegmentUnit, Result]]:
        """Yield the units with their translations, in their order, as soon as each is there."""
        with (
            opened_model(self.model, self.params, self.output) as engine,
            self._logged(engine.model),
            closing(translate(engine, self.task, units, self.memory)) as results,
        ):
            for note in engine.model.notes:
                self.output.note(note)
            yield from results

    def timed(self, units: Sequence[SegmentUnit]) -> tuple[list[Result], float]:
        """Return the translations of some units, and the seconds they took without the loading."""
        started = time.monotonic()

        def begun() -> Iterator[SegmentUnit]:
            nonlocal started
            started = time.monotonic()
            yield from units

        results = [result for _, result in self.translated(begun())]
        return results, time.monotonic() - started

    def _logged(self, model: ModelInfo) -> AbstractContextManager[None]:
        if self.run is None:
            return nullcontext()
        asked = PromptParts(instruction=f"translate into {self.params['to']}")
        return logged_batch("translate", self.params, self.output, model, asked, self.run)


def _task(params: Params) -> TranslateTask:
    if not 1 <= params["best"] <= MOST_CANDIDATES:
        raise UsageError(f"--best must be between 1 and {MOST_CANDIDATES}, not {params['best']}")
    if params["context_size"] < 0:
        raise UsageError(f"--context must be 0 or more, not {params['context_size']}")
    terms = read_glossary(params["glossary"]) if params["glossary"] else ()
    return TranslateTask(best=params["best"], terms=terms, seed=params["seed"] or 0)


def _targets(params: Params) -> list[Language]:
    names = [name for name in (params["to"] or "").split(",") if name.strip()]
    if not names:
        raise UsageError("--to says into which language", hint='gptcli translate "Good morning" --to fr')
    return list(dict.fromkeys(map(find_language, names)))


def _source(params: Params, targets: Sequence[Language]) -> Language | None:
    if params["from_"] == "auto":
        return None
    source = find_language(params["from_"])
    for target in targets:
        if source.tag == target.tag:
            raise UsageError(f"source and target are the same language: {source.name}")
    return source
