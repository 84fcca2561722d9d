"""The GPUs that this build of llama.cpp sees, asked in a process of its own: a driver may crash."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

PROBE_TIMEOUT_S = 10.0
PROBE_COMMAND = (sys.executable, "-P", "-m", "gptcli.engine.llama.devices")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU that llama.cpp can use, with its memory in bytes as it is now."""

    name: str
    description: str
    free_bytes: int
    total_bytes: int

    def __str__(self) -> str:
        free, total = self.free_bytes / 2**30, self.total_bytes / 2**30
        return f"{self.name} {self.description}, {free:.1f} of {total:.1f} GiB free"


def probe_gpus() -> tuple[Device, ...]:
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
        return tuple(
            Device(str(g["name"]), str(g["description"]), int(g["free_bytes"]), int(g["total_bytes"]))
            for g in found
        )
    except (OSError, subprocess.SubprocessError, ValueError, LookupError, TypeError):
        return ()
