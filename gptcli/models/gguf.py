"""GGUF headers: read one fast, and say in one line why a file is not a model that llama.cpp will load.

llama.cpp explains a bad file only in its log, and ends the process for some of them: look here first.
Nothing is allocated by a count that the file names before that count is checked against the file's size.
Layout of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import os
import re
import shlex
import stat
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal, TypeGuard

from gptcli.errors import ModelFileError, ModelNotFoundError

Scalar = str | int | float | bool
ByteOrder = Literal["little", "big"]


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What an array was that was not read: the GGUF name of its elements' type, and their number."""

    element_type: str
    length: int


Value = Scalar | tuple[Scalar, ...] | ArrayInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A tensor and its place: `shape` from the fastest dimension on, `offset` from the data's start."""

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int

    @property
    def type_name(self) -> str | None:
        """The ggml type's name, such as "Q4_K"; None if llama.cpp has no such type."""
        known = _TENSOR_TYPES.get(self.type_id)
        return known[0] if known else None

    @property
    def size_bytes(self) -> int | None:
        """Bytes of the tensor's data, without padding; None for an unknown type."""
        if self.type_id not in _TENSOR_TYPES:
            return None
        _, block, block_bytes = _TENSOR_TYPES[self.type_id]
        return math.prod(self.shape) // block * block_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Everything a GGUF file says before its weights; the properties are None where it says nothing.

    `tensors` is empty and `data_offset` None if they were not asked for; `data_offset` counts from the
    file's start.
    """

    version: int
    byte_order: ByteOrder
    tensor_count: int
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    alignment: int
    data_offset: int | None

    @property
    def architecture(self) -> str | None:
        return self._text("general.architecture")

    @property
    def name(self) -> str | None:
        return self._text("general.name")

    @property
    def file_type(self) -> int | None:
        """The number of llama.cpp's `llama_ftype`: the quantization that most tensors have."""
        return self._number("general.file_type")

    @property
    def chat_template(self) -> str | None:
        """Jinja source; None for a base model."""
        return self._text("tokenizer.chat_template")

    @property
    def block_count(self) -> int | None:
        """Layers."""
        return self._of_model("block_count")

    @property
    def context_length(self) -> int | None:
        """Tokens the model was trained with."""
        return self._of_model("context_length")

    @property
    def embedding_length(self) -> int | None:
        return self._of_model("embedding_length")

    @property
    def head_count_kv(self) -> int | tuple[int, ...] | None:
        """Key/value heads of every layer, or of each layer."""
        return self._per_layer("attention.head_count_kv")

    @property
    def key_length(self) -> int | None:
        """Elements of one head's key; None: embedding_length / head_count."""
        return self._of_model("attention.key_length")

    @property
    def value_length(self) -> int | None:
        """Elements of one head's value; None: embedding_length / head_count."""
        return self._of_model("attention.value_length")

    @property
    def sliding_window(self) -> int | None:
        """Tokens that the windowed layers see."""
        return self._of_model("attention.sliding_window")

    def kv_bytes_per_token(self, cache_type_bytes: float = 2) -> int | None:
        """Return the bytes that one token takes in the KV cache, over all layers; None if not known.

        `cache_type_bytes` is the size of one cached element (2: F16). An upper bound: layers with a
        sliding window keep no more than the window, recurrent layers one state for all tokens.
        """
        heads = self._per_layer("attention.head_count")
        kv_heads = self.head_count_kv if self.head_count_kv is not None else heads
        most_heads = max(heads, default=0) if isinstance(heads, tuple) else heads or 0
        by_default = (self.embedding_length or 0) // most_heads if most_heads else 0
        key, value = self.key_length or by_default, self.value_length or by_default
        if kv_heads is None or self.block_count is None or not (key and value):
            return None
        total = sum(kv_heads) if isinstance(kv_heads, tuple) else kv_heads * self.block_count
        return math.ceil(total * (key + value) * cache_type_bytes)

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if _is_count(value) else None

    def _of_model(self, key: str) -> int | None:
        return self._number(f"{self.architecture}.{key}")

    def _per_layer(self, key: str) -> int | tuple[int, ...] | None:
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            return tuple(each for each in value if _is_count(each))
        return self._of_model(key)


