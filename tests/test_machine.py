"""CPUs and memory, as affinity, cgroups and topology leave them to us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptcli.engine import machine
from gptcli.engine.llama.model import check_weights_fit
from gptcli.engine.machine import Memory, cpu_budget
from gptcli.errors import MemoryFitError


@pytest.fixture
def fake_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight CPUs, four cores, in the cgroup /jobs/one."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "PROC_CGROUP", tmp_path / "proc_cgroup")
    monkeypatch.setattr(machine, "TOPOLOGY", tmp_path / "cpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (tmp_path / "proc_cgroup").write_text("0::/jobs/one\n", encoding="utf-8")
    (tmp_path / "cgroup" / "jobs" / "one").mkdir(parents=True)
    for cpu in range(8):
        place = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n", encoding="utf-8")
    return tmp_path


def test_one_thread_a_core(fake_system: Path) -> None:
    assert cpu_budget() == machine.CpuBudget(4, "4 physical cores of 8 CPUs")


@pytest.mark.parametrize(
    ("text", "count"), [("200000 100000", 2), ("150000 100000", 1), ("50000 100000", 1)]
)
def test_the_narrowest_quota_counts(fake_system: Path, text: str, count: int) -> None:
    (fake_system / "cgroup" / "jobs" / "one" / "cpu.max").write_text("max 100000\n", encoding="utf-8")
    (fake_system / "cgroup" / "jobs" / "cpu.max").write_text(text, encoding="utf-8")

    budget = cpu_budget()

    assert budget.count == count
    assert "cgroup quota" in budget.reason


def test_the_older_cgroups_count_too(fake_system: Path) -> None:
    (fake_system / "proc_cgroup").write_text("4:cpu,cpuacct:/box\n2:memory:/box\n", encoding="utf-8")
    place = fake_system / "cgroup" / "cpu" / "box"
    place.mkdir(parents=True)
    (place / "cpu.cfs_quota_us").write_text("300000\n", encoding="utf-8")
    (place / "cpu.cfs_period_us").write_text("100000\n", encoding="utf-8")

    assert cpu_budget().count == 3


def test_affinity_counts(fake_system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1}, raising=False)

    assert cpu_budget() == machine.CpuBudget(2, "affinity to 2 of 8 CPUs")


def test_without_any_information_all_cpus_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CGROUP", "PROC_CGROUP", "TOPOLOGY"):
        monkeypatch.setattr(machine, name, tmp_path / "nothing")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)

    assert cpu_budget() == machine.CpuBudget(6, "all CPUs")


def test_memory_is_that_of_the_cgroup(fake_system: Path) -> None:
    whole = machine.memory()
    assert whole is not None
    (fake_system / "cgroup" / "jobs" / "memory.max").write_text(f"{64 << 20}\n", encoding="utf-8")
    (fake_system / "cgroup" / "jobs" / "memory.current").write_text(f"{24 << 20}\n", encoding="utf-8")

    assert machine.memory() == Memory(total=64 << 20, available=40 << 20)


def test_weights_larger_than_the_memory_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.gguf"
    with path.open("wb") as file:
        file.truncate(3 << 30)

    check_weights_fit(path, Memory(total=4 << 30, available=1 << 30))
    with pytest.raises(MemoryFitError, match=r"needs 3\.0 GiB of memory, and this machine has 2\.0 GiB"):
        check_weights_fit(path, Memory(total=2 << 30, available=1 << 30))
