"""What `translate` remembers between runs: the translation memory, as one run uses it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

from gptcli import paths
from gptcli.cli.translation_input import SegmentUnit
from gptcli.engine.prompt_cache import fingerprint_or
from gptcli.errors import StorageError
from gptcli.models.resolve import SCRIPTED_PREFIX, ResolvedModel
from gptcli.output.console import Output
from gptcli.store.memory import Entry, Memory
from gptcli.tasks.translate import FORMS_VERSION, TranslateTask, Translation
from gptcli.tasks.translation_checks import Fault, Finding, missing_terms
from gptcli.tasks.translation_sentence import terms_in

Params = dict[str, Any]


class RunMemory:
    """Finds and keeps translations. Without a memory (`--no-memory`), it finds nothing."""

    def __init__(
        self, memory: Memory | None, output: Output, task: TranslateTask, model: ResolvedModel
    ) -> None:
        self._memory, self._output, self._task = memory, output, task
        self._model = model.name
        path = model.path.removeprefix(SCRIPTED_PREFIX)
        self._settings = (fingerprint_or(path, path), task.best, task.seed, FORMS_VERSION)
        self._used: list[str] = []

    def key(self, unit: SegmentUnit) -> str:
        """Return a hash of all that a translation depends on."""
        terms = terms_in(unit.text, self._task.terms)
        parts = (self._settings, unit.source.tag, unit.target.tag, unit.text, unit.context, terms)
        return hashlib.sha256(json.dumps(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def find(self, unit: SegmentUnit) -> Translation | None:
        if self._memory is None:
            return None
        key = self.key(unit)
        try:
            entry = self._memory.find(key)
        except StorageError as error:
            self._give_up(error)
            return None
        if entry is None or (not entry.is_kept and unit.check(entry.translation)):
            return None
        self._used.append(key)
        terms = terms_in(unit.text, self._task.terms)
        return Translation(
            text=entry.translation,
            source=unit.source,
            target=unit.target,
            findings=tuple(Finding(Fault(fault), detail) for fault, detail in entry.findings),
            is_kept=entry.is_kept,
            is_remembered=True,
            terms=len(terms),
            terms_missing=len(missing_terms(terms, entry.translation)),
        )

    def keep(self, unit: SegmentUnit, translation: Translation) -> None:
        """Keep what a model wrote, doubtful or not: the same way would give the same again."""
        if self._memory is None or not translation.tokens:
            return
        entry = Entry(
            key=self.key(unit),
            source=unit.text,
            translation=translation.text,
            source_language=unit.source.tag,
            target_language=unit.target.tag,
            model=self._model,
            findings=tuple((each.fault.value, each.detail) for each in translation.findings),
            is_kept=translation.is_kept,
        )
        try:
            self._memory.add(entry)
        except StorageError as error:
            self._give_up(error)

    def close(self) -> None:
        if self._memory is not None:
            with suppress(StorageError):
                if self._used:
                    self._memory.count_hits(self._used)
                self._memory.close()

    def _give_up(self, error: StorageError) -> None:
        self._output.warning(f"translations are not remembered: {error.message}")
        self._memory = None


@contextmanager
def opened_memory(
    params: Params, output: Output, task: TranslateTask, model: ResolvedModel
) -> Generator[RunMemory, None, None]:
    """Yield the memory that a run uses. Where its file cannot be used, the run goes on without."""
    memory = None
    if not params["no_memory"] and not params["no_log"]:
        try:
            memory = Memory(paths.memory_file())
            for notice in memory.notices:
                output.warning(notice)
        except StorageError as error:
            output.warning(f"translations are not remembered: {error.message}")
    run_memory = RunMemory(memory, output, task, model)
    try:
        yield run_memory
    finally:
        run_memory.close()
