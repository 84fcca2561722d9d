"""The GPUs that this build of llama.cpp sees, asked in a process of its own: a driver may crash."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

PROBE_TIMEOUT_S = 10.0
PROBE_COMMAND = (sys.executable, "-P", "-m", "gptcli.engine.llama.devices")


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """A GPU, and its memory in bytes as it is now."""

    name: str
    free: int
    total: int


def probe_gpus() -> tuple[GpuMemory, ...]:
    """Return the GPUs that models can use; none where the probe crashes, hangs or finds none."""
    try:
        done = subprocess.run(
            PROBE_COMMAND,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        return tuple(GpuMemory(str(g["name"]), int(g["free"]), int(g["total"])) for g in found)
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return ()