def _is_count(value: Value | None) -> TypeGuard[int]:
    """Every number that the header's properties give is one: llama.cpp reads them unsigned."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_header(path: Path, *, skip_arrays: bool = True, tensors: bool = True) -> GgufHeader:
    """Return what the file says before its weights. A vocabulary of 262,144 tokens takes about 20 ms.

    `skip_arrays`: an array longer than any model has layers becomes an `ArrayInfo`. Both byte orders and
    versions 2 and 3 are read. Raises ModelNotFoundError, or ModelFileError where the header cannot be
    read through; `diagnose` finds more.
    """
    return _load(path, skip_arrays=skip_arrays, tensors=tensors)[0]


def diagnose(path: Path) -> None:
    """Raise the error that says what is wrong with the model file; return if nothing is.

    Raises ModelNotFoundError, or ModelFileError. Reads headers only, of all parts of a split model.
    """
    header, size = _load(path)
    parts = [(path, header, size), *_further_parts(path, header)]
    _check_byte_order(path, header.byte_order)
    _check_purpose(path, header)
    if not any(part.tensor_count for _, part, _ in parts):
        raise _no_tensors(path, header)
    _check_required(path, header)
    _check_tokenizer(path, header)
    seen: set[str] = set()
    for part_path, part, _ in parts:
        _check_tensors(part_path, part, seen)
    _check_layers(path, header, seen)
    for part_path, part, part_size in parts:
        _check_data(part_path, part, part_size)


def quick_check(path: Path) -> None:
    """Raise what is wrong with the model file, as far as its first 64 KiB show; takes under 1 ms.

    A file that passes will not end llama.cpp's process by its number of layers; the rest of it may
    still be damaged. Raises ModelNotFoundError, or ModelFileError.
    """
    with _open(path) as file:
        cursor = _cursor(path, file, _WINDOWS[0])
    _check_byte_order(path, cursor.byte_order)
    metadata: dict[str, Value] = {}
    with suppress(_WindowEndError):  # in the vocabulary: what matters here comes before it
        metadata.update(_pairs(cursor, skip_arrays=True))
    header = _header(cursor, metadata)
    _check_purpose(path, header)
    layers = header.block_count or 0
    if not _PART_NAME.search(path.name):  # a part holds only some of the tensors, or none
        if not header.tensor_count:
            raise _no_tensors(path, header)
        if layers > header.tensor_count:
            raise _wrong_layers(path, layers, f"{header.tensor_count:,} tensors in all")
    if header.block_count is not None:
        _check_layer_limit(path, layers)


# ---------------------------------------------------------------------------------- reading the bytes

# A header is read in the first of these sizes that holds it all, rather than mapped: a file that shrinks
# under a mapping ends the process. The last size also bounds the time that a hostile header can take.
_WINDOWS = (1 << 16, 1 << 24, 1 << 26)
_MAX_KEYS = 1 << 12
_MAX_TENSORS = 1 << 17
_MAX_STRING_BYTES = 1 << 26
_MAX_ARRAY = 1 << 24
_MAX_LAYERS = 512  # LLAMA_MAX_LAYERS: llama.cpp ends the process above it
_MAX_DIMENSIONS = 4
_MAX_TENSOR_NAME_BYTES = 63

_MIN_KEY_BYTES = 8 + 1 + 4 + 1  # length, one letter, type, one byte
_MIN_TENSOR_BYTES = 8 + 4 + 4 + 8  # length of the name, dimensions, type, offset

_STRING, _ARRAY = 8, 9
_NUMBERS = {  # GGUF type: its name, the struct module's letter
    0: ("uint8", "B"), 1: ("int8", "b"), 2: ("uint16", "H"), 3: ("int16", "h"), 4: ("uint32", "I"),
    5: ("int32", "i"), 6: ("float32", "f"), 7: ("bool", "?"), 10: ("uint64", "Q"), 11: ("int64", "q"),
    12: ("float64", "d"),
}  # fmt: skip
_TENSOR_TYPES = {  # ggml_type: its name, elements in a block, bytes of a block
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8),
    28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}  # fmt: skip


class _WindowEndError(Exception):
    """The header goes on behind the bytes at hand."""


class _Cursor:
    """Walks a window that starts with the file.

    Raises _WindowEndError at the window's end, ModelFileError at the file's end or for impossible bytes.
    """

    def __init__(self, path: Path, window: bytes, size: int) -> None:
        self.path = path
        self.window = window
        self.size = size
        self.position = 4
        if not window.startswith(b"GGUF"):
            raise _not_gguf(path, window, size)
        self.byte_order: ByteOrder = "little"
        self._u64 = struct.Struct("<Q")
        self.version = self.number("I")
        if self.version and not self.version & 0xFFFF:  # small numbers look so in the other byte order
            self.byte_order = "big"
            self._u64 = struct.Struct(">Q")
            self.version = int.from_bytes(self.version.to_bytes(4, "little"), "big")
        if self.version == 1:
            raise _fail(path, "is GGUF version 1, which llama.cpp no longer reads", _PULL)
        if self.version not in (2, 3):
            hint = _UPGRADE if 3 < self.version < 100 else _AGAIN
            raise _fail(path, f"is GGUF version {self.version}, and only 2 and 3 are known", hint)
        self.tensor_count, self.key_count = self.length(), self.length()
        self._check_counts()

    def _check_counts(self) -> None:
        least = self.key_count * _MIN_KEY_BYTES + self.tensor_count * _MIN_TENSOR_BYTES
        if least > self.size - self.position:
            counts = f"{self.key_count:,} metadata keys and {self.tensor_count:,} tensors"
            fact = (
                f"claims {counts}, more than its {self.size:,} bytes can hold: it is cut off or damaged"
            )
            raise _fail(self.path, fact, _AGAIN)
        if self.key_count > _MAX_KEYS:
            raise _damaged(self.path, f"claims {self.key_count:,} metadata keys")
        if self.tensor_count > _MAX_TENSORS:
            raise _damaged(self.path, f"claims {self.tensor_count:,} tensors")

    def need(self, count: int) -> None:
        """Raise unless `count` more bytes are in the file and in the window."""
        if count > self.size - self.position:
            raise _cut_header(self.path, self.size)
        if count > len(self.window) - self.position:
            raise _WindowEndError

    def numbers(self, code: str, count: int) -> tuple[int | float | bool, ...]:
        layout = struct.Struct(f"{'<' if self.byte_order == 'little' else '>'}{count}{code}")
        self.need(layout.size)
        values: tuple[int | float | bool, ...] = layout.unpack_from(self.window, self.position)
        self.position += layout.size
        return values

    def number(self, code: Literal["I", "Q"]) -> int:
        return int(self.numbers(code, 1)[0])

    def length(self) -> int:
        self.need(8)
        value: int = self._u64.unpack_from(self.window, self.position)[0]
        self.position += 8
        return value

    def string(self) -> str:
        count = self.length()
        if count > _MAX_STRING_BYTES:
            raise _damaged(self.path, f"claims a text of {count:,} bytes")
        self.need(count)
        start, self.position = self.position, self.position + count
        return self.window[start : self.position].decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        self.need(8 * count)
        window, position, read = self.window, self.position, self._u64.unpack_from
        try:
            for _ in range(count):  # the one hot loop: a vocabulary and its merges are 500,000 strings
                position += read(window, position)[0] + 8
        except (struct.error, OverflowError):  # overflow: a length near 2^64
            position = self.size + 1 if position > self.size else len(window) + 1
        self.need(position - self.position)
        self.position = position

    def value(self, key: str, skip_arrays: bool) -> Value:
        kind = self.number("I")
        if kind == _STRING:
            return self.string()
        if kind in _NUMBERS:
            return self.numbers(_NUMBERS[kind][1], 1)[0]
        if kind == _ARRAY:
            return self.array(key, skip_arrays)
        raise _damaged(self.path, f"has an unknown type {kind} for {_shown(key)}")

    def array(self, key: str, skip_arrays: bool) -> Value:
        kind, count = self.number("I"), self.length()
        if count > _MAX_ARRAY:
            raise _damaged(self.path, f"claims {count:,} elements in {_shown(key)}")
        skip = skip_arrays and count > _MAX_LAYERS  # one value a layer is worth keeping
        if kind == _STRING:
            self.need(8 * count)
            if not skip:
                return tuple(self.string() for _ in range(count))
            self.skip_strings(count)
            return ArrayInfo("string", count)
        if kind not in _NUMBERS:
            raise _damaged(self.path, f"has an array of an unknown type {kind} for {_shown(key)}")
        name, code = _NUMBERS[kind]
        if not skip:
            return self.numbers(code, count)
        count_bytes = struct.calcsize(f"<{code}") * count
        self.need(count_bytes)
        self.position += count_bytes
        return ArrayInfo(name, count)

    def tensor(self) -> TensorInfo:
        name = self.string()
        dimensions = self.number("I")
        if dimensions > _MAX_DIMENSIONS:
            raise _damaged(self.path, f"claims {dimensions:,} dimensions for the tensor {_shown(name)}")
        shape = tuple(self.length() for _ in range(dimensions))
        return TensorInfo(name=name, shape=shape, type_id=self.number("I"), offset=self.length())


def _pairs(cursor: _Cursor, *, skip_arrays: bool) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for _ in range(cursor.key_count):
        key = cursor.string()
        if not key:
            raise _damaged(cursor.path, "has a metadata key without a name")
        if key in seen:
            raise _damaged(cursor.path, f"has the metadata key {_shown(key)} twice")
        seen.add(key)
        yield key, cursor.value(key, skip_arrays)


def _header(
    cursor: _Cursor, metadata: Mapping[str, Value], tensors: tuple[TensorInfo, ...] | None = None
) -> GgufHeader:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise _damaged(cursor.path, f"has an alignment of {_shown(str(alignment))}, not a power of 2")
    return GgufHeader(
        version=cursor.version,
        byte_order=cursor.byte_order,
        tensor_count=cursor.tensor_count,
        metadata=metadata,
        tensors=tensors or (),
        alignment=alignment,
        data_offset=None if tensors is None else _padded(cursor.position, alignment),
    )


def _load(path: Path, *, skip_arrays: bool = True, tensors: bool = True) -> tuple[GgufHeader, int]:
    """Return the header, and the file's size in bytes."""
    with _open(path) as file:
        for window_bytes in _WINDOWS:
            cursor = _cursor(path, file, window_bytes)
            with suppress(_WindowEndError):
                metadata = dict(_pairs(cursor, skip_arrays=skip_arrays))
                found = tuple(cursor.tensor() for _ in range(cursor.tensor_count)) if tensors else None
                return _header(cursor, metadata, found), cursor.size
    raise _damaged(path, f"has a header of more than {_WINDOWS[-1]:,} bytes")


