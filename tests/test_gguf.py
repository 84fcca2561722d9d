"""gptcli/models/gguf.py: headers are read whole and fast, and each bad file is told from the others."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptcli.errors import ExitStatus, GptcliError, ModelError, ModelFileError, ModelNotFoundError
from gptcli.models.gguf import ArrayInfo, GgufHeader, TensorInfo, diagnose, quick_check, read_header
from tests.tiny_gguf import (
    CHATML,
    REQUIRED,
    TENSORS,
    Meta,
    Tensor,
    Typed,
    gguf_bytes,
    make_gzip,
    make_html,
    make_huge_block_count,
    make_legacy_ggml,
    make_lfs_pointer,
    make_pytorch,
    make_safetensors,
    make_split,
    make_tiny_model,
    make_truncated,
    make_vocab_only,
    make_zip,
)

FUZZED = sorted((Path(__file__).parent / "data" / "gguf").glob("*.bin"))
CORPUS = os.environ.get("GPTCLI_TEST_GGUF_CORPUS")
DAMAGED = "its header is damaged"
AGAIN = "download it again: gptcli models pull NAME"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test writes its model."""
    return tmp_path / "model.gguf"


def fault(path: Path, check: Callable[[Path], object] = diagnose) -> ModelFileError:
    """Return the error that the file raises, checked to be fit for one line on a terminal."""
    with pytest.raises(ModelFileError) as caught:
        check(path)
    error = caught.value
    assert error.exit_status == ExitStatus.MODEL
    assert error.hint
    for text in (error.message, error.hint):
        assert text.isprintable()
        assert not text.endswith(".")
        assert len(text) < 300
    return error


def fact(path: Path) -> str:
    """Return what the error says of the file "model.gguf"."""
    message = fault(path).message
    assert message.startswith('"model.gguf" ')
    return message.removeprefix('"model.gguf" ')


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def header_of(path: Path, metadata: dict[str, Meta]) -> GgufHeader:
    return read_header(written(path, gguf_bytes(metadata)))


# ------------------------------------------------------------------------------- what a header says


@pytest.mark.parametrize("check", [diagnose, quick_check])
def test_nothing_is_wrong_with_a_model(model: Path, check: Callable[[Path], None]) -> None:
    check(make_tiny_model(model))


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


def test_large_vocabulary_is_walked_fast(model: Path) -> None:
    metadata = REQUIRED | {"tokenizer.ggml.tokens": [f"token {at}" for at in range(262_144)]}
    written(model, gguf_bytes(metadata))

    started = time.perf_counter()
    diagnose(model)
    diagnosed = time.perf_counter()
    quick_check(model)

    assert diagnosed - started < 0.5  # about 0.01 s
    assert time.perf_counter() - diagnosed < 0.1  # about 0.0001 s


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


# ------------------------------------------------------------------------------ files that are no model


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.gguf", tmp_path / "no" / "gone.gguf", tmp_path / "with\0nul.gguf"):
        with pytest.raises(ModelNotFoundError, match="there is no file ") as caught:
            diagnose(path)
        assert caught.value.message.isprintable()
        assert caught.value.hint == "gptcli models list"


def test_link_to_a_file_that_is_gone(model: Path) -> None:
    model.symlink_to(model.with_name("blob"))

    with pytest.raises(ModelNotFoundError, match=r'"model\.gguf" is a link to a file that is gone'):
        diagnose(model)


def test_directory_names_a_model_in_it(tmp_path: Path) -> None:
    assert fault(tmp_path).hint == "name a .gguf file"
    make_html(tmp_path / "b.gguf")
    make_html(tmp_path / "a.gguf")

    error = fault(tmp_path)

    assert error.message == f'"{tmp_path.name}" is a directory, not a model file'
    assert error.hint == f"name a file in it: {tmp_path / 'a.gguf'}"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipe_and_device_do_not_block(model: Path) -> None:
    os.mkfifo(model)

    assert fact(model) == "is a pipe or a device, not a file"
    assert fault(Path(os.devnull)).message == '"null" is a pipe or a device, not a file'


def test_file_without_permission() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = written(Path(directory) / "model.gguf", b"GGUF")
        path.chmod(0)

        with unprivileged():
            error = fault(path)

    assert error.message == '"model.gguf" cannot be read: permission denied'
    assert error.hint == f"chmod u+r {path}"


