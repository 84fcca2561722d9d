"""The memory of this machine, and what of the Hub fits into it."""

from __future__ import annotations

from dataclasses import dataclass

from gptcli.engine.devices import probe_gpus
from gptcli.engine.machine import memory
from gptcli.errors import ModelFileError
from gptcli.models.fit import Gpu, Machine, MemoryNeed, Verdict, estimate, verdict
from gptcli.models.gguf import GgufHeader
from gptcli.models.hub.client import Hub, RemoteRepo
from gptcli.models.quants import Variant
from gptcli.output.amounts import byte_count


@dataclass(frozen=True, slots=True)
class Fit:
    """What a model needs with a context window, and whether this machine has it."""

    need: MemoryNeed
    verdict: Verdict
    machine: Machine
    window: int

    @property
    def sentence(self) -> str:
        free = byte_count(self.machine.ram_free)
        needed = f"needs {byte_count(self.need.total)} of memory with {self.window:,} tokens"
        if self.machine.gpus:
            free += f" and on GPUs {byte_count(sum(gpu.free for gpu in self.machine.gpus))}"
        words = {
            Verdict.FITS: "it fits",
            Verdict.TIGHT: "it fits only if other programs are closed",
            Verdict.NO: "it does not fit",
        }
        return f"{needed}; {free} are free: {words[self.verdict]}"


def this_machine() -> Machine:
    """Return the memory of this machine, as it is now."""
    found = memory()
    free, total = (found.available, found.total) if found is not None else (1 << 62, 1 << 62)
    gpus = tuple(Gpu(d.description, d.free_bytes, d.total_bytes) for d in probe_gpus())
    return Machine(free, total, gpus)


class Fitting:
    """Tells what fits, by the headers of files on the Hub: 1 MiB each, one for a repository."""

    def __init__(self, hub: Hub, machine: Machine, window: int) -> None:
        self._hub, self.machine, self.window = hub, machine, window
        self._headers: dict[tuple[str, str], GgufHeader | None] = {}

    def fits(self, remote: RemoteRepo, variant: Variant) -> bool:
        """Tell whether a variant fits without other programs being closed, or may fit."""
        found = self.of(remote, variant)
        return found is None or found.verdict is Verdict.FITS

    def of(self, remote: RemoteRepo, variant: Variant) -> Fit | None:
        """Return what a variant needs; None if its header says nothing that can be read."""
        header = self._header(remote, variant)
        if header is None:
            return None
        need = estimate(header, variant.size, self.window)
        return Fit(need, verdict(need, self.machine), self.machine, self.window)

    def _header(self, remote: RemoteRepo, variant: Variant) -> GgufHeader | None:
        """Return the header of a variant. All quantizations of one model share all that counts here."""
        first = variant.files[0]
        key = (remote.repo, remote.commit)
        if key not in self._headers:
            try:
                self._headers[key] = self._hub.header(remote.repo, remote.commit, first)
            except ModelFileError:
                self._headers[key] = None
        return self._headers[key]
