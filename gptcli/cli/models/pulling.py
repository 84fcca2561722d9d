"""`gptcli models pull`: what is said and asked before, while and after a model is downloaded."""

from __future__ import annotations

import os
from typing import Any

from gptcli.cli.asking import can_ask, is_confirmed
from gptcli.cli.models.machine import Fitting, this_machine
from gptcli.errors import MemoryFitError, ModelError, UsageError
from gptcli.models import records
from gptcli.models.diagnosis import diagnose
from gptcli.models.faults import quoted
from gptcli.models.fit import Verdict
from gptcli.models.hub.client import Hub
from gptcli.models.hub.faults import offline
from gptcli.models.pull import Plan, Pulled, Wanted, already_here, carry_out, make_plan
from gptcli.models.quants import RepoFile
from gptcli.models.registry import load_registry
from gptcli.models.resolve import target_of
from gptcli.models.spec import AliasRef, FileRef, HubRef, parse_spec
from gptcli.output.amounts import byte_count
from gptcli.output.console import Output
from gptcli.output.progress import ByteProgress


def pull_model(params: dict[str, Any], output: Output) -> None:
    """Bring the model here, unless it is here, and print the path of its file."""
    wanted = _wanted(params["spec"])
    here = None if params["update"] else already_here(wanted)
    if here is not None:
        output.status(f"{wanted.name} is here already ({byte_count(here.variant.size)})")
        _report(output, here, params["json"])
        return
    if params["offline"] or _is_offline():
        raise offline(wanted.name)
    _download(params, wanted, output)


def _wanted(spec: str) -> Wanted:
    ref = parse_spec(spec)
    if isinstance(ref, FileRef):
        path = quoted(str(ref))
        raise UsageError(
            f"{path} is a file, not a model to download", hint=f"gptcli models import {path}"
        )
    if isinstance(ref, HubRef):
        return Wanted(str(ref), ref)
    return Wanted(str(ref), *_target(ref))


def _target(ref: AliasRef) -> Any:
    registry = load_registry()
    if ref.alias in records.imported():
        raise UsageError(f'"{ref.alias}" is an imported file: there is nothing to download')
    return target_of(ref, registry)


def _is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _download(params: dict[str, Any], wanted: Wanted, output: Output) -> None:
    hub = Hub()
    fitting = Fitting(hub, this_machine(), params["ctx_size"])
    plan = make_plan(hub, wanted, fits=fitting.fits, update=params["update"])
    for note in plan.notes:
        output.warning(note)
    _announce(plan, fitting, params["force"], output)
    if params["dry_run"]:
        _report_plan(output, plan, params["json"])
        return
    _ask_consent(plan, params["accept_license"], output)
    with _Transfer(plan, output) as transfer:
        pulled = carry_out(hub, plan, transfer.report)
    for file in plan.variant.files:
        if file.sha256 is None and file.path not in plan.pins:
            output.warning(f"{file.path} was checked with a git hash only: the server knows no SHA-256")
    _check_header(pulled, output)
    _report(output, pulled, params["json"])


def _announce(plan: Plan, fitting: Fitting, force: bool, output: Output) -> None:
    """Say what was chosen, and whether it fits in memory. Raises MemoryFitError if it does not."""
    name = plan.variant.name
    output.status(f"{plan.wanted.ref.repo}: {name} ({plan.reason}), {byte_count(plan.size)}")
    if plan.received:
        output.status(f"{byte_count(plan.received)} of it are here")
    fit = fitting.of(plan.remote, plan.variant)
    if fit is None:
        output.warning("its header cannot be read before the download: whether it fits is not known")
        return
    output.status(fit.sentence)
    if fit.verdict is Verdict.NO and not force:
        raise MemoryFitError(
            f"{name} of {plan.wanted.ref.repo} {fit.sentence}",
            hint=f"gptcli models fit {plan.wanted.ref.repo}, or --force",
        )


def _ask_consent(plan: Plan, accepted: bool, output: Output) -> None:
    if not plan.asks_for_consent:
        return
    license, repo = plan.license, plan.wanted.ref.repo
    if not accepted:
        fact = f"{repo} comes under the licence {license.id!r}, which asks for consent"
        if not can_ask(output):
            raise UsageError(f"{fact}: {license.url}", hint="read it, then add --accept-license")
        output.status(f"{fact}:\n  {license.url}")
        if not is_confirmed(output, "Do you accept it?"):
            raise UsageError("the licence was not accepted: nothing was downloaded")
    records.accept_license(license.id, repo)


class _Transfer:
    """Shows one bar for all files of a plan."""

    def __init__(self, plan: Plan, output: Output) -> None:
        self._plan, self._output = plan, output
        self._bar = ByteProgress(output, "pulling", plan.size)
        self._before = 0

    def __enter__(self) -> _Transfer:
        self._bar.__enter__()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._bar.__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt):
            here = byte_count(self._plan.received)
            self._output.status(f"stopped at {here}; the same command goes on from there")

    def report(self, _file: RepoFile, before: int) -> _Transfer:
        self._before = before
        return self

    def progress(self, done: int) -> None:
        self._bar.advance(self._before + done)

    def checked(self, done: int) -> None:
        self._bar.restart(self._before + done)

    def note(self, text: str) -> None:
        self._output.status(text)


def _check_header(pulled: Pulled, output: Output) -> None:
    try:
        diagnose(pulled.path)
    except ModelError as error:
        output.warning(f"the file is as it was published, but: {error.message}")


def _report(output: Output, pulled: Pulled, as_json: bool) -> None:
    if not as_json:
        output.write(f"{pulled.path}\n")
        return
    files = [
        {"path": file.path, "size": file.size, "sha256": pulled.sha256[file.path]}
        for file in pulled.variant.files
    ]
    output.json(
        {
            "repo": pulled.repo,
            "revision": pulled.commit,
            "quantization": pulled.variant.quantization,
            "path": str(pulled.path),
            "files": files,
            "received_bytes": pulled.sent,
        }
    )


def _report_plan(output: Output, plan: Plan, as_json: bool) -> None:
    if not as_json:
        for file in plan.variant.files:
            output.write(f"{file.path}  {byte_count(file.size)}  {file.sha256 or 'no SHA-256'}\n")
        return
    output.json(
        {
            "repo": plan.wanted.ref.repo,
            "revision": plan.remote.commit,
            "quantization": plan.variant.quantization,
            "reason": plan.reason,
            "license": plan.license.id,
            "asks_for_consent": plan.asks_for_consent,
            "size": plan.size,
            "here": plan.received,
            "files": [
                {"path": file.path, "size": file.size, "sha256": file.sha256}
                for file in plan.variant.files
            ],
        }
    )