@contextmanager
def unprivileged() -> Iterator[None]:
    """Let permissions count: they do not for the superuser, who runs the tests in a container."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


NOT_GGUF = {
    "web page": (make_html, "looks like a web page: a login or error page saved as the model", AGAIN),
    "LFS pointer": (
        make_lfs_pointer,
        "is a Git LFS pointer, not the model; the real file has 253,113,024 bytes",
        "git lfs pull",
    ),
    "safetensors": (make_safetensors, "is a safetensors file, not a GGUF file", "convert_hf_to_gguf.py"),
    "PyTorch": (make_pytorch, "is a PyTorch file, not a GGUF file", "convert_hf_to_gguf.py"),
    "zip": (make_zip, "is a zip archive", "unpack it: unzip {}"),
    "gzip": (make_gzip, "is gzip-compressed", "unpack it: gunzip {}"),
    "GGML": (
        make_legacy_ggml,
        "is in the old GGML format, which llama.cpp no longer reads",
        "models pull",
    ),
}


@pytest.mark.parametrize("check", [diagnose, quick_check, read_header])
@pytest.mark.parametrize(("make", "expected", "hint"), NOT_GGUF.values(), ids=NOT_GGUF)
def test_other_formats_are_named(
    model: Path, make: Callable[[Path], Path], expected: str, hint: str, check: Callable[[Path], object]
) -> None:
    error = fault(make(model), check)

    assert error.message == f'"model.gguf" {expected}'
    assert hint.format(model) in str(error.hint)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (
            b"\xef\xbb\xbf  <html lang=en>",
            "looks like a web page: a login or error page saved as the model",
        ),
        (
            b'<?xml version="1.0"?><Error/>',
            "looks like a web page: a login or error page saved as the model",
        ),
        (b"Entry not found\n", 'is a text file, not a model: "Entry not found"'),
        (b'{"error":"no access"}', """is a text file, not a model: "{"error":"no access"}\""""),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer, not the model"),
        (b"\x80\x02\x8a\nl\xfc", "is a PyTorch file (a pickle), not a GGUF file"),
        (b"fmgg\x01\0\0\0", "is in the old GGML format, which llama.cpp no longer reads"),
        (b"\x28\xb5\x2f\xfd\0", "is zstd-compressed"),
        (b"MZqFpD='\n\0", "is a llamafile, a program with a model inside"),
        (bytes(257) + b"ustar\x0000", "is a tar archive"),
        (bytes(64), "is not a GGUF file"),
        (b"\xff\xfe text", "is not a GGUF file"),
    ],
)
def test_content_without_the_magic_number(model: Path, content: bytes, expected: str) -> None:
    assert fact(written(model, content)) == expected


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
        f'has an alignment of "24", not a power of 2: {DAMAGED}',
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


# ------------------------------------------------------------- headers that no model could follow from


def without(key: str) -> dict[str, Meta]:
    return {name: value for name, value in REQUIRED.items() if name != key}


def with_tensor(*tensors: Tensor) -> bytes:
    return gguf_bytes(tensors=[*TENSORS, *tensors])


