"""Headers that anything may have happened to: a run of its own, `pytest -m fuzz`.

Each mutation of a valid file is diagnosed: it passes, or is refused with an error that can be shown,
within a second. What passes is given to llama.cpp in the real worker, which may refuse it or die, and
nothing more.
"""

from __future__ import annotations

import contextlib
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.engine.api import EngineSettings, Generate, complete
from gptcli.engine.local import LocalEngine
from gptcli.errors import GptcliError
from gptcli.models.diagnosis import diagnose
from gptcli.models.gguf import read_remote_header
from gptcli.sampling import SamplingParams
from tests.tiny_gguf import CHATML, REQUIRED, Typed, gguf_bytes, make_tiny_model

pytestmark = pytest.mark.fuzz

MUTATIONS = 20_000
LOADED = 120
SECONDS = 1.0  # of processor time: the machine may be busy with other things

Mutate = Callable[[bytearray, random.Random], None]
NUMBERS = (0, 1, 2, 7, 31, 63, 255, 512, 513, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40)
WIDE = (*NUMBERS, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
KEYS = (b"general.architecture", b"llama.block_count", b"tokenizer.ggml.tokens", b"general.alignment")


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def put_u32(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(max(1, len(data) - 4))
    data[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)


def put_u64(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(max(1, len(data) - 8))
    data[at : at + 8] = struct.pack("<Q", rng.choice(WIDE))


def put_count(data: bytearray, rng: random.Random) -> None:
    """Change the number of tensors or keys, at the file's start."""
    at = rng.choice((4, 8, 16))
    data[at : at + 8] = struct.pack("<Q", rng.choice(WIDE))


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 4, 8, 40))]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.choice((1, 8, 64, 500))]


def splice(data: bytearray, rng: random.Random) -> None:
    start, target = rng.randrange(len(data)), rng.randrange(len(data))
    length = rng.choice((4, 8, 32, 200))
    data[target : target + length] = data[start : start + length]


def rename(data: bytearray, rng: random.Random) -> None:
    """Give a key another one's name, or spoil it."""
    key = rng.choice(KEYS)
    at = data.find(key)
    if at >= 0:
        other = rng.choice(KEYS)
        data[at : at + len(key)] = (other + key)[: len(key)]


def near_key(data: bytearray, rng: random.Random) -> None:
    """Change a number behind a key that matters."""
    key = rng.choice(KEYS)
    at = data.find(key) + len(key) + rng.choice((0, 4, 8))
    data[at : at + 4] = struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)


KINDS: tuple[Mutate, ...] = (
    *(flip, put_u32, put_u64, put_count, cut, remove, repeat, splice, rename, near_key),
)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, ...]:
    directory = tmp_path_factory.mktemp("bases")
    per_layer = REQUIRED | {"llama.attention.head_count": Typed("uint32", [4])}
    return (
        make_tiny_model(directory / "a.gguf", layers=1).read_bytes(),
        make_tiny_model(directory / "b.gguf", chat_template=CHATML, layers=2).read_bytes(),
        gguf_bytes(),
        gguf_bytes(per_layer),
        gguf_bytes(REQUIRED | {"split.count": Typed("uint16", 2), "split.no": Typed("uint16", 0)}),
        gguf_bytes(REQUIRED | {"tokenizer.ggml.tokens": [f"token {n}" for n in range(2000)]}),
        gguf_bytes(order=">"),
    )


def mutated(bases: tuple[bytes, ...], seed: int) -> bytes:
    rng = random.Random(seed)
    data = bytearray(bases[seed % len(bases)])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            # Most of a file is weights, where nothing can go wrong: the header is what matters.
            head = bytearray(data[:4096])
            rng.choice(KINDS)(head if rng.random() < 0.9 else data, rng)
            data[:4096] = head
    return bytes(data)


def outcome(path: Path, content: bytes) -> GptcliError | None:
    """Return what is wrong with the content; fail if that took too long."""
    path.write_bytes(content)
    found = None
    started = time.process_time()
    try:
        diagnose(path)
    except GptcliError as error:
        found = error
    assert time.process_time() - started < SECONDS
    assert found is None or found.message.isprintable()
    return found


def test_every_mutation_is_diagnosed(bases: tuple[bytes, ...], tmp_path: Path) -> None:
    seen = set()

    @settings(
        max_examples=MUTATIONS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, (1 << 48) - 1))
    def check(seed: int) -> None:
        seen.add(seed)
        content = mutated(bases, seed)
        outcome(tmp_path / "model.gguf", content)
        with contextlib.suppress(GptcliError):
            read_remote_header(lambda a, b: content[a:b], max(1, len(content)), "m.gguf", tensors=True)

    check()

    extra = iter(range(1 << 48, 1 << 49))
    while len(seen) < MUTATIONS:  # Hypothesis may repeat itself
        seed = next(extra)
        seen.add(seed)
        outcome(tmp_path / "model.gguf", mutated(bases, seed))


def test_what_passes_harms_nobody(bases: tuple[bytes, ...], tmp_path: Path) -> None:
    loaded = 0
    for seed in range(100_000):
        content = mutated(bases, seed)
        if loaded == LOADED:
            break
        path = tmp_path / "model.gguf"
        if seed % len(bases) > 1 or content in bases or outcome(path, content) is not None:
            continue  # only the first two have weights that llama.cpp would take
        loaded += 1
        started = time.monotonic()
        engine = LocalEngine(EngineSettings(model_path=str(path), model_name="mutant"))
        one_token = SamplingParams(temperature=0, max_tokens=1)
        with contextlib.closing(engine), contextlib.suppress(GptcliError):
            complete(engine, Generate(prompt="a", sampling=one_token))
        assert time.monotonic() - started < 20
    assert loaded == LOADED