def _padded(count: int, alignment: int) -> int:
    return (count + alignment - 1) // alignment * alignment


def _open(path: Path) -> BinaryIO:
    """Open a regular file, never one that could block; say what else it is otherwise."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _fail(path, "is a directory, not a model file", _file_inside(path))
        if not stat.S_ISREG(mode):
            raise _fail(path, "is a pipe or a device, not a file", "save the model to a file first")
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a NUL in the name
        raise _not_found(path) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise _fail(path, "is empty", _AGAIN)
    return file


def _cursor(path: Path, file: BinaryIO, window_bytes: int) -> _Cursor:
    try:
        file.seek(0)
        window = file.read(window_bytes)
    except OSError as error:
        raise _unreadable(path, error) from error
    # A short read saw the file's end, wherever that was a moment ago.
    size = os.fstat(file.fileno()).st_size if len(window) == window_bytes else len(window)
    return _Cursor(path, window, size)


# ----------------------------------------------------------------------------------------- the checks

_PART_NAME = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_BLOCK_NAME = re.compile(r"blk\.(\d{1,9})\.")
_OTHER_BLOCKS = ("enc.blk.", "dec.blk.", "convnext.", "posnet.")  # T5 and WavTokenizer
_NOT_MODELS = {
    "adapter": "a LoRA adapter",
    "imatrix": "an importance matrix",
    "mmproj": "a projector for images or sound",
}


def _check_byte_order(path: Path, order: ByteOrder) -> None:
    if order != sys.byteorder:
        fact = f"is a {order}-endian GGUF, and this machine is {sys.byteorder}-endian"
        raise _fail(path, fact, f"gguf-convert-endian {shlex.quote(str(path))} {sys.byteorder}")


def _further_parts(path: Path, header: GgufHeader) -> Iterator[tuple[Path, GgufHeader, int]]:
    """Yield path, header and size of the other parts of a split model; raise if one is missing."""
    count, index = header._number("split.count") or 0, header._number("split.no") or 0
    if count < 2:
        return
    fact = f"is part {index + 1} of {count} of a split model"
    ending = f"-{index + 1:05}-of-{count:05}.gguf"
    prefix = path.name.removesuffix(ending)
    if prefix == path.name:
        raise _fail(path, f"{fact}, but its name does not end so", f"rename it to end in {ending}")
    for number in range(1, count + 1):
        part = path.with_name(f"{prefix}-{number:05}-of-{count:05}.gguf")
        if not part.exists():
            hint = f"download {_shown(part.name)} into the same directory"
            raise _fail(path, f"{fact}, and part {number} is not beside it", hint)
        if number == 1 and index:
            raise _fail(path, fact, f"name its first part: {shlex.quote(str(part))}")
        if number > 1:
            yield part, *_load(part)


def _check_purpose(path: Path, header: GgufHeader) -> None:
    kind = "mmproj" if header.architecture == "clip" else str(header.metadata.get("general.type"))
    if kind in _NOT_MODELS:
        raise _fail(
            path, f"is {_NOT_MODELS[kind]}, not a language model", "name the model it belongs to"
        )


def _no_tensors(path: Path, header: GgufHeader) -> ModelFileError:
    if "tokenizer.ggml.tokens" in header.metadata or "tokenizer.ggml.model" in header.metadata:
        return _fail(path, "holds a vocabulary but no weights", _PULL)
    return _fail(path, "holds no tensors", _PULL)


def _check_required(path: Path, header: GgufHeader) -> None:
    if not header.architecture:
        raise _fail(path, 'does not say what it is: it has no "general.architecture"', _PULL)
    for key in ("block_count", "context_length", "embedding_length"):
        if header._of_model(key) is None:
            raise _fail(path, f"has no number {_shown(f'{header.architecture}.{key}')}", _PULL)


def _check_tokenizer(path: Path, header: GgufHeader) -> None:
    model = header.metadata.get("tokenizer.ggml.model")
    if not isinstance(model, str):
        raise _fail(path, 'has no tokenizer: no "tokenizer.ggml.model"', _PULL)
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, ArrayInfo):
        usable = tokens.element_type == "string"
    else:
        usable = isinstance(tokens, tuple) and bool(tokens) and isinstance(tokens[0], str)
    # An array of numbers here ends llama.cpp's process.
    if not usable and model not in ("none", "no_vocab"):
        raise _fail(path, 'has no tokenizer: no list of texts "tokenizer.ggml.tokens"', _PULL)


def _check_tensors(path: Path, header: GgufHeader, seen: set[str]) -> None:
    """Check every tensor by itself and its place behind the one before; add its name to `seen`."""
    offset = 0
    for tensor in header.tensors:
        if tensor.name in seen:
            raise _damaged(path, f"has the tensor {_shown(tensor.name)} twice")
        if tensor.type_name is None:
            fact = f"has the tensor {_shown(tensor.name)} of an unknown type {tensor.type_id}"
            raise _fail(path, fact, _UPGRADE)
        fault = _shape_fault(tensor, offset)
        if fault:
            raise _damaged(path, f"has the tensor {_shown(tensor.name)} {fault}")
        seen.add(tensor.name)
        offset = _padded(offset + (tensor.size_bytes or 0), header.alignment)


def _shape_fault(tensor: TensorInfo, offset: int) -> str | None:
    """Return what is wrong with a tensor of a known type that should lie at `offset`."""
    _, block, _ = _TENSOR_TYPES[tensor.type_id]
    if len(tensor.name.encode()) > _MAX_TENSOR_NAME_BYTES:
        return f"with a name of more than {_MAX_TENSOR_NAME_BYTES} bytes"
    if 0 in tensor.shape:
        return f"without elements, of shape {' x '.join(map(str, tensor.shape))}"
    if math.prod(tensor.shape) >= 1 << 63:
        return "of an impossible size"
    if (tensor.shape or (1,))[0] % block:
        return f"in rows that are not a multiple of {block}"
    if tensor.offset != offset:
        return f"at byte {tensor.offset:,} of the data, not {offset:,}"
    return None


def _check_layers(path: Path, header: GgufHeader, tensor_names: set[str]) -> None:
    layers = header.block_count or 0
    if layers and not any(name.startswith(_OTHER_BLOCKS) for name in tensor_names):
        found = {int(match[1]) for name in tensor_names if (match := _BLOCK_NAME.match(name))}
        # Layers that predict further tokens may be in a file of their own; a DeciLM layer may be empty.
        per_layer = isinstance(header._per_layer("attention.head_count"), tuple)
        may_lack = per_layer or bool(header._of_model("nextn_predict_layers"))
        if not found or max(found) >= layers or (len(found) < layers and not may_lack):
            raise _wrong_layers(path, layers, f"{len(found):,}")
    _check_layer_limit(path, layers)


def _check_layer_limit(path: Path, layers: int) -> None:
    if not 0 < layers <= _MAX_LAYERS:
        raise _fail(path, f"claims {layers:,} layers, and llama.cpp takes 1 to {_MAX_LAYERS}", _PULL)


def _wrong_layers(path: Path, layers: int, found: str) -> ModelFileError:
    return _fail(path, f"claims {layers:,} layers (block_count) but holds {found}", _PULL)


def _check_data(path: Path, header: GgufHeader, size: int) -> None:
    ends = (tensor.offset + (tensor.size_bytes or 0) for tensor in header.tensors)
    expected = (header.data_offset or 0) + max(ends, default=0)
    if header.tensors and expected > size:
        fact = f"is cut off: expected {expected:,} bytes, has {size:,}"
        raise _fail(path, fact, _AGAIN, expected_bytes=expected, actual_bytes=size)


# ------------------------------------------------------------------------- files that are not GGUF

_PULL = "get a model that works: gptcli models pull NAME"
_AGAIN = "download it again: gptcli models pull NAME"
_UPGRADE = "upgrade, then try again: pip install --upgrade gptcli"
_CONVERT = "convert it with llama.cpp's convert_hf_to_gguf.py, or: gptcli models pull NAME"

_WEB_PAGES = (b"<!doctype", b"<html", b"<head", b"<!--", b"<?xml")
_SIGNATURES = (  # first bytes, what the file is, hint with a place for the path
    (b"\x1f\x8b", "is gzip-compressed", "unpack it: gunzip {}"),
    (b"\x28\xb5\x2f\xfd", "is zstd-compressed", "unpack it: unzstd {}"),
    (b"\xfd7zXZ\x00", "is xz-compressed", "unpack it: unxz {}"),
    (b"BZh", "is bzip2-compressed", "unpack it: bunzip2 {}"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it: 7z x {}"),
    (b"PK\x03\x04", "is a zip archive", "unpack it: unzip {}"),
    (b"\x80\x02", "is a PyTorch file (a pickle), not a GGUF file", _CONVERT),
    (b"\x89HDF", "is an HDF5 file, not a GGUF file", _PULL),
    (b"MZqFpD", "is a llamafile, a program with a model inside", "download the .gguf file instead"),
    *(
        (magic, "is in the old GGML format, which llama.cpp no longer reads", _PULL)
        for magic in (b"lmgg", b"fmgg", b"tjgg", b"algg", b"GGML", b"GGJT")
    ),
)


def _not_gguf(path: Path, head: bytes, size: int) -> ModelFileError:
    """Return the error for a file without the magic number: what it is instead, as far as bytes tell."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:16].lower().startswith(_WEB_PAGES):
        return _fail(path, "looks like a web page: a login or error page saved as the model", _AGAIN)
    if head.startswith(b"version https://git-lfs"):
        found = re.search(rb"^size (\d{1,19})\s*$", head, re.MULTILINE)
        real = f"; the real file has {int(found[1]):,} bytes" if found else ""
        return _fail(path, f"is a Git LFS pointer, not the model{real}", "git lfs pull")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return _fail(path, "is a safetensors file, not a GGUF file", _CONVERT)
    if head.startswith(b"PK\x03\x04") and b"/data.pkl" in head[:512]:
        return _fail(path, "is a PyTorch file, not a GGUF file", _CONVERT)
    for magic, fact, hint in _SIGNATURES:
        if head.startswith(magic):
            return _fail(path, fact, hint.format(shlex.quote(str(path))))
    if head[257:262] == b"ustar":
        return _fail(path, "is a tar archive", f"unpack it: tar xf {shlex.quote(str(path))}")
    line = _first_line(text)
    if line and size <= len(head):  # a server's reply in words
        return _fail(path, f"is a text file, not a model: {_shown(line)}", _AGAIN)
    return _fail(path, "is not a GGUF file", _PULL)


