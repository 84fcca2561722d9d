"""gptcli/models/diagnosis.py: each bad file is told from the others, in one line and with a hint."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gptcli.errors import ModelNotFoundError
from gptcli.models.diagnosis import diagnose
from gptcli.models.gguf import read_header
from tests.faults import DAMAGED, fact, fault, written
from tests.tiny_gguf import (
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

WHOLE = gguf_bytes()
AGAIN = "download it again"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Where a test writes its model."""
    return tmp_path / "model.gguf"


def test_nothing_is_wrong_with_a_model(model: Path) -> None:
    diagnose(make_tiny_model(model))


def test_large_vocabulary_is_walked_fast(model: Path) -> None:
    metadata = REQUIRED | {"tokenizer.ggml.tokens": [f"token {at}" for at in range(262_144)]}
    written(model, gguf_bytes(metadata))

    started = time.perf_counter()
    diagnose(model)

    assert time.perf_counter() - started < 0.5  # about 0.01 s


# ------------------------------------------------------------------------------ files that are no model


def test_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.gguf", tmp_path / "no" / "gone.gguf", tmp_path / "with\0nul.gguf"):
        with pytest.raises(ModelNotFoundError, match="there is no file ") as caught:
            diagnose(path)
        assert caught.value.message.isprintable()
        assert caught.value.hint == "check the path, or: gptcli generate -m starter …"


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
        "use another file: gptcli generate -m ",
    ),
}


@pytest.mark.parametrize("check", [diagnose, read_header])
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
    "negative epsilon": (
        gguf_bytes(REQUIRED | {"llama.attention.layer_norm_rms_epsilon": -1e-5}),
        f'has -1e-05 for "llama.attention.layer_norm_rms_epsilon": {DAMAGED}',
    ),
    "epsilon is no number": (
        gguf_bytes(REQUIRED | {"llama.attention.layer_norm_epsilon": math.nan}),
        f'has nan for "llama.attention.layer_norm_epsilon": {DAMAGED}',
    ),
    "data cut off": (WHOLE[:-1], f"is cut off: expected {len(WHOLE):,} bytes, has {len(WHOLE) - 1:,}"),
}


@pytest.mark.parametrize(("content", "expected"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_model(model: Path, content: bytes, expected: str) -> None:
    assert fact(written(model, content)) == expected


def test_vocabulary_without_weights(model: Path) -> None:
    assert fact(make_vocab_only(model)) == "holds a vocabulary but no weights"


def test_layers_that_would_end_the_process_are_found_at_once(model: Path) -> None:
    make_huge_block_count(model)

    assert model.stat().st_size < 4096
    assert fact(model) == "claims 100,000 layers (block_count) but holds 0"


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


# -------------------------------------------------------------------------------------- split models


def test_split_model_is_whole(tmp_path: Path) -> None:
    first, _ = make_split(tmp_path)

    diagnose(first)


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


def test_llama_cpp_is_ended_by_what_the_checks_find(model: Path) -> None:
    make_huge_block_count(model)
    code = "import sys; from llama_cpp import Llama; Llama(sys.argv[1], verbose=False)"

    run = (sys.executable, "-c", code, str(model))
    env = os.environ | {"GGML_NO_BACKTRACE": "1"}  # or it starts a debugger, where there is one
    done = subprocess.run(run, capture_output=True, env=env, cwd=model.parent, timeout=60, check=False)

    assert done.returncode < 0  # a signal: if this fails, llama.cpp has become kinder
