"""Options that commands share, each declared once.

Every option can also be set by `GPTCLI_<OPTION>` and by its key in config.toml.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from gptcli.engine.api import EngineSettings
from gptcli.errors import UsageError
from gptcli.output.console import Output

MODEL_PANEL = "Model and engine"
OUTPUT_PANEL = "Output"


def option(*names: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """Return a typer.Option whose environment variable follows from its long name."""
    long_name = next(name for name in names if name.startswith("--"))
    variable = "GPTCLI_" + long_name.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return typer.Option(
        *names, help=help, envvar=variable, show_envvar=False, rich_help_panel=panel, **more
    )


def complete_model(incomplete: str) -> list[str]:
    """Return the models that begin so: aliases, imported names, and what is in the Hub's cache."""
    from gptcli.models.inventory import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


def is_on_command_line(context: typer.Context, name: str) -> bool:
    """Tell whether a parameter was given as such, not by the environment, the file, or a default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class Color(StrEnum):
    """When to colour."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


ModelOpt = Annotated[
    str | None,
    option(
        "-m",
        "--model",
        metavar="SPEC",
        help="An alias, user/repo:QUANT, or a .gguf file.",
        panel=MODEL_PANEL,
        autocompletion=complete_model,
    ),
]
CtxSizeOpt = Annotated[
    int,
    option(
        "--ctx-size",
        help="Context window in tokens; 0: as large as needed, up to the model's own.",
        panel=MODEL_PANEL,
    ),
]
ThreadsOpt = Annotated[
    int,
    option("--threads", help="CPU threads; 0: as many as there are cores for us.", panel=MODEL_PANEL),
]
GpuLayersOpt = Annotated[
    str,
    option(
        "--gpu-layers",
        metavar="auto|all|N",
        help="Layers to put on the GPU; auto: as many as fit.",
        panel=MODEL_PANEL,
    ),
]
ParallelOpt = Annotated[
    str,
    option(
        "--parallel",
        metavar="auto|N",
        help="Requests to work on at once.",
        panel=MODEL_PANEL,
    ),
]
OfflineOpt = Annotated[bool, option("--offline", help="Never use the network.", panel=MODEL_PANEL)]
SeedOpt = Annotated[
    int | None,
    option("--seed", help="The same seed gives the same text.", panel="Sampling"),
]
NoLogOpt = Annotated[
    bool,
    option("--no-log/--log", help="Keep nothing of this on the disk.", panel=OUTPUT_PANEL),
]
YesOpt = Annotated[bool, option("-y", "--yes", help="Do not ask.")]
QuietOpt = Annotated[bool, option("-q", "--quiet", help="No progress, no warnings.", panel=OUTPUT_PANEL)]
VerboseOpt = Annotated[
    bool,
    option("-v", "--verbose", help="Say what is done, and timings, on stderr.", panel=OUTPUT_PANEL),
]
DebugOpt = Annotated[
    bool, option("--debug", help="Tracebacks, and llama.cpp's own log.", panel=OUTPUT_PANEL)
]
ColorOpt = Annotated[Color, option("--color", help="When to colour.", panel=OUTPUT_PANEL)]
JsonOpt = Annotated[
    bool,
    option("--json", help="One JSON object on stdout; errors as JSON on stderr.", panel=OUTPUT_PANEL),
]


def make_output(params: dict[str, Any]) -> Output:
    """Return the output that the common options of a command ask for."""
    return Output(
        color=params["color"],
        quiet=params["quiet"],
        verbose=params["verbose"],
    )


def engine_settings(params: dict[str, Any], *, path: str, name: str) -> EngineSettings:
    """Return the engine settings that the common options of a command ask for.

    Raises UsageError for values out of range.
    """
    gpu_layers, parallel = params["gpu_layers"], params["parallel"]
    if gpu_layers not in ("auto", "all") and not gpu_layers.isdecimal():
        raise UsageError(f"--gpu-layers must be auto, all or a number, not {gpu_layers!r}")
    if parallel != "auto" and not (parallel.isdecimal() and int(parallel) > 0):
        raise UsageError(f"--parallel must be auto or a number from 1, not {parallel!r}")
    for key, least in (("ctx_size", 0), ("threads", 0)):
        if params[key] < least or params[key] > 2**31 - 1:
            raise UsageError(f"--{key.replace('_', '-')} must be {least} or more, not {params[key]}")
    return EngineSettings(
        model_path=path,
        model_name=name,
        ctx_size=params["ctx_size"],
        threads=params["threads"],
        gpu_layers=gpu_layers if gpu_layers in ("auto", "all") else int(gpu_layers),
        parallel=0 if parallel == "auto" else int(parallel),
    )