def _first_line(text: bytes) -> str | None:
    """Return the text's first line; None if it is not text."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    lines = decoded.splitlines()
    is_text = lines and all(each.isprintable() or each in "\t\r\n" for each in decoded)
    return lines[0].strip() if is_text else None


def _file_inside(directory: Path) -> str:
    try:
        names = (each for each in islice(directory.iterdir(), 1000) if each.suffix == ".gguf")
        first = min(names, default=None)
    except OSError:
        first = None
    return f"name a file in it: {shlex.quote(str(first))}" if first else "name a .gguf file"


# -------------------------------------------------------------------------------------- the wording


def _fail(path: Path, fact: str, hint: str, **details: object) -> ModelFileError:
    return ModelFileError(f"{_shown(path.name or str(path))} {fact}", hint=_printable(hint), **details)


def _damaged(path: Path, fact: str) -> ModelFileError:
    return _fail(path, f"{fact}: its header is damaged", _AGAIN)


def _cut_header(path: Path, size: int) -> ModelFileError:
    return _fail(path, f"ends inside its header, after {size:,} bytes: it is cut off or damaged", _AGAIN)


def _not_found(path: Path) -> ModelNotFoundError:
    if path.is_symlink():
        return ModelNotFoundError(f"{_shown(path.name)} is a link to a file that is gone", hint=_AGAIN)
    return ModelNotFoundError(f"there is no file {_shown(str(path), 200)}", hint="gptcli models list")


def _unreadable(path: Path, error: OSError) -> ModelFileError:
    fact = f"cannot be read: {(error.strerror or 'unknown error').lower()}"
    if isinstance(error, PermissionError):
        return _fail(path, fact, f"chmod u+r {shlex.quote(str(path))}")
    return _fail(path, fact, f"ls -l {shlex.quote(str(path))}")


def _shown(text: str, limit: int = 80) -> str:
    """Return the text in quotes, on one line, without control characters: a file may hold anything."""
    return f'"{_printable(text if len(text) <= limit else text[: limit - 1] + "…")}"'


def _printable(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )
