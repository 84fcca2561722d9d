"""gptcli/models/gguf.py: headers are read whole and fast, whatever bytes a file holds."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.errors import GptcliError, ModelError, ModelFileError
from gptcli.models.diagnosis import diagnose
from gptcli.models.gguf import ArrayInfo, GgufHeader, read_header, read_remote_header
from gptcli.models.tensors import TensorInfo
from tests.faults import DAMAGED, fact, fault, written
from tests.tiny_gguf import (
    CHATML,
    REQUIRED,
    TENSORS,
    Meta,
    Tensor,
    Typed,
    gguf_bytes,
    make_html,
    make_tiny_model,
)

FUZZED = sorted((Path(__file__).parent / "data" / "gguf").glob("*.bin"))
CORPUS = os.environ.get("GPTCLI_TEST_GGUF_CORPUS")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test writes its model."""
    return tmp_path / "model.gguf"


def header_of(path: Path, metadata: dict[str, Meta]) -> GgufHeader:
    return read_header(written(path, gguf_bytes(metadata)))


# ------------------------------------------------------------------------------- what a header says


def test_header_names_what_memory_estimates_need(model: Path) -> None:
    make_tiny_model(model, name="small", chat_template=CHATML, context_length=256, layers=3)

    header = read_header(model)

    assert (header.version, header.byte_order, header.alignment) == (3, "little", 32)
    assert (header.architecture, header.name, header.file_type) == ("llama", "small", 0)
    assert (header.block_count, header.context_length, header.embedding_length) == (3, 256, 32)
    assert (header.head_count_kv, header.key_length, header.value_length) == (2, None, None)
    assert (header.sliding_window, header.chat_template) == (None, CHATML)
    assert header.tensor_count == len(header.tensors)
    # 3 layers x 2 heads x (8 + 8) elements x 2 bytes
    assert header.kv_bytes_per_token() == 192
    assert header.kv_bytes_per_token(cache_type_bytes=34 / 32) == 102


def test_tensors_are_left_out_on_demand(model: Path) -> None:
    header = read_header(make_tiny_model(model), tensors=False)

    assert (header.tensor_count, header.tensors, header.data_offset) == (21, (), None)


def test_metadata_and_tensors_are_what_the_gguf_package_reads(model: Path) -> None:
    import gguf

    make_tiny_model(model, chat_template=CHATML, sampling={"temp": 0.5, "top_k": 20})
    reader = gguf.GGUFReader(model)

    header = read_header(model, skip_arrays=False)

    theirs = {key: field.contents() for key, field in reader.fields.items() if "GGUF." not in key}
    ours = {key: list(v) if isinstance(v, tuple) else v for key, v in header.metadata.items()}
    assert ours == theirs
    assert header.data_offset == reader.data_offset
    for mine, other in zip(header.tensors, reader.tensors, strict=True):
        assert (mine.name, mine.shape) == (other.name, tuple(other.shape.tolist()))
        assert (mine.type_id, mine.type_name) == (other.tensor_type, other.tensor_type.name)
        assert mine.size_bytes == other.n_bytes
        assert mine.offset + reader.data_offset == other.data_offset


@pytest.mark.parametrize(("order", "name"), [("<", "little"), (">", "big")])
@pytest.mark.parametrize("version", [2, 3])
def test_both_byte_orders_and_versions_are_read(
    model: Path, order: str, name: str, version: int
) -> None:
    metadata: dict[str, Meta] = {
        **REQUIRED,
        "b": Typed("bool", 1),
        "f": 0.5,
        "i": Typed("int8", -3),
        "s": "é",
    }
    written(model, gguf_bytes(metadata, version=version, order="<" if order == "<" else ">"))

    header = read_header(model)

    assert (header.version, header.byte_order, header.block_count) == (version, name, 1)
    assert [header.metadata[key] for key in "bfis"] == [True, 0.5, -3, "é"]
    assert header.tensors[1] == TensorInfo(
        name="blk.0.attn_q.weight", shape=(32, 32), type_id=0, offset=384
    )


def test_arrays_longer_than_any_model_has_layers_are_only_counted(model: Path) -> None:
    texts, numbers = ["token"] * 513, [1.0] * 513
    metadata: dict[str, Meta] = {"t": texts, "n": Typed("float32", numbers), "few": texts[:512]}
    written(model, gguf_bytes(REQUIRED | metadata))

    short, whole = read_header(model), read_header(model, skip_arrays=False)

    assert short.metadata["t"] == ArrayInfo("string", 513)
    assert short.metadata["n"] == ArrayInfo("float32", 513)
    assert short.metadata["few"] == tuple(texts[:512])
    assert (whole.metadata["t"], whole.metadata["n"]) == (tuple(texts), tuple(numbers))
    assert short.tensors == whole.tensors


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"llama.attention.head_count_kv": 2}, 2 * 1 * (8 + 8) * 2),
        ({"llama.attention.key_length": 16, "llama.attention.value_length": 24}, 4 * (16 + 24) * 2),
        ({"llama.attention.head_count_kv": Typed("uint32", [2, 0, 1])}, 3 * (8 + 8) * 2),
        ({"llama.attention.head_count": Typed("uint32", [0, 4])}, 4 * (8 + 8) * 2),
        ({"llama.attention.head_count": 0}, None),
        ({"llama.attention.head_count": "four"}, None),
        ({"llama.block_count": Typed("int32", -1)}, None),
        # A list of so many layers would end this process, or the machine.
        ({"llama.block_count": struct.pack("<IQ", 10, 1 << 61)}, 4 * 512 * (8 + 8) * 2),
        ({"general.architecture": "other"}, None),
    ],
)
def test_kv_bytes_per_token(model: Path, metadata: dict[str, Meta], expected: int | None) -> None:
    assert header_of(model, REQUIRED | metadata).kv_bytes_per_token() == expected


def test_properties_are_none_where_the_file_says_nothing(model: Path) -> None:
    header = header_of(
        model, {"general.name": 7, "general.file_type": "Q4", "general.x": Typed("bool", 1)}
    )

    names = "architecture name file_type chat_template block_count context_length embedding_length"
    more = "head_count_kv key_length value_length sliding_window"
    assert {getattr(header, each) for each in f"{names} {more}".split()} == {None}


def test_size_of_an_unknown_tensor_type_is_not_known() -> None:
    tensor = TensorInfo(name="new", shape=(32,), type_id=99, offset=0)

    assert (tensor.type_name, tensor.size_bytes) == (None, None)


