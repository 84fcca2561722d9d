"""What this machine gives us: CPUs by affinity, cgroup quota and physical cores; memory that is free.

A two-CPU container on a 64-core host that starts 64 threads is the classic disaster; and two
hyperthreads of one core decode no faster than one.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC_CGROUP = Path("/proc/self/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, slots=True)
class CpuBudget:
    """The CPUs this process may use, and the reason for the number."""

    count: int
    reason: str


def cpu_budget() -> CpuBudget:
    """Return the number of threads to use by default."""
    allowed = _affinity()
    cores = _physical_cores(allowed)
    quota = _cgroup_quota()
    if quota is not None and quota < cores:
        count = max(1, math.floor(quota))
        return CpuBudget(count, f"cgroup quota of {quota:g} CPUs")
    if cores < len(allowed):
        return CpuBudget(cores, f"{cores} physical cores of {len(allowed)} CPUs")
    total = os.cpu_count() or len(allowed)
    if len(allowed) < total:
        return CpuBudget(cores, f"affinity to {len(allowed)} of {total} CPUs")
    return CpuBudget(cores, "all CPUs")


def cpu_model() -> str:
    """Return the processor's name, or an empty string where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


@dataclass(frozen=True, slots=True)
class Memory:
    """Main memory in bytes: in all, and free for use now."""

    total: int
    available: int


def memory() -> Memory | None:
    """Return the memory of this machine or of our cgroup; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    total, available = kib["MemTotal"] << 10, kib["MemAvailable"] << 10
    for directory in _cgroup_directories():
        try:
            limit = int((directory / "memory.max").read_text(encoding="ascii"))
            used = int((directory / "memory.current").read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such controller, or "max"
            continue
        total, available = min(total, limit), min(available, max(0, limit - used))
    return Memory(total, available)


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _physical_cores(allowed: set[int]) -> int:
    groups = set()
    for cpu in allowed:
        try:
            path = TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
            groups.add(path.read_text(encoding="ascii").strip())
        except OSError:
            return len(allowed)
    return len(groups) or 1


def _cgroup_quota() -> float | None:
    """Return the CPU limit of this process's cgroup or of the narrowest one above it; None: no limit."""
    limits = []
    for directory in _cgroup_directories():
        try:
            quota, period = (directory / "cpu.max").read_text(encoding="ascii").split()
            if quota != "max":
                limits.append(int(quota) / int(period))
        except (OSError, ValueError):
            pass
        try:  # cgroup v1
            quota_us = int((directory / "cpu.cfs_quota_us").read_text(encoding="ascii"))
            period_us = int((directory / "cpu.cfs_period_us").read_text(encoding="ascii"))
            if quota_us > 0:
                limits.append(quota_us / period_us)
        except (OSError, ValueError, ZeroDivisionError):
            pass
    return min(limits, default=None)


def _cgroup_directories() -> list[Path]:
    try:
        lines = PROC_CGROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUP / "cpu" if controllers else CGROUP
        place = root / path.lstrip("/")
        found += [
            parent for parent in (place, *place.parents) if parent == root or root in parent.parents
        ]
    return found


def peak_memory() -> int | None:
    """Return the most memory this process and its children have had so far, in bytes.

    The sum of their own peaks; None where the system does not tell.
    """
    own = Path("/proc/self")
    try:
        found = (own / "task" / str(os.getpid()) / "children").read_text().split()
        return sum(_peak(process) for process in (own, *(Path("/proc", pid) for pid in found)))
    except (OSError, ValueError, StopIteration):
        return None


def _peak(process: Path) -> int:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