UNUSABLE = {
    "no tensors": (gguf_bytes({"general.architecture": "llama"}, ()), "holds no tensors"),
    "no architecture": (
        gguf_bytes(without("general.architecture")),
        'does not say what it is: it has no "general.architecture"',
    ),
    "no context length": (
        gguf_bytes(without("llama.context_length")),
        'has no number "llama.context_length"',
    ),
    "layers in words": (
        gguf_bytes(REQUIRED | {"llama.block_count": "two"}),
        'has no number "llama.block_count"',
    ),
    "no tokenizer": (
        gguf_bytes(without("tokenizer.ggml.model")),
        'has no tokenizer: no "tokenizer.ggml.model"',
    ),
    "no tokens": (
        gguf_bytes(without("tokenizer.ggml.tokens")),
        'has no tokenizer: no list of texts "tokenizer.ggml.tokens"',
    ),
    "tokens are numbers": (
        gguf_bytes(REQUIRED | {"tokenizer.ggml.tokens": Typed("uint32", [1] * 1000)}),
        'has no tokenizer: no list of texts "tokenizer.ggml.tokens"',
    ),
    "adapter": (
        gguf_bytes(REQUIRED | {"general.type": "adapter"}),
        "is a LoRA adapter, not a language model",
    ),
    "projector": (
        gguf_bytes({"general.architecture": "clip"}),
        "is a projector for images or sound, not a language model",
    ),
    "tensor twice": (
        with_tensor(Tensor("token_embd.weight")),
        f'has the tensor "token_embd.weight" twice: {DAMAGED}',
    ),
    "unknown tensor type": (
        with_tensor(Tensor("blk.0.new.weight", type_id=99)),
        'has the tensor "blk.0.new.weight" of an unknown type 99',
    ),
    "removed tensor type": (
        with_tensor(Tensor("blk.0.old.weight", type_id=31)),
        'has the tensor "blk.0.old.weight" of an unknown type 31',
    ),
    "zero dimension": (
        with_tensor(Tensor("blk.0.a", (32, 0))),
        f'has the tensor "blk.0.a" without elements, of shape 32 x 0: {DAMAGED}',
    ),
    "too many elements": (
        gguf_bytes(tensors=[Tensor("a", (1 << 32, 1 << 32))], data=b""),
        f'has the tensor "a" of an impossible size: {DAMAGED}',
    ),
    "block size": (
        with_tensor(Tensor("a", (31,), type_id=8)),
        f'has the tensor "a" in rows that are not a multiple of 32: {DAMAGED}',
    ),
    "offset": (
        with_tensor(Tensor("a", offset=0)),
        f'has the tensor "a" at byte 0 of the data, not 4,480: {DAMAGED}',
    ),
    "long name": (
        with_tensor(Tensor("a" * 64)),
        f'has the tensor "{"a" * 64}" with a name of more than 63 bytes: {DAMAGED}',
    ),
    "no layers": (
        gguf_bytes(REQUIRED | {"llama.block_count": 0}),
        "claims 0 layers, and llama.cpp takes 1 to 512",
    ),
    "fewer layers": (
        gguf_bytes(REQUIRED | {"llama.block_count": 2}),
        "claims 2 layers (block_count) but holds 1",
    ),
    "more layers": (
        with_tensor(Tensor("blk.1.attn_q.weight")),
        "claims 1 layers (block_count) but holds 2",
    ),
    "more layers than llama.cpp takes": (
        gguf_bytes(REQUIRED | {"llama.block_count": 513}, [Tensor(f"blk.{at}.a") for at in range(513)]),
        "claims 513 layers, and llama.cpp takes 1 to 512",
    ),
    "data cut off": (WHOLE[:-1], f"is cut off: expected {len(WHOLE):,} bytes, has {len(WHOLE) - 1:,}"),
}