class Ranges:
    """A file that is read in ranges, and what was asked for."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, end: int) -> bytes:
        self.asked.append((start, end))
        return self.content[start:end]

    def header(self, **more: bool) -> GgufHeader:
        return read_remote_header(self.read, len(self.content), "remote.gguf", **more)


def test_one_mib_of_a_remote_file_says_what_the_model_is() -> None:
    metadata = REQUIRED | {"tokenizer.ggml.tokens": ["token"] * 100_000, "general.name": "after them"}
    remote = Ranges(gguf_bytes(metadata))

    header = remote.header()

    assert remote.asked == [(0, 1 << 20)]
    assert (header.architecture, header.block_count, header.name) == ("llama", 1, None)
    assert header.file_size_bytes == len(remote.content)


def test_a_remote_header_is_read_to_its_end_and_no_byte_twice(model: Path) -> None:
    metadata = REQUIRED | {"tokenizer.ggml.tokens": ["token"] * 200_000, "general.name": "after them"}
    remote = Ranges(written(model, gguf_bytes(metadata)).read_bytes())

    assert remote.header(tensors=True) == read_header(model)
    assert [start for start, _ in remote.asked] == [0, *(end for _, end in remote.asked[:-1])]
    assert len(remote.asked) == 3


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", gguf_bytes()[:100]], ids=len)
def test_a_remote_file_that_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ModelFileError):
        Ranges(content).header(tensors=True)


def test_a_server_that_sends_too_little_is_refused() -> None:
    content = gguf_bytes()

    with pytest.raises(ModelFileError, match="cut off"):
        read_remote_header(lambda _start, _end: b"", len(content), "remote.gguf")


@pytest.mark.parametrize("alignment", [0, 3, 1 << 21, -32])
def test_an_impossible_alignment_is_refused(model: Path, alignment: int) -> None:
    content = gguf_bytes(REQUIRED | {"general.alignment": Typed("int32", alignment)})

    assert "alignment" in fact(written(model, content))


# ----------------------------------------------------------------------------------- damaged headers


def u64(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def array(kind: int, count: int, rest: bytes = b"") -> bytes:
    """Return a metadata array as it lies in the file, with any count."""
    return struct.pack("<IIQ", 9, kind, count) + rest


WHOLE = gguf_bytes()
HUGE = 1 << 63
BROKEN = {
    "no counts": (WHOLE[:10], "ends inside its header, after 10 bytes: it is cut off or damaged"),
    "cut in the metadata": (
        WHOLE[:250],
        "ends inside its header, after 250 bytes: it is cut off or damaged",
    ),
    "cut in the counts' reach": (
        WHOLE[:100],
        "claims 7 metadata keys and 2 tensors, more than its 100 bytes can hold: "
        "it is cut off or damaged",
    ),
    "version 0": (gguf_bytes(version=0), "is GGUF version 0, and only 2 and 3 are known"),
    "version 1": (gguf_bytes(version=1), "is GGUF version 1, which llama.cpp no longer reads"),
    "version 4": (gguf_bytes(version=4), "is GGUF version 4, and only 2 and 3 are known"),
    "key count": (
        gguf_bytes(key_count=HUGE),
        f"claims {HUGE:,} metadata keys and 2 tensors, more than its {len(WHOLE):,} bytes can hold: "
        "it is cut off or damaged",
    ),
    "many keys": (
        gguf_bytes(key_count=4097, data=bytes(1 << 16)),
        f"claims 4,097 metadata keys: {DAMAGED}",
    ),
    "many tensors": (
        gguf_bytes(tensor_count=131_073, data=bytes(1 << 22)),
        f"claims 131,073 tensors: {DAMAGED}",
    ),
    "nameless key": (gguf_bytes({"": 1}), f"has a metadata key without a name: {DAMAGED}"),
    "key twice": (gguf_bytes([("a", 1), ("a", 1)]), f'has the metadata key "a" twice: {DAMAGED}'),
    "long text": (
        gguf_bytes({"a": struct.pack("<I", 8) + u64(HUGE)}),
        f"claims a text of {HUGE:,} bytes: {DAMAGED}",
    ),
    "unknown type": (
        gguf_bytes({"a": struct.pack("<IQ", 13, 0)}),
        f'has an unknown type 13 for "a": {DAMAGED}',
    ),
    "array of arrays": (
        gguf_bytes({"a": array(9, 1, bytes(16))}),
        f'has an array of an unknown type 9 for "a": {DAMAGED}',
    ),
    "long array": (gguf_bytes({"a": array(4, HUGE)}), f'claims {HUGE:,} elements in "a": {DAMAGED}'),
    "array past the end": (
        gguf_bytes({"a": array(4, 1 << 23)}, ()),
        "ends inside its header, after 64 bytes: it is cut off or damaged",
    ),
    "texts past the end": (
        gguf_bytes({"a": array(8, 600, u64(HUGE - 1) * 600)}, ()),
        "ends inside its header, after 4,864 bytes: it is cut off or damaged",
    ),
    "alignment": (
        gguf_bytes(REQUIRED | {"general.alignment": 24}),
        f'has an alignment of "24", not a power of 2 up to 1 MiB: {DAMAGED}',
    ),
    "dimensions": (
        gguf_bytes(tensors=[Tensor("a", (1,) * 5)]),
        f'claims 5 dimensions for the tensor "a": {DAMAGED}',
    ),
}


@pytest.mark.parametrize(("content", "expected"), BROKEN.values(), ids=BROKEN)
def test_damaged_header(model: Path, content: bytes, expected: str) -> None:
    assert fact(written(model, content)) == expected
    with pytest.raises(ModelFileError):
        read_header(model)


def test_header_longer_than_any_model_has(model: Path) -> None:
    with model.open("wb") as file:
        file.write(gguf_bytes({"a": array(8, 600, u64(0) * 599 + u64(1 << 27))}, (), key_count=2))
        file.truncate(1 << 28)  # a hole: takes no space

    assert fact(model) == f"has a header of more than 67,108,864 bytes: {DAMAGED}"


# ----------------------------------------------------------------------------------- hostile content


def test_names_from_a_file_cannot_write_to_the_terminal(model: Path) -> None:
    evil = "\x1b[2J\n\u202e" + "x" * 500
    for content in (
        gguf_bytes([(evil, 1), (evil, 1)]),
        gguf_bytes(tensors=[*TENSORS, Tensor(evil)]),
        f"{evil}\n".encode(),
        gguf_bytes(REQUIRED | {"general.architecture": evil}),
    ):
        fault(written(model, content))  # which checks that all is printable
    fault(make_html(model.with_name("\x1b[2J\n.gguf")))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf") / "model.gguf"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_tiny_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf", layers=1).read_bytes()


def raises_nothing_else(path: Path) -> None:
    """Run every entry: each returns, or raises what the user can be shown."""
    errors: list[GptcliError] = []
    for check in (diagnose, read_header, partial(read_header, skip_arrays=False)):
        try:
            header = check(path)
            if isinstance(header, GgufHeader):
                header.kv_bytes_per_token()
        except GptcliError as error:
            errors.append(error)
    assert all(isinstance(error, ModelError) and error.message.isprintable() for error in errors)


# Times are wide because other work may share the machine; a hang would be minutes.
property_test = settings(
    max_examples=300,
    deadline=timedelta(seconds=2),
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


places = st.integers(0, 1 << 14)
models = st.sampled_from(["tiny", "smallest"])  # in the smallest, few bytes belong to the vocabulary


def edited(content: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """Return a model with bytes of its header replaced; places behind it count from its start again."""
    changed = bytearray(content)
    header_bytes = min(len(content) - 4480, 1 << 14)  # the smallest has 4,480 bytes of data
    for place, new in edits:
        at = place % header_bytes
        changed[at : at + len(new)] = new
    return bytes(changed)


@property_test
@given(model=models, edits=st.lists(st.tuples(places, st.binary(min_size=1, max_size=2)), min_size=1))
def test_changed_bytes_end_in_a_result_or_an_error(
    scratch: Path, tiny: bytes, model: str, edits: list[tuple[int, bytes]]
) -> None:
    content = edited(tiny if model == "tiny" else WHOLE, edits)

    raises_nothing_else(written(scratch, content))


@property_test
@given(
    model=models,
    place=places,
    value=st.sampled_from([0, 1, 513, 1 << 16, 1 << 31, 1 << 32, 1 << 62, HUGE - 1, HUGE, 2 * HUGE - 1]),
)
def test_absurd_lengths_end_in_a_result_or_an_error(
    scratch: Path, tiny: bytes, model: str, place: int, value: int
) -> None:
    content = edited(tiny if model == "tiny" else WHOLE, [(place, u64(value))])

    raises_nothing_else(written(scratch, content))


@property_test
@given(data=st.data())
def test_any_truncation_is_an_error(scratch: Path, tiny: bytes, data: st.DataObject) -> None:
    keep = data.draw(st.integers(0, len(tiny) - 1))

    fault(written(scratch, tiny[:keep]))


@property_test
@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_number_are_an_error(scratch: Path, content: bytes) -> None:
    fault(written(scratch, b"GGUF\x03\0\0\0" + content))


@pytest.mark.parametrize("path", FUZZED, ids=[path.stem for path in FUZZED])
def test_files_found_by_fuzzing(path: Path) -> None:
    started = time.perf_counter()

    fault(path)

    assert time.perf_counter() - started < 1


@pytest.mark.skipif(not CORPUS, reason="GPTCLI_TEST_GGUF_CORPUS names no folder")
def test_every_file_of_the_corpus() -> None:
    paths = sorted(Path(str(CORPUS)).rglob("*.gguf"))
    assert paths
    for path in paths:
        started = time.perf_counter()
        raises_nothing_else(path)
        assert time.perf_counter() - started < 4, path  # four entries


# ------------------------------------------------------------------------ the tiny model is a real one

RUN = """
import json, sys
from llama_cpp import Llama

