"""`gptcli doctor`: what works on this machine, what does not, and why."""

from __future__ import annotations

from typing import Any

import typer

from gptcli.cli import options as opt


def doctor(
    context: typer.Context,
    model: opt.ModelOpt = None,
    ctx_size: opt.CtxSizeOpt = 0,
    threads: opt.ThreadsOpt = 0,
    gpu_layers: opt.GpuLayersOpt = "auto",
    parallel: opt.ParallelOpt = "auto",
    json: opt.JsonOpt = False,
    quiet: opt.QuietOpt = False,
    verbose: opt.VerboseOpt = False,
    debug: opt.DebugOpt = False,
    color: opt.ColorOpt = opt.Color.AUTO,
) -> None:
    """Check this installation: versions, CPU, memory, GPU, directories, model files, the engine.

    Exit status 1 when something is wrong.
    """
    from gptcli.cli.examine import examine

    output = opt.make_output(context.params)
    checks = []
    for check in examine(context.params, output):
        checks.append(check)
        if not json:
            _print(output, check)
    if json:
        output.json({"ok": all(check.ok for check in checks), "checks": [c.as_json() for c in checks]})
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def _print(output: Any, check: Any) -> None:
    mark = "ok  " if check.ok else "FAIL"
    output.write(f"{mark} {check.name:<12} {check.value}\n")
    if check.hint:
        output.write(f"     {'':<12} try: {check.hint}\n")