@pytest.mark.parametrize(("content", "expected"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_model(model: Path, content: bytes, expected: str) -> None:
    assert fact(written(model, content)) == expected


def test_vocabulary_without_weights(model: Path) -> None:
    assert fact(make_vocab_only(model)) == "holds a vocabulary but no weights"
    assert fault(model, quick_check).message == fault(model).message


def test_layers_that_would_end_the_process_are_found_at_once(model: Path) -> None:
    make_huge_block_count(model)

    assert model.stat().st_size < 4096
    assert fact(model) == "claims 100,000 layers (block_count) but holds 0"
    quick = fault(model, quick_check).message
    assert quick == '"model.gguf" claims 100,000 layers (block_count) but holds 1 tensors in all'


def test_broken_download_says_how_much_is_missing(model: Path) -> None:
    whole = make_tiny_model(model).stat().st_size

    error = fault(make_truncated(model))

    assert error.message == f'"model.gguf" is cut off: expected {whole:,} bytes, has {whole // 2:,}'
    assert error.details == {"expected_bytes": whole, "actual_bytes": whole // 2}
    assert error.hint == AGAIN


def test_other_byte_order_is_refused(model: Path) -> None:
    written(model, gguf_bytes(order=">" if sys.byteorder == "little" else "<"))

    error = fault(model)

    assert "-endian GGUF, and this machine is " in error.message
    assert str(error.hint).startswith("gguf-convert-endian ")


@pytest.mark.parametrize(
    "content",
    [
        gguf_bytes(without("tokenizer.ggml.tokens") | {"tokenizer.ggml.model": "none"}),
        gguf_bytes(REQUIRED | {"llama.block_count": 2, "llama.nextn_predict_layers": 1}),
        gguf_bytes(
            REQUIRED | {"llama.block_count": 2, "llama.attention.head_count": Typed("uint32", [4, 0])}
        ),
        gguf_bytes(tensors=[Tensor("enc.blk.0.a"), Tensor("dec.blk.0.a"), Tensor("dec.blk.1.a")]),
        gguf_bytes(tensors=[*TENSORS, Tensor("a", (256, 2), type_id=12)]),
        gguf_bytes(
            REQUIRED | {"general.alignment": 4},
            [Tensor("blk.0.a", (1,)), Tensor("b", (3,), offset=4)],
            alignment=4,
        ),
        gguf_bytes(tensors=[Tensor("blk.0.a", (1,), offset=0)], data=bytes(4)),
        gguf_bytes(tensors=[Tensor("blk.0.a", ())]),
    ],
    ids=["no vocab", "next tokens", "empty layer", "T5", "Q4_K", "alignment", "no padding", "scalar"],
)
def test_unusual_models_that_llama_cpp_may_load_are_not_refused(model: Path, content: bytes) -> None:
    written(model, content)

    diagnose(model)
    quick_check(model)


# -------------------------------------------------------------------------------------- split models


def test_split_model_is_whole(tmp_path: Path) -> None:
    first, _ = make_split(tmp_path)

    diagnose(first)
    quick_check(first)


def test_split_model_without_a_part(tmp_path: Path) -> None:
    first, second = make_split(tmp_path)
    second.unlink()

    error = fault(first)

    name = '"split-00001-of-00002.gguf"'
    assert error.message == f"{name} is part 1 of 2 of a split model, and part 2 is not beside it"
    assert error.hint == 'download "split-00002-of-00002.gguf" into the same directory'


def test_split_model_named_by_a_later_part(tmp_path: Path) -> None:
    first, second = make_split(tmp_path)

    error = fault(second)

    assert error.message == '"split-00002-of-00002.gguf" is part 2 of 2 of a split model'
    assert error.hint == f"name its first part: {first}"


def test_split_model_under_another_name(tmp_path: Path) -> None:
    first, _ = make_split(tmp_path)

    error = fault(first.rename(tmp_path / "model.gguf"))

    assert error.message.endswith("is part 1 of 2 of a split model, but its name does not end so")
    assert error.hint == "rename it to end in -00001-of-00002.gguf"


def test_split_model_with_a_cut_part(tmp_path: Path) -> None:
    first, second = make_split(tmp_path)
    size = second.stat().st_size
    written(second, second.read_bytes()[:-100])

    found = fault(first).message

    assert (
        found == f'"split-00002-of-00002.gguf" is cut off: expected {size:,} bytes, has {size - 100:,}'
    )


def test_same_tensor_in_two_parts(tmp_path: Path) -> None:
    first, second = make_split(tmp_path)
    written(second, second.read_bytes().replace(b"blk.1.ffn_norm.", b"blk.0.ffn_norm."))

    found = fault(first).message

    assert found == f'"{second.name}" has the tensor "blk.0.ffn_norm.weight" twice: {DAMAGED}'


# ----------------------------------------------------------------------------------- hostile content


def test_names_from_a_file_cannot_write_to_the_terminal(model: Path) -> None:
    evil = "\x1b[2J\n\u202e" + "x" * 500
    for content in (
        gguf_bytes([(evil, 1), (evil, 1)]),
        with_tensor(Tensor(evil)),
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
    for check in (diagnose, quick_check, read_header, partial(read_header, skip_arrays=False)):
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


def test_llama_cpp_is_ended_by_what_the_checks_find(model: Path) -> None:
    make_huge_block_count(model)
    code = "import sys; from llama_cpp import Llama; Llama(sys.argv[1], verbose=False)"

    run = (sys.executable, "-c", code, str(model))
    env = os.environ | {"GGML_NO_BACKTRACE": "1"}  # or it starts a debugger, where there is one
    done = subprocess.run(run, capture_output=True, env=env, cwd=model.parent, timeout=60, check=False)

    assert done.returncode < 0  # a signal: if this fails, llama.cpp has become kinder
