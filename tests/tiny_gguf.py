"""Models made on the spot: tiny ones that llama.cpp loads and runs, and files that are no models.

The tiny model has random weights, so it writes nonsense, but fast, the same nonsense for each seed, and
on and on: its greedy output never has a special token.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# ------------------------------------------------------------------------------------ a whole model

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # llama_token_type
_SPECIAL = (b"<unk>", b"<s>", b"</s>", b"<|im_start|>", b"<|im_end|>")
# A word is found only if its parts are pieces too: SentencePiece merges two neighbours at a time.
_WORDS = (
    *("th", "the", "▁the", "▁a", "in", "ing", "er", "re", "on", "▁th"),
    *("good", "go", "ood", "oo", "bad", "ba", "▁good", "▁go"),
)


def vocabulary() -> tuple[list[bytes], list[float], list[int]]:
    """Return the tiny model's tokens, their scores and types: SentencePiece with all 256 bytes.

    0 is <unk>, 1 <s> (BOS), 2 </s> (EOS), 3 and 4 ChatML's markers, 5 to 260 the bytes, then the pieces.
    Any text but U+2581, SentencePiece's sign for a space, is the same after tokens and back.
    """
    in_bytes = [f"<0x{value:02X}>".encode() for value in range(256)]
    letters = ["▁", *(chr(code) for code in range(0x21, 0x7F))]
    pieces = [piece.encode() for piece in (*letters, *_WORDS)]
    types = [_UNKNOWN, *[_CONTROL] * (len(_SPECIAL) - 1), *[_BYTE] * 256, *[_NORMAL] * len(pieces)]
    scores = [0.0] * (len(_SPECIAL) + 256)
    scores += [-100.0 - at for at in range(len(letters))] + [-1.0 - at for at in range(len(_WORDS))]
    return [*_SPECIAL, *in_bytes, *pieces], scores, types


def make_tiny_model(
    path: Path,
    *,
    name: str = "tiny",
    chat_template: str | None = None,
    context_length: int = 512,
    seed: int = 0,
    layers: int = 2,
    embedding_length: int = 32,
    sampling: Mapping[str, int | float] | None = None,
    metadata: Mapping[str, str | int | float | bool] | None = None,
    tensors_per_part: int = 0,
) -> Path:
    """Write a llama model of 180 KB with random weights, and return its path.

    `sampling`: the model's own defaults, such as {"temp": 0.5, "top_k": 20}. `metadata`: further keys.
    `tensors_per_part`: split the model; then the files' names are the path's with the parts' numbers.
    """
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_per_part)
    writer.add_name(name)
    writer.add_context_length(context_length)
    writer.add_embedding_length(embedding_length)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(2 * embedding_length)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(embedding_length // 4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(0)
    _add_vocabulary(writer)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
    for key, number in (sampling or {}).items():
        _add(writer, f"general.sampling.{key}", number)
    for key, value in (metadata or {}).items():
        _add(writer, key, value)

    random = np.random.default_rng(seed)
    for tensor, shape in _tensors(len(vocabulary()[0]), layers, embedding_length).items():
        weights = np.ones(shape) if tensor.endswith("norm.weight") else random.normal(0, 0.3, shape)
        if tensor == "output.weight":
            weights[: len(_SPECIAL)] = 0
        writer.add_tensor(tensor, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def make_tiny_recurrent_model(path: Path, *, seed: int = 0) -> Path:
    """Write a Mamba model of 200 KB with random weights, and return its path: its state is one for all
    tokens before, so nothing can be cut off a sequence.
    """
    import gguf
    import numpy as np

    layers, width, inner, state, kernel, rank = 2, 32, 64, 8, 4, 4
    writer = gguf.GGUFWriter(path, "mamba")
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(0)
    writer.add_head_count(0)
    writer.add_ssm_conv_kernel(kernel)
    writer.add_ssm_inner_size(inner)
    writer.add_ssm_state_size(state)
    writer.add_ssm_time_step_rank(rank)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(0)
    _add_vocabulary(writer)

    random = np.random.default_rng(seed)
    tokens = len(vocabulary()[0])
    output = random.normal(0, 0.3, (tokens, width))
    output[: len(_SPECIAL)] = 0
    tensors = {
        "token_embd.weight": random.normal(0, 0.3, (tokens, width)),
        "output_norm.weight": np.ones(width),
        "output.weight": output,
    }
    for n in range(layers):
        tensors |= {
            f"blk.{n}.attn_norm.weight": np.ones(width),
            f"blk.{n}.ssm_in.weight": random.normal(0, 0.3, (2 * inner, width)),
            f"blk.{n}.ssm_conv1d.weight": random.normal(0, 0.3, (inner, kernel)),
            f"blk.{n}.ssm_conv1d.bias": np.zeros(inner),
            f"blk.{n}.ssm_x.weight": random.normal(0, 0.3, (rank + 2 * state, inner)),
            f"blk.{n}.ssm_dt.weight": random.normal(0, 0.3, (inner, rank)),
            f"blk.{n}.ssm_dt.bias": np.zeros(inner),
            f"blk.{n}.ssm_a": -np.ones((inner, state)),
            f"blk.{n}.ssm_d": np.ones(inner),
            f"blk.{n}.ssm_out.weight": random.normal(0, 0.3, (width, inner)),
        }
    for tensor, weights in tensors.items():
        writer.add_tensor(tensor, weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: Any) -> None:
    tokens, scores, types = vocabulary()
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)


def _add(writer: Any, key: str, value: str | int | float | bool) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_int32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_string(key, value)


def _tensors(tokens: int, layers: int, width: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes, slowest dimension first, as numpy has them."""
    block = {
        "attn_norm": (width,),
        "attn_q": (width, width),
        "attn_k": (width // 2, width),  # 2 of 4 heads
        "attn_v": (width // 2, width),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_gate": (2 * width, width),
        "ffn_up": (2 * width, width),
        "ffn_down": (width, 2 * width),
    }
    outer = {
        "token_embd.weight": (tokens, width),
        "output_norm.weight": (width,),
        "output.weight": (tokens, width),
    }
    return outer | {
        f"blk.{at}.{part}.weight": shape for at in range(layers) for part, shape in block.items()
    }


# ------------------------------------------------------------- headers as one likes, right or wrong

NumberType = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool"]
_TYPES = {
    "uint8": 0,
    "int8": 1,
    "uint16": 2,
    "int16": 3,
    "uint32": 4,
    "int32": 5,
    "float32": 6,
    "bool": 7,
}
_CODES = dict(zip(_TYPES, "BbHhIif?", strict=True))


@dataclass(frozen=True)
class Typed:
    """A metadata number, or an array of them, of another type than the default uint32 or float32."""

    type: NumberType
    value: int | float | list[int] | list[float]


@dataclass(frozen=True)
class Tensor:
    """A tensor as the header names it. `offset` None: behind the one before; 4 bytes an element."""

    name: str
    shape: tuple[int, ...] = (32,)
    type_id: int = 0
    offset: int | None = None


Meta = str | int | float | list[str] | Typed | bytes
"""A metadata value; bytes are written as they are, type and all."""

REQUIRED: dict[str, Meta] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.context_length": 64,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 4,
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>"],
}
"""What `diagnose` asks a model's metadata for."""

TENSORS = (Tensor("token_embd.weight", (32, 3)), Tensor("blk.0.attn_q.weight", (32, 32)))


def gguf_bytes(
    metadata: Mapping[str, Meta] | Iterable[tuple[str, Meta]] = REQUIRED,
    tensors: Iterable[Tensor] = TENSORS,
    *,
    version: int = 3,
    order: Literal["<", ">"] = "<",
    key_count: int | None = None,
    tensor_count: int | None = None,
    data: bytes | None = None,
    alignment: int = 32,
) -> bytes:
    """Return a GGUF file that says what the arguments say, whether that can be or not.

    `data` None: as many zeros as the tensors take.
    """
    pairs = list(metadata.items()) if isinstance(metadata, Mapping) else list(metadata)
    tensors = list(tensors)
    keys = len(pairs) if key_count is None else key_count
    count = len(tensors) if tensor_count is None else tensor_count
    out = io.BytesIO()
    out.write(b"GGUF" + struct.pack(f"{order}IQQ", version, count, keys))
    for key, value in pairs:
        out.write(_text(key, order) + _meta(value, order))
    end = 0
    for tensor in tensors:
        offset = end if tensor.offset is None else tensor.offset
        out.write(_text(tensor.name, order) + struct.pack(f"{order}I", len(tensor.shape)))
        out.write(struct.pack(f"{order}{len(tensor.shape)}Q", *tensor.shape))
        out.write(struct.pack(f"{order}IQ", tensor.type_id, offset))
        elements = 1
        for dimension in tensor.shape:
            elements *= dimension
        end += -(-4 * elements // alignment) * alignment
    out.write(b"\0" * (-out.tell() % alignment))
    out.write(b"\0" * end if data is None else data)
    return out.getvalue()


def _text(text: str, order: str) -> bytes:
    encoded = text.encode()
    return struct.pack(f"{order}Q", len(encoded)) + encoded


def _meta(value: Meta, order: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return struct.pack(f"{order}I", 8) + _text(value, order)
    if isinstance(value, Typed):
        kind, code = _TYPES[value.type], _CODES[value.type]
        if isinstance(value.value, list):
            head = struct.pack(f"{order}IIQ", 9, kind, len(value.value))
            return head + struct.pack(f"{order}{len(value.value)}{code}", *value.value)
        return struct.pack(f"{order}I{code}", kind, value.value)
    if isinstance(value, list):
        head = struct.pack(f"{order}IIQ", 9, 8, len(value))
        return head + b"".join(_text(each, order) for each in value)
    return _meta(Typed("float32" if isinstance(value, float) else "uint32", value), order)


# ------------------------------------------------------------------------------------ broken models


def make_vocab_only(path: Path) -> Path:
    """Write the tiny model's vocabulary without weights, as llama.cpp's own test vocabularies are."""
    tokens, scores, types = vocabulary()
    metadata = REQUIRED | {
        "tokenizer.ggml.tokens": [token.decode() for token in tokens],
        "tokenizer.ggml.scores": Typed("float32", scores),
        "tokenizer.ggml.token_type": Typed("int32", types),
    }
    return _write(path, gguf_bytes(metadata, ()))


def make_huge_block_count(path: Path) -> Path:
    """Write 4 KB that claim 100,000 layers: llama.cpp's loader ends its process with SIGABRT."""
    tensors = [Tensor("token_embd.weight", (32, 24))]
    return _write(path, gguf_bytes(REQUIRED | {"llama.block_count": 100_000}, tensors))


def make_truncated(path: Path, *, keep: float = 0.5) -> Path:
    """Write a tiny model that ends early, as a broken download does; `keep` is the part that is left."""
    make_tiny_model(path)
    return _write(path, path.read_bytes()[: int(path.stat().st_size * keep)])


def make_html(path: Path) -> Path:
    return _write(path, b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n")


def make_lfs_pointer(path: Path, *, size: int = 253_113_024) -> Path:
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{'0' * 64}", f"size {size}", "")
    return _write(path, "\n".join(lines).encode())


def make_safetensors(path: Path) -> Path:
    header = b'{"weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    return _write(path, struct.pack("<Q", len(header)) + header + bytes(16))


def make_pytorch(path: Path) -> Path:
    return make_zip(path, member="model/data.pkl")


def make_zip(path: Path, member: str = "model.gguf") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"\x80\x02}q\x00.")
    return path


def make_gzip(path: Path) -> Path:
    return _write(path, gzip.compress(gguf_bytes()))


def make_legacy_ggml(path: Path) -> Path:
    return _write(path, struct.pack("<II", 0x67676A74, 3) + bytes(64))  # "ggjt", version 3


def make_split(directory: Path) -> list[Path]:
    """Write a tiny model in two parts that llama.cpp loads by the first; return their paths in order."""
    make_tiny_model(directory / "split.gguf", tensors_per_part=11)
    return sorted(directory.glob("split-*-of-00002.gguf"))


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
