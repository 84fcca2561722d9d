"""gptcli/models/fit.py: how much memory a model takes, and whether a machine has it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.memory_fit import peak_bytes
from gptcli.engine.devices import probe_gpus
from gptcli.models.fit import (
    Gpu,
    Machine,
    MemoryNeed,
    Verdict,
    estimate,
    kv_cache_bytes,
    parameter_count,
    quantization_name,
    verdict,
)
from gptcli.models.gguf import GgufHeader, read_header
from tests.faults import written
from tests.tiny_gguf import REQUIRED, Meta, Typed, gguf_bytes

GIB = 1 << 30
LAYERS, HEADS, KV_HEADS, WIDTH = 6, 8, 2, 64
TOKEN = 2 * 2 * KV_HEADS * WIDTH  # bytes of one layer: key and value, two bytes an element


def header(tmp_path: Path, architecture: str, **more: Meta) -> GgufHeader:
    facts: dict[str, Meta] = {
        "block_count": LAYERS,
        "context_length": 32_768,
        "embedding_length": HEADS * WIDTH,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
    }
    facts |= {key.replace("__", "."): value for key, value in more.items()}
    metadata = {key: value for key, value in REQUIRED.items() if not key.startswith("llama.")}
    metadata |= {"general.architecture": architecture}
    metadata |= {f"{architecture}.{key}": value for key, value in facts.items()}
    return read_header(written(tmp_path / "m.gguf", gguf_bytes(metadata)))


def test_the_cache_has_keys_and_values_of_every_layer_and_token(tmp_path: Path) -> None:
    assert kv_cache_bytes(header(tmp_path, "llama"), 1000) == LAYERS * TOKEN * 1000


def test_sliding_layers_keep_their_window_and_what_is_evaluated_at_once(tmp_path: Path) -> None:
    gemma = header(tmp_path, "gemma3", attention__sliding_window=512)

    # Of six layers, the sixth sees all; 512 + 512 cells are a multiple of 256.
    assert kv_cache_bytes(gemma, 8192) == TOKEN * (5 * 1024 + 8192)
    assert kv_cache_bytes(gemma, 600) == LAYERS * TOKEN * 600


def test_a_pattern_in_the_header_wins(tmp_path: Path) -> None:
    pattern = Typed("bool", [1, 0, 1, 0, 1, 0])
    model = header(
        tmp_path,
        "gemma3",
        attention__sliding_window=512,
        attention__sliding_window_pattern=pattern,
    )

    assert kv_cache_bytes(model, 8192) == TOKEN * (3 * 1024 + 3 * 8192)


def test_recurrent_layers_have_a_state_and_no_cache(tmp_path: Path) -> None:
    kv_heads = Typed("uint32", [0, 0, KV_HEADS, 0, 0, KV_HEADS])
    lfm = header(tmp_path, "lfm2", attention__head_count_kv=kv_heads, shortconv__l_cache=3)

    assert kv_cache_bytes(lfm, 1000) == 2 * TOKEN * 1000 + 4 * 4 * 2 * HEADS * WIDTH

    hybrid = header(
        tmp_path,
        "qwen35",
        full_attention_interval=3,
        ssm__inner_size=100,
        ssm__state_size=16,
        ssm__conv_kernel=4,
    )
    assert kv_cache_bytes(hybrid, 1000) == 2 * TOKEN * 1000 + 4 * 4 * (1600 + 300)


def test_an_unknown_window_is_taken_for_none(tmp_path: Path) -> None:
    model = header(tmp_path, "future", attention__sliding_window=512)

    assert kv_cache_bytes(model, 1000) == LAYERS * TOKEN * 1000


def test_a_header_that_says_nothing_needs_its_weights(tmp_path: Path) -> None:
    need = estimate(read_header(written(tmp_path / "m.gguf", gguf_bytes({}))), 1 * GIB, 4096)

    assert (need.weights, need.kv_cache) == (GIB, 0)


def test_quantization_and_parameters_are_read_off_the_header(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", gguf_bytes(REQUIRED | {"general.file_type": 15}))

    assert quantization_name(read_header(path)) == "Q4_K_M"
    assert parameter_count(read_header(path)) == sum(
        tensor.shape[0] * (tensor.shape[1] if len(tensor.shape) > 1 else 1)
        for tensor in read_header(path).tensors
    )
    assert parameter_count(read_header(path, tensors=False)) is None


@pytest.mark.parametrize(
    ("free", "total", "gpus", "expected"),
    [
        (8, 16, (), Verdict.FITS),
        (4.5, 16, (), Verdict.FITS),
        (4.3, 16, (), Verdict.TIGHT),
        (1, 4.5, (), Verdict.TIGHT),
        (1, 4.3, (), Verdict.NO),
        (1, 4, (6.0,), Verdict.FITS),  # all of it on the GPU
        (1, 4, (4.0,), Verdict.FITS),  # on both
        (0.1, 4, (6.0,), Verdict.FITS),
        (0.1, 1, (2.0,), Verdict.NO),
    ],
)
def test_the_verdict_is_about_four_gib(
    free: float, total: float, gpus: tuple[float, ...], expected: Verdict
) -> None:
    machine = Machine(
        int(free * GIB),
        int(total * GIB),
        tuple(Gpu("gpu", int(each * GIB), int(each * GIB)) for each in gpus),
    )

    assert verdict(MemoryNeed(3 * GIB, GIB, 0), machine) is expected


def test_a_build_without_gpu_support_has_none() -> None:
    assert probe_gpus() == () or all(gpu.total_bytes > 0 for gpu in probe_gpus())


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.kill(os.getpid(), 11)",
        "print('no json')",
        "print('[{\"name\": 1}]')",
        "import time; time.sleep(60)",
    ],
)
def test_a_probe_that_fails_means_no_gpu(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptcli.engine.devices.PROBE_COMMAND", (sys.executable, "-c", program))
    monkeypatch.setattr("gptcli.engine.devices.PROBE_TIMEOUT_S", 1.0)

    assert probe_gpus() == ()


def test_a_probe_that_finds_gpus_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = '[{"name": "CUDA0", "description": "A", "free_bytes": 1, "total_bytes": 2}]'
    command = (sys.executable, "-c", f"print({facts!r})")
    monkeypatch.setattr("gptcli.engine.devices.PROBE_COMMAND", command)

    (gpu,) = probe_gpus()

    assert (gpu.name, gpu.description, gpu.free_bytes, gpu.total_bytes) == ("CUDA0", "A", 1, 2)


# ----------------------------------------------------------------------------------- measured peaks


@pytest.mark.weights
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
@pytest.mark.parametrize("window", [2048, 8192])
def test_the_estimate_is_within_15_percent_of_the_peak(starter_model: Path, window: int) -> None:
    peak = peak_bytes(starter_model, window)

    size = starter_model.stat().st_size
    assert estimate(read_header(starter_model), size, window).total == pytest.approx(peak, rel=0.15)
