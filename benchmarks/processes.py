"""Runs commands as whole processes: wall time, and the peak memory of all their processes together."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run. `peak_bytes` sums the peak resident sizes (VmHWM) of its processes."""

    wall_s: float
    peak_bytes: int
    stdout: str
    stderr: str


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end. Raises CalledProcessError when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        text=True,
    )
    peaks: dict[int, int] = {}
    watcher = threading.Thread(target=_watch, args=(process, peaks), daemon=True)
    watcher.start()
    stdout, stderr = process.communicate()
    wall_s = time.perf_counter() - started
    watcher.join()
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stdout, stderr)
    return Run(wall_s, sum(peaks.values()), stdout, stderr)


def _watch(process: subprocess.Popen[str], peaks: dict[int, int]) -> None:
    while process.poll() is None:
        for pid in _tree(process.pid):
            with contextlib.suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
                line = next(line for line in lines if line.startswith("VmHWM:"))
                peaks[pid] = max(peaks.get(pid, 0), int(line.split()[1]) * 1024)
        time.sleep(POLL_S)


def _tree(pid: int) -> list[int]:
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = (task / "children").read_text(encoding="ascii").split()
            for child in children:
                found += _tree(int(child))
    return found


@contextlib.contextmanager
def busy_cores(count: int) -> Generator[None, None, None]:
    """Keep this many cores busy meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
