"""`gptcli models fit`: tables of what fits into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptcli.cli.models.machine import Fit, Fitting, this_machine
from gptcli.errors import GptcliError, UsageError
from gptcli.models.fit import Machine, MemoryNeed, Verdict, estimate, verdict
from gptcli.models.gguf import read_header
from gptcli.models.hub.client import Hub
from gptcli.models.hub.faults import offline
from gptcli.models.inventory import inventory
from gptcli.models.quants import Variant, choose, variants
from gptcli.models.registry import ModelSpec, Registry, load_registry
from gptcli.models.resolve import find_file, target_of
from gptcli.models.spec import AliasRef, FileRef, HubRef, ModelRef, parse_spec
from gptcli.output.amounts import byte_count
from gptcli.output.console import Output
from gptcli.output.tables import print_table

KNOWN_COLUMNS = (
    "task", "model", "parameters", "quantization", "memory", "fits", "", "licence",
)  # fmt: skip
COLUMNS_BY_WIDTH = ((100, range(1, 8)), (80, range(1, 7)), (0, (1, 4, 5, 6)))
VARIANT_COLUMNS = ("quantization", "size", "memory", "fits", "", "")
SHOWN_PER_TASK = 4
WORDS = {Verdict.FITS: "fits", Verdict.TIGHT: "tight", Verdict.NO: "no"}


def show_fit(params: dict[str, Any], output: Output) -> None:
    """Show what fits: of a repository, of a file, or of all known models."""
    machine, window, as_json = this_machine(), params["ctx_size"], params["json"]
    if params["spec"] is None:
        _fit_registry(output, machine, window, params["task"], as_json)
        return
    ref = parse_spec(params["spec"])
    repo = _repository(ref)
    if repo is None:
        _fit_file(output, ref, machine, window, as_json)
    elif params["offline"]:
        raise offline(params["spec"])
    else:
        _fit_repository(output, repo, machine, window, as_json)


# ---------------------------------------------------------------------------------- known models


def _fit_registry(
    output: Output, machine: Machine, window: int, task: str | None, as_json: bool
) -> None:
    registry = load_registry()
    tasks = list(dict.fromkeys(each for spec in registry.models.values() for each in spec.tasks))
    if task is not None and task not in tasks:
        raise UsageError(f'no model is for the task "{task}"', hint=f"one of {', '.join(tasks)}")
    here = {alias for entry in inventory() for alias in (entry.name, *entry.aliases)}
    verdicts = {
        alias: verdict(MemoryNeed(spec.memory_with(window), 0, 0), machine)
        for alias, spec in registry.models.items()
    }
    if as_json:
        wanted = _ranked(registry, verdicts, task)
        models = [_known_as_json(spec, verdicts[spec.alias], spec.alias in here) for spec in wanted]
        output.json({"machine": _machine_as_json(machine), "ctx_size": window, "models": models})
        return
    output.status(f"{_machine_words(machine)}; {window:,} tokens")
    rows = []
    for name in [task] if task else tasks:
        best = _ranked(registry, verdicts, name)
        if task is None:
            fitting = [spec for spec in best if verdicts[spec.alias] is not Verdict.NO]
            usual = [s for s in fitting[SHOWN_PER_TASK:] if s.alias == registry.defaults.get(name)]
            best = fitting[:SHOWN_PER_TASK] + usual
        for spec in best:
            remark = "here" if spec.alias in here else "" if spec.is_confirmed else "unconfirmed"
            if registry.defaults.get(name) == spec.alias:
                remark = f"default, {remark}".removesuffix(", ")
            rows.append(_known_row(name, spec, window, WORDS[verdicts[spec.alias]], remark))
    _print_known(output, rows)
    if task is None:
        output.status("  try: gptcli models pull MODEL, or --task chat for more")


def _known_row(task: str, spec: ModelSpec, window: int, fits: str, remark: str) -> tuple[str, ...]:
    """Return the cells of KNOWN_COLUMNS."""
    return (
        task,
        spec.alias,
        f"{spec.parameters / 1e9:.1f} B",
        spec.quantization,
        byte_count(spec.memory_with(window)),
        fits,
        remark,
        spec.license,
    )


def _print_known(output: Output, rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table for each task, of as many columns as the terminal has room for; else one of all."""
    if not output.stdout_is_tty:
        print_table(output, KNOWN_COLUMNS, rows)
        return
    columns = next(shown for width, shown in COLUMNS_BY_WIDTH if output.width >= width)
    for task in dict.fromkeys(row[0] for row in rows):
        shown = [[row[n] for n in columns] for row in rows if row[0] == task]
        print_table(output, [KNOWN_COLUMNS[n] for n in columns], shown, title=task)


