"""What `gptcli bench` does with its options: measure, show, keep, compare."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptcli import __version__, paths
from gptcli.cli.opening import opened_engine
from gptcli.cli.options import engine_settings
from gptcli.engine.api import ModelInfo
from gptcli.engine.machine import cpu_model
from gptcli.errors import StorageError, UsageError
from gptcli.models.resolve import resolve_model
from gptcli.output.amounts import byte_count, counted
from gptcli.output.bars import Bar, print_bars
from gptcli.output.console import RED, RESET, Output
from gptcli.output.progress import Progress
from gptcli.output.tables import print_table
from gptcli.tasks.bench import BatchResult, BenchTask, bench

Params = dict[str, Any]

MOST_AT_ONCE = 240  # llama.cpp holds 256 sequences, and the engine takes some for itself
SLOWER = 0.95  # a smaller ratio is no chance
RATES = ("prompt_tokens_per_s", "decode_tokens_per_s")


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A line of the file: its number, from 1, and its members."""

    number: int
    members: dict[str, Any]

    @property
    def model(self) -> str:
        return str(self.members["model"]["name"])

    @property
    def date(self) -> str:
        return str(self.members["date"])[:16].replace("T", " ")

    def rate(self, batch: int, name: str) -> float | None:
        """Return the median of a rate in tokens per second; None where it was not measured."""
        for result in self.members["results"]:
            if result["batch"] == batch:
                return float(result[name]["median"])
        return None


def run_bench(params: Params, output: Output) -> None:
    """Run the command. What can be refused without a model is refused before one is loaded."""
    path = paths.bench_file()
    if params["list"]:
        show_runs(read_runs(path, output), output, as_json=params["json"])
        return
    task = BenchTask(
        batches=parse_batches(params["batch"]),
        prompt_tokens=params["prompt_tokens"],
        tokens=params["tokens"],
        repeat=params["repeat"],
    )
    params = {**params, "parallel": str(max(task.batches))}
    engine_settings(params, path="", name="")
    baseline = Baseline(params["compare"], read_runs(path, output) if params["compare"] else [])
    specs = params["model"] or [None]
    for spec in specs[1:]:  # a misspelt one is told now, not after minutes
        resolve_model(spec)
    done: list[dict[str, Any]] = []
    try:
        for n, spec in enumerate(specs):
            if n and not params["json"]:
                output.write("\n")
            _measure({**params, "model": spec}, task, baseline, output, done)
    finally:  # what was measured until Ctrl-C or a crash is shown too
        if params["json"] and done:
            output.json({"runs": done})


def _measure(
    params: Params, task: BenchTask, baseline: Baseline, output: Output, done: list[dict[str, Any]]
) -> None:
    results: dict[int, BatchResult] = {}
    with opened_engine(params, output) as engine:
        model = engine.model
        for note in model.notes:
            output.note(note)
        earlier = baseline.run_of(model.name)
        try:
            with Progress(output, "measuring", task.work) as progress:
                for result in bench(engine, task, lambda n, text: progress.update(n, text=text)):
                    results[result.batch] = result
        finally:
            if results:
                _report(model, task, list(results.values()), earlier, params, output, done)


def _report(
    model: ModelInfo,
    task: BenchTask,
    results: list[BatchResult],
    earlier: KeptRun | None,
    params: Params,
    output: Output,
    done: list[dict[str, Any]],
) -> None:
    """Show the results, keep them, and compare them."""
    members = _members(model, task, results, params)
    number = None if params["no_save"] else _keep(paths.bench_file(), members, output)
    run = KeptRun(number or 0, members)
    shown = {"run": number, **members}
    if earlier is not None:
        shown["compared"] = {"run": earlier.number, "ratios": ratios(run, earlier)}
    done.append(shown)
    if not params["json"]:
        _show(model, task, results, output)
        if earlier is not None:
            _show_ratios(run, earlier, output)
    _warn(task, results, output)
    if earlier is not None and (differing := differences(run, earlier)):
        output.warning(f"run {earlier.number} had another {', '.join(differing)}")
    if number is not None:
        output.status(f"kept as run {number}")


