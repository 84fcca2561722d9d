"""One run of `translate`: counts, progress, warnings, the report, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from gptcli.cli.translation_input import SegmentUnit
from gptcli.cli.translation_memory import RunMemory
from gptcli.cli.translation_output import Result, Sink, record_of, write_output
from gptcli.errors import EngineCrashedError, GptcliError
from gptcli.output.amounts import counted, duration
from gptcli.output.console import Output
from gptcli.output.translations import SegmentProgress
from gptcli.tasks.translate import Translation
from gptcli.tasks.translation_checks import units

Params = dict[str, Any]
WARNINGS_SHOWN = 20
SAMPLE = 8  # segments by which a dry run tells the time


class Run:
    """Hands results on and keeps count of them."""

    def __init__(self, params: Params, output: Output, sink: Sink, total: int | None) -> None:
        self._params, self._output, self._sink = params, output, sink
        self._total = total
        self._started = time.monotonic()
        self._progress: SegmentProgress | None = None
        self._doubtful: list[dict[str, Any]] = []
        self.done = self.remembered = self.kept = self.failed = 0
        self.tokens = self.terms = self.terms_missing = 0

    @contextmanager
    def running(self) -> Generator[None, None, None]:
        """Show progress; at the end, and when stopped, say what was done. Raises a run's failure."""
        progress = SegmentProgress(self._output, "translate", self._total)
        try:
            with nullcontext() if self._sink.shows_progress else progress:
                self._progress = None if self._sink.shows_progress else progress
                yield
            self._sink.finish()
        except (KeyboardInterrupt, EngineCrashedError):
            kept = "" if self._params["no_memory"] else "; the same command goes on from the memory"
            self._output.status(f"stopped after {counted(self.done, 'segment')}{kept}")
            raise
        finally:
            self._write_report()
        self._tell()

    def take(self, unit: SegmentUnit, result: Result) -> None:
        if unit.segment is not None:
            self._count(unit, result)
        self._sink.take(unit, result)
        if self._progress is not None:
            self._progress.advance(self.done, self.remembered, self.tokens)

    def _count(self, unit: SegmentUnit, result: Result) -> None:
        self.done += 1
        if isinstance(result, Translation):
            self.remembered += result.is_remembered
            self.kept += result.is_kept
            self.tokens += result.tokens
            self.terms += result.terms
            self.terms_missing += result.terms_missing
            warnings: Sequence[str] = result.warnings
        else:
            self.failed += 1
            warnings = (result.message,)
        if not warnings:
            return
        self._doubtful.append({"file": unit.origin.name or None, **record_of(unit, result)})
        if self._sink.shows_progress or self._params["json"] or self._params["jsonl"]:
            return  # they show there
        if len(self._doubtful) <= WARNINGS_SHOWN:
            self._output.warning(f"{unit.place}: {'; '.join(warnings)}")
        elif len(self._doubtful) == WARNINGS_SHOWN + 1:
            self._output.warning("more segments are doubtful: --report FILE has them all")

    def _write_report(self) -> None:
        if self._params["report"] is None:
            return
        report = {
            "segments": self.done,
            "remembered": self.remembered,
            "kept": self.kept,
            "failed": self.failed,
            "tokens": self.tokens,
            "seconds": round(time.monotonic() - self._started, 3),
            "glossary": {"terms": self.terms, "missing": self.terms_missing},
            "doubtful": self._doubtful,
        }
        text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
        write_output(Path(self._params["report"]), text.encode("utf-8", "replace"))

    @property
    def summary(self) -> str:
        """What was done so far."""
        seconds = time.monotonic() - self._started
        said = f"{counted(self.done, 'segment')} in {duration(seconds)}"
        if self.remembered:
            said += f", {self.remembered:,} remembered"
        if self.terms:
            said += f", {self.terms - self.terms_missing:,} of {self.terms:,} glossary terms kept"
        if self._doubtful:
            said += f", {len(self._doubtful):,} doubtful"
        return said

    def _tell(self) -> None:
        is_told = self._params["output"] is not None or (self._doubtful and not self._params["text"])
        (self._output.status if is_told else self._output.note)(self.summary)
        if self.failed:
            raise GptcliError(
                f"{self.failed:,} of {counted(self.done, 'segment')} failed",
                segments=self.done,
                failed=self.failed,
            )
        if self._doubtful and self._params["strict"]:
            raise GptcliError(
                f"{len(self._doubtful):,} of {counted(self.done, 'segment')} doubtful (--strict)",
                segments=self.done,
                doubtful=len(self._doubtful),
            )


def estimate(
    output: Output,
    found: Sequence[SegmentUnit],
    memory: RunMemory,
    timed: Callable[[Sequence[SegmentUnit]], tuple[Sequence[Result], float]],
    *,
    as_json: bool,
) -> None:
    """Say what a run would do. A few segments are translated, to tell the tokens and the time.

    `timed` gives translations and the seconds that they took.
    """
    new = [unit for unit in found if memory.find(unit) is None]
    missing = list({memory.key(unit): unit for unit in new}.values())
    tokens, seconds = 0.0, 0.0
    if missing:
        sample = missing[:: max(1, len(missing) // SAMPLE)][:SAMPLE]
        results, seconds = timed(sample)
        share = _work(missing) / max(1, _work(sample))
        seconds *= share
        tokens = share * sum(result.tokens for result in results if isinstance(result, Translation))
    members = {
        "segments": len(found),
        "remembered": len(found) - len(new),
        "to_translate": len(missing),
        "tokens": round(tokens),
        "seconds": round(seconds, 1),
    }
    if as_json:
        output.json(members)
        return
    output.write(
        f"{counted(len(found), 'segment')}, {members['remembered']:,} remembered, "
        f"{members['to_translate']:,} to translate: about {members['tokens']:,} tokens, "
        f"{duration(seconds)}\n"
    )


def _work(segments: Sequence[SegmentUnit]) -> int:
    return sum(units(segment.text) for segment in segments)
