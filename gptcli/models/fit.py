"""How much memory a model takes, from its header alone, and whether a machine has it.

The shares of the KV cache follow llama.cpp's own rules (src/llama-model.cpp, llama-kv-cache-iswa.cpp,
llama-memory-recurrent.cpp). The constants were fitted to the measured peak of two models, 270M and 0.5B,
with windows of 2,048 to 32,768 tokens; `python -m benchmarks.memory_fit` measures them again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from gptcli.models.gguf import GgufHeader

MIB = 1 << 20
PROCESS_BYTES = 118 * MIB  # front and worker, Python and libraries, vocabulary
MERGES_BYTES = 24 * MIB  # the merges of a byte-pair vocabulary, as llama.cpp keeps them
BATCH_TOKENS = 512  # evaluated at once: their activations are what the compute buffer holds
MASK_BYTES = 1_240  # of the compute buffer, for each token of the window
CACHE_PAD = 256  # llama.cpp rounds the cells of a sliding window up to a multiple
GPU_RESERVE_BYTES = 768 * MIB  # compute buffers and the driver's own, on each GPU
GPU_HOST_BYTES = 400 * MIB  # what stays in the machine's own memory when all layers are on the GPU
COMFORT = 0.9  # of the memory: above it, the machine begins to swap

# Every n-th layer sees all tokens, the others a window, where the header does not say which.
_SLIDING_PERIODS = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "exaone4": 4, "llama4": 4,
    "olmo2": 4, "smallthinker": 4,
}  # fmt: skip

# enum llama_ftype of llama.h
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes of memory at the peak: the weights, the KV cache of a full window, all the rest."""

    weights: int
    kv_cache: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.kv_cache + self.buffers


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU and its memory in bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory of a machine in bytes, as it is now."""

    ram_free: int
    ram_total: int
    gpus: tuple[Gpu, ...] = ()

    @property
    def gpu_free(self) -> int:
        """Bytes that models can have on the GPUs."""
        return sum(max(0, gpu.free - GPU_RESERVE_BYTES) for gpu in self.gpus)


class Verdict(StrEnum):
    """Best first."""

    FITS = "fits"
    TIGHT = "tight"
    NO = "no"


def estimate(header: GgufHeader, weights_bytes: int, window: int) -> MemoryNeed:
    """Return what a model takes with a context window of so many tokens. `weights_bytes`: its files."""
    return MemoryNeed(weights_bytes, kv_cache_bytes(header, window), _buffer_bytes(header, window))


def verdict(need: MemoryNeed, machine: Machine) -> Verdict:
    """Judge whether a machine has the memory that a model needs.

    It fits if it takes at most 90 % of what is free now, on the GPUs or in the main memory or on both;
    it is tight if it would fit with all other programs closed.
    """
    if machine.gpus and need.total <= machine.gpu_free and machine.ram_free >= GPU_HOST_BYTES:
        return Verdict.FITS
    if need.total <= COMFORT * machine.ram_free + machine.gpu_free:
        return Verdict.FITS
    if need.total <= COMFORT * machine.ram_total + machine.gpu_free:
        return Verdict.TIGHT
    return Verdict.NO


def kv_cache_bytes(header: GgufHeader, window: int) -> int:
    """Return the bytes of an F16 KV cache for one sequence of `window` tokens, and recurrent states."""
    widths = header.kv_widths()
    if widths is None:  # no attention at all
        widths = [0] * header.layers
    sliding = _sliding_layers(header, len(widths))
    cells = _sliding_cells(header, window)
    kv = sum(
        2 * width * (cells if is_sliding else window)
        for width, is_sliding in zip(widths, sliding, strict=True)
    )
    return kv + sum(width == 0 for width in widths) * _state_bytes(header)


def quantization_name(header: GgufHeader) -> str | None:
    """Return the name of the quantization that most tensors have, such as "Q4_K_M"; None if unknown."""
    return _FILE_TYPES.get(header.file_type) if header.file_type is not None else None


def parameter_count(header: GgufHeader) -> int | None:
    """Return the number of parameters; None if the header was read without its tensors."""
    return header.parameter_count or None


def _sliding_layers(header: GgufHeader, layers: int) -> Sequence[bool]:
    """Return which layers see a sliding window alone."""
    if not header.sliding_window:
        return [False] * layers
    pattern = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern")
    if isinstance(pattern, tuple) and len(pattern) >= layers:
        return [bool(each) for each in pattern[:layers]]
    named = pattern if isinstance(pattern, int) and not isinstance(pattern, bool) else None
    period = named or _SLIDING_PERIODS.get(header.architecture or "")
    if not period:
        return [False] * layers  # not known: as if each saw all
    return [n % period < period - 1 for n in range(layers)]


def _sliding_cells(header: GgufHeader, window: int) -> int:
    cells = (header.sliding_window or 0) + BATCH_TOKENS
    return min(window, -(-cells // CACHE_PAD) * CACHE_PAD)


def _state_bytes(header: GgufHeader) -> int:
    """Return the bytes of one layer's recurrent state (F32), of Mamba and what is built like it."""
    inner = header.model_number("ssm.inner_size") or 0
    state = header.model_number("ssm.state_size") or 0
    groups = header.model_number("ssm.group_count") or 0
    kernel = header.model_number("ssm.conv_kernel") or header.model_number("shortconv.l_cache") or 1
    convolved = inner + 2 * groups * state or header.embedding_length or 0
    return 4 * (state * inner + (kernel - 1) * convolved)


def _buffer_bytes(header: GgufHeader, window: int) -> int:
    feed_forward = header.per_layer("feed_forward_length")
    widest = max(feed_forward, default=0) if isinstance(feed_forward, tuple) else feed_forward or 0
    activations = 4 * BATCH_TOKENS * (2 * widest + 4 * (header.embedding_length or 0))
    merges = MERGES_BYTES if header.metadata.get("tokenizer.ggml.model") == "gpt2" else 0
    return PROCESS_BYTES + merges + activations + MASK_BYTES * window