texts = json.load(sys.stdin)
model = Llama(sys.argv[1], n_ctx=128, n_threads=1, verbose=False)
back = [model.detokenize(model.tokenize(text.encode())).decode() for text in texts]
special = model.tokenize(b"<|im_start|>hi<|im_end|>", add_bos=False, special=True)
answers = [model.create_completion("the good", max_tokens=8, temperature=0) for _ in range(2)]
print(json.dumps([back, special, answers]))
"""


def test_llama_cpp_runs_the_tiny_model(model: Path) -> None:
    make_tiny_model(model, chat_template=CHATML, sampling={"temp": 0.5, "top_k": 20})
    letters = random.Random(0)
    texts = ["the good one,  twice\n\tbad", "naïve 日本語 👩‍👩‍👧 \0", "<s> </s> <0x41>"]
    texts += ["".join(map(chr, letters.choices(range(1, 0x2000), k=40))) for _ in range(20)]

    run = (sys.executable, "-c", RUN, str(model))
    done = subprocess.run(
        run, input=json.dumps(texts), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    back, special, answers = json.loads(done.stdout)
    assert back == texts
    assert (special[0], special[-1]) == (3, 4)
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [8, 8]
    assert answers[0]["choices"][0]["text"] == answers[1]["choices"][0]["text"]


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("1", "2", "3"))

    make_tiny_model(one, seed=1)
    make_tiny_model(same, seed=1)
    make_tiny_model(other, seed=2)

    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