def _ranked(registry: Registry, verdicts: Mapping[str, Verdict], task: str | None) -> list[ModelSpec]:
    """Return the models for a task, best first: what fits, what was made for it, what is largest."""
    order = list(Verdict)
    return sorted(
        (spec for spec in registry.models.values() if task is None or task in spec.tasks),
        key=lambda s: (order.index(verdicts[s.alias]), s.tasks != (task,), -s.parameters),
    )


def _known_as_json(spec: ModelSpec, judged: Verdict, is_here: bool) -> dict[str, Any]:
    return {
        "alias": spec.alias,
        "repo": spec.repo or None,
        "quantization": spec.quantization,
        "parameters": spec.parameters,
        "memory": spec.memory,
        "fits": WORDS[judged],
        "here": is_here,
        "confirmed": spec.is_confirmed,
        "tasks": list(spec.tasks),
        "languages": list(spec.languages),
        "license": spec.license,
    }


# ------------------------------------------------------------------------- one repository or file


def _repository(ref: ModelRef) -> HubRef | None:
    """Return the repository that is meant; None for a file that is here, or comes otherwise."""
    if isinstance(ref, AliasRef):
        try:
            return target_of(ref, load_registry())[0]
        except GptcliError:
            find_file(ref)  # the starter, or an imported file; raises for what nobody knows
            return None
    return None if isinstance(ref, FileRef) else ref


def _fit_file(output: Output, ref: ModelRef, machine: Machine, window: int, as_json: bool) -> None:
    path = find_file(ref)
    header = read_header(path)
    need = estimate(header, path.stat().st_size, window)
    judged = Fit(need, verdict(need, machine), machine, window)
    if as_json:
        output.json(
            {"machine": _machine_as_json(machine), "ctx_size": window, "path": str(path)}
            | _need_as_json(judged)
        )
        return
    output.status(_machine_words(machine))
    row = (path.name, byte_count(need.weights), byte_count(need.kv_cache), byte_count(need.total))
    print_table(output, ("file", "weights", "KV cache", "memory", ""), [(*row, WORDS[judged.verdict])])


def _fit_repository(output: Output, ref: HubRef, machine: Machine, window: int, as_json: bool) -> None:
    hub = Hub()
    remote = hub.repository(ref.repo, ref.revision)
    fitting = Fitting(hub, machine, window)
    offered = variants(remote.files)
    choice = choose(offered, ref.quantization, ref.repo, lambda each: fitting.fits(remote, each))
    fits = [(variant, fitting.of(remote, variant)) for variant in offered]
    if as_json:
        output.json(
            {
                "machine": _machine_as_json(machine),
                "ctx_size": window,
                "repo": remote.repo,
                "revision": remote.commit,
                "choice": choice.variant.name,
                "reason": choice.reason,
                "quantizations": [_variant_as_json(variant, found) for variant, found in fits],
            }
        )
        return
    output.status(_machine_words(machine))
    rows = [_variant_row(variant, found, variant is choice.variant) for variant, found in fits]
    print_table(output, VARIANT_COLUMNS, rows, title=f"{remote.repo}, {window:,} tokens")
    output.status(f"{choice.variant.name}: {choice.reason}")
    output.status(f"  try: gptcli models pull {remote.repo}:{choice.variant.name}")


def _variant_row(variant: Variant, found: Fit | None, is_choice: bool) -> tuple[object, ...]:
    parts = "" if len(variant.files) == 1 else f"{len(variant.files)} parts"
    need = byte_count(found.need.total) if found else None
    judged = "parts missing" if variant.missing else WORDS[found.verdict] if found else "?"
    return (
        variant.name,
        byte_count(variant.size),
        need,
        judged,
        parts,
        "<- this one" if is_choice else "",
    )


def _variant_as_json(variant: Variant, found: Fit | None) -> dict[str, Any]:
    return {
        "quantization": variant.quantization or None,
        "files": [file.path for file in variant.files],
        "size": variant.size,
        "missing_parts": variant.missing,
    } | (_need_as_json(found) if found else {"memory": None, "fits": None})


def _need_as_json(found: Fit) -> dict[str, Any]:
    return {
        "memory": found.need.total,
        "weights": found.need.weights,
        "kv_cache": found.need.kv_cache,
        "buffers": found.need.buffers,
        "fits": WORDS[found.verdict],
    }


def _machine_words(machine: Machine) -> str:
    words = f"memory: {byte_count(machine.ram_free)} free of {byte_count(machine.ram_total)}"
    for gpu in machine.gpus:
        words += f"; {gpu.name}: {byte_count(gpu.free)} free of {byte_count(gpu.total)}"
    return words


def _machine_as_json(machine: Machine) -> dict[str, Any]:
    gpus = [{"name": gpu.name, "free": gpu.free, "total": gpu.total} for gpu in machine.gpus]
    return {"ram_free": machine.ram_free, "ram_total": machine.ram_total, "gpus": gpus}