def _members(
    model: ModelInfo, task: BenchTask, results: list[BatchResult], params: Params
) -> dict[str, Any]:
    times = speedups(results)
    return {
        "date": datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        "gptcli": __version__,
        "model": {
            "name": model.name,
            "description": model.description,
            "size": model.size_bytes,
            "file": Path(model.path).name,
        },
        "build": model.build,
        "cpu": cpu_model(),
        "threads": model.threads,
        "gpu_layers": model.gpu_layers,
        "devices": list(model.devices),
        "settings": {
            "prompt_tokens": task.prompt_tokens,
            "tokens": task.tokens,
            "ctx_size": params["ctx_size"],
            "parallel": max(task.batches),
        },
        "results": [
            {
                "batch": each.batch,
                "rounds": len(each.rounds),
                "prompt_tokens_per_s": asdict(each.prompt),
                "decode_tokens_per_s": asdict(each.decode),
                "answer_tokens_per_s": each.per_answer,
                "speedup": times.get(each.batch),
                "completion_tokens": each.tokens,
                "at_once": each.at_once,
            }
            for each in results
        ],
    }


def speedups(results: list[BatchResult]) -> dict[int, float]:
    """Return each batch size's decode rate in multiples of that of a batch of 1, if there is one."""
    single = next((each.decode.median for each in results if each.batch == 1), None)
    if single is None:
        return {}
    return {each.batch: each.decode.median / single for each in results}


def parse_batches(text: str) -> tuple[int, ...]:
    """Return the batch sizes of a list like 1,2,4, in order, each once. Raises UsageError."""
    sizes = [part.strip() for part in text.split(",")]
    for size in sizes:
        if not (
            size.isascii() and size.isdecimal() and len(size) < 5 and 1 <= int(size) <= MOST_AT_ONCE
        ):
            raise UsageError(
                f"--batch must be numbers from 1 to {MOST_AT_ONCE}, not {size!r}",
                hint="gptcli bench --batch 1,4,16",
            )
    return tuple(sorted({int(size) for size in sizes}))


# ------------------------------------------------------------------------------------------ showing


def _show(model: ModelInfo, task: BenchTask, results: list[BatchResult], output: Output) -> None:
    size = byte_count(model.size_bytes) if model.size_bytes else ""
    _write_facts(output, model.name, model.description, size)
    threads = counted(model.threads, "thread") if model.threads else ""
    layers = f"{counted(model.gpu_layers, 'layer')} on the GPU"
    build = model.build.partition(":")[0]  # the rest names the CPU's features
    _write_facts(output, cpu_model(), threads, layers, build)
    output.write(
        f"prompts of {task.prompt_tokens:,} tokens, answers of {task.tokens:,}; all in tokens/s\n\n"
    )
    times = {batch: round(ratio, 1) for batch, ratio in speedups(results).items()}
    rows = [
        (
            each.batch,
            _rounded(each.prompt.median),
            _rounded(each.decode.median),
            _rounded(each.per_answer),
            times.get(each.batch),
        )
        for each in results
    ]
    print_table(output, ("batch", "prompt", "decode", "per answer", "times one"), rows)
    output.write("\ndecode by batch size, median (slowest to fastest)\n")
    print_bars(output, [_bar(each) for each in results])


def _write_facts(output: Output, *facts: str) -> None:
    text = ", ".join(filter(None, facts))
    if output.stdout_is_tty:
        text = textwrap.fill(text, output.width, subsequent_indent="  ", break_on_hyphens=False)
    output.write(text + "\n")


def _bar(result: BatchResult) -> Bar:
    rate = result.decode
    spread = f" ({_rounded(rate.min)} to {_rounded(rate.max)})" if len(result.rounds) > 1 else ""
    return Bar(str(result.batch), rate.median, f"{_rounded(rate.median)}{spread}")


def _rounded(rate: float) -> float:
    return round(rate) if rate >= 1000 else round(rate, 1)


def _warn(task: BenchTask, results: list[BatchResult], output: Output) -> None:
    if crowded := [each for each in results if each.at_once < each.batch]:
        most = max(each.at_once for each in crowded)
        output.warning(f"batch of {_sizes(crowded)}: no more than {most} were worked on at once")
    if short := [each for each in results if each.tokens < each.batch * task.tokens]:
        output.warning(f"batch of {_sizes(short)}: answers ended early, so fewer were written together")


def _sizes(results: list[BatchResult]) -> str:
    return ", ".join(str(each.batch) for each in results)


def _show_ratios(run: KeptRun, earlier: KeptRun, output: Output) -> None:
    output.write(f"\ntimes run {earlier.number} ({earlier.date}, {earlier.model})\n")
    output.write("batch  prompt  decode\n")
    for row in ratios(run, earlier):
        output.write(f"{row['batch']:>5}")
        for name in RATES:
            _write_ratio(row[name], output)
        is_slower = any(row[name] is not None and row[name] < SLOWER for name in RATES)
        output.write("  slower\n" if is_slower else "\n")


def _write_ratio(ratio: float | None, output: Output) -> None:
    text = f"{'-' if ratio is None else f'{ratio:.2f}':>6}"
    if output.stdout_color and ratio is not None and ratio < SLOWER:
        text = f"{RED}{text}{RESET}"
    output.write_styled("  " + text)


def show_runs(runs: list[KeptRun], output: Output, *, as_json: bool) -> None:
    """List the kept runs, the oldest first."""
    if as_json:
        output.json({"runs": [{"run": run.number, **run.members} for run in runs]})
        return
    if not runs:
        output.status("no runs are kept yet\n  try: gptcli bench")
        return
    rows = [
        (
            run.number,
            run.date,
            run.model,
            _span([result["batch"] for result in run.members["results"]]),
            _rounded(max(result[RATES[1]]["median"] for result in run.members["results"])),
        )
        for run in runs
    ]
    print_table(output, ("run", "date", "model", "batch", "tokens/s"), rows)


def _span(batches: list[int]) -> str:
    low, high = min(batches), max(batches)
    return str(low) if low == high else f"{low} to {high}"


# ------------------------------------------------------------------------------- kept and compared


class Baseline:
    """The run to compare with: a number, `last` (the model's last one), or None.

    Raises UsageError when no such run is kept.
    """

    def __init__(self, wanted: str | None, runs: list[KeptRun]) -> None:
        self._wanted = wanted
        self._runs = runs
        if wanted not in (None, "last") and self._numbered() is None:
            raise self._unknown(f"no run {wanted} is kept")
        if wanted == "last" and not runs:
            raise self._unknown("no run is kept to compare with")

    def run_of(self, model: str) -> KeptRun | None:
        """Return the run that a model's results are compared with."""
        if self._wanted is None:
            return None
        if self._wanted != "last":
            return self._numbered()
        for run in reversed(self._runs):
            if run.model == model:
                return run
        raise self._unknown(f'no run of "{model}" is kept to compare with')

    def _numbered(self) -> KeptRun | None:
        return next((run for run in self._runs if str(run.number) == self._wanted), None)

    @staticmethod
    def _unknown(fact: str) -> UsageError:
        return UsageError(fact, hint="gptcli bench --list")


def ratios(run: KeptRun, earlier: KeptRun) -> list[dict[str, Any]]:
    """Return a run's rates divided by an earlier one's, by batch size; None: not measured then."""
    rows = []
    for result in run.members["results"]:
        row: dict[str, Any] = {"batch": result["batch"]}
        for name in RATES:
            then = earlier.rate(result["batch"], name)
            row[name] = None if then is None else result[name]["median"] / then
        rows.append(row)
    return rows


def differences(run: KeptRun, earlier: KeptRun) -> list[str]:
    """Return what else than the rates differs between two runs, in words."""
    return [
        words
        for words, path in {
            "model": ("model", "name"),
            "model file": ("model", "file"),
            "build": ("build",),
            "CPU": ("cpu",),
            "number of threads": ("threads",),
            "number of GPU layers": ("gpu_layers",),
            "--prompt-tokens": ("settings", "prompt_tokens"),
            "--tokens": ("settings", "tokens"),
        }.items()
        if _member(run.members, path) != _member(earlier.members, path)
    ]


def _member(members: Any, path: tuple[str, ...]) -> object:
    for key in path:
        members = members.get(key) if isinstance(members, dict) else None
    return members


def read_runs(path: Path, output: Output) -> list[KeptRun]:
    """Return the kept runs; a damaged line is skipped with a warning. Raises StorageError."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    runs = []
    for number, line in enumerate(lines, start=1):
        try:
            members = json.loads(line)
            _check(members)
        except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
            output.warning(f"{path}: line {number} is damaged, and skipped")
            continue
        runs.append(KeptRun(number, members))
    return runs


def _check(members: Any) -> None:
    """Raise ValueError, LookupError, TypeError or OverflowError for what is not a run."""
    texts = (members["date"], members["model"]["name"])
    results = members["results"]
    medians = [result[name]["median"] for result in results for name in RATES]
    sizes = [result["batch"] for result in results]
    if not (all(isinstance(text, str) for text in texts) and sizes):
        raise ValueError
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError
    if not all(0 < float(median) < math.inf for median in medians):
        raise ValueError


def _keep(path: Path, members: dict[str, Any], output: Output) -> int | None:
    """Append the run to the file and return its number; None, with a warning, where it cannot be."""
    line = json.dumps(members).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            before = file.read()
            if before and not before.endswith(b"\n"):  # a write that was cut off
                line = b"\n" + line
            file.write(line)
        return len((before + line).splitlines())
    except OSError as error:
        output.warning(f"the results are not kept: cannot write {path}: {error.strerror}")
        return None
