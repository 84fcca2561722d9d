"""GGUF headers: read one fast, from a file that may hold anything.

Nothing is allocated by a count that the file names before that count is checked against the file's size.
Layout of the format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, TypeGuard

from gptcli.models.faults import (
    DOWNLOAD_AGAIN,
    OTHER_FILE,
    UPGRADE,
    cut_header,
    damaged_header,
    file_error,
    quoted,
    unreadable,
)
from gptcli.models.files import not_gguf, open_file
from gptcli.models.tensors import TensorInfo, padded

Scalar = str | int | float | bool
ByteOrder = Literal["little", "big"]

REMOTE_STEP = 1 << 20  # bytes of a header that are read over the network at once
MAX_ALIGNMENT = 1 << 20
MAX_LAYERS = 512  # LLAMA_MAX_LAYERS: llama.cpp ends the process above it


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """What an array was that was not read: the GGUF name of its elements' type, and their number."""

    element_type: str
    length: int


Value = Scalar | tuple[Scalar, ...] | ArrayInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Everything a GGUF file says before its weights; the properties are None where it says nothing.

    `tensors` is empty and `data_offset` None if they were not asked for; `data_offset` counts from the
    file's start.
    """

    file_size_bytes: int
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
        return self.number("general.file_type")

    @property
    def chat_template(self) -> str | None:
        """Jinja source; None for a base model."""
        return self._text("tokenizer.chat_template")

    @property
    def block_count(self) -> int | None:
        """Layers, as the header claims."""
        return self.model_number("block_count")

    @property
    def layers(self) -> int:
        """Layers, as many of those claimed as llama.cpp takes: a claim is no reason to make a list."""
        return min(self.block_count or 0, MAX_LAYERS)

    @property
    def context_length(self) -> int | None:
        """Tokens the model was trained with."""
        return self.model_number("context_length")

    @property
    def embedding_length(self) -> int | None:
        return self.model_number("embedding_length")

    @property
    def head_count_kv(self) -> int | tuple[int, ...] | None:
        """Key/value heads of every layer, or of each layer."""
        return self.per_layer("attention.head_count_kv")

    @property
    def key_length(self) -> int | None:
        """Elements of one head's key; None: embedding_length / head_count."""
        return self.model_number("attention.key_length")

    @property
    def value_length(self) -> int | None:
        """Elements of one head's value; None: embedding_length / head_count."""
        return self.model_number("attention.value_length")

    @property
    def sliding_window(self) -> int | None:
        """Tokens that the windowed layers see."""
        return self.model_number("attention.sliding_window")

    @property
    def parameter_count(self) -> int:
        """The elements of all tensors that were read."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors)

    def kv_widths(self) -> list[int] | None:
        """Return, for each layer with a KV cache, the elements of one token's key and value.

        0 for a layer without attention, such as a recurrent one; None where the header does not say.
        """
        heads = self.per_layer("attention.head_count")
        kv_heads = self.head_count_kv if self.head_count_kv is not None else heads
        most_heads = max(heads, default=0) if isinstance(heads, tuple) else heads or 0
        by_default = (self.embedding_length or 0) // most_heads if most_heads else 0
        key, value = self.key_length or by_default, self.value_length or by_default
        if kv_heads is None or self.block_count is None or not (key and value):
            return None
        counts = list(kv_heads) if isinstance(kv_heads, tuple) else [kv_heads] * self.layers
        interval = self.model_number("full_attention_interval")
        if interval:  # the layers between have a recurrent state
            counts = [count if (n + 1) % interval == 0 else 0 for n, count in enumerate(counts)]
        shared = self.model_number("attention.shared_kv_layers") or 0  # they read the cache of others
        return [count * (key + value) for count in counts[: max(0, len(counts) - shared)]]

    def kv_bytes_per_token(self, cache_type_bytes: float = 2) -> int | None:
        """Return the bytes that one token takes in the KV cache, over all layers; None if not known.

        `cache_type_bytes` is the size of one cached element (2: F16). An upper bound: layers with a
        sliding window keep no more than the window.
        """
        widths = self.kv_widths()
        return None if widths is None else math.ceil(sum(widths) * cache_type_bytes)

    def number(self, key: str) -> int | None:
        """Return the number under the key; None if the file has none, or a negative one."""
        value = self.metadata.get(key)
        return value if _is_count(value) else None

    def model_number(self, key: str) -> int | None:
        """Return the number under "<architecture>.<key>", such as "llama.block_count"."""
        return self.number(f"{self.architecture}.{key}")

    def per_layer(self, key: str) -> int | tuple[int, ...] | None:
        """Return what `model_number` does, or one number for each layer where the file has that."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, tuple):
            return tuple(each for each in value if _is_count(each))
        return self.model_number(key)

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None


def _is_count(value: Value | None) -> TypeGuard[int]:
    """Every number that the header's properties give is one: llama.cpp reads them unsigned."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def read_header(path: Path, *, skip_arrays: bool = True, tensors: bool = True) -> GgufHeader:
    """Return what the file says before its weights. A vocabulary of 262,144 tokens takes about 20 ms.

    `skip_arrays`: an array longer than any model has layers becomes an `ArrayInfo`. Both byte orders and
    versions 2 and 3 are read. Raises ModelNotFoundError, or ModelFileError where the header cannot be
    read through; `diagnosis.diagnose` finds more.
    """
    with open_file(path) as file:
        for window_bytes in _WINDOWS:
            cursor = _cursor(path, file, window_bytes)
            with suppress(_WindowEndError):
                metadata = dict(_pairs(cursor, skip_arrays=skip_arrays))
                found = tuple(cursor.tensor() for _ in range(cursor.tensor_count)) if tensors else None
                return _header(cursor, metadata, found)
    raise damaged_header(path, f"has a header of more than {_WINDOWS[-1]:,} bytes")


def read_remote_header(
    read: Callable[[int, int], bytes], size: int, name: str, *, tensors: bool = False
) -> GgufHeader:
    """Return what a file says before its weights that is not here, but can be read in ranges.

    `read` returns the bytes from a start to an end (not included). The first MiB holds what the model
    is: architecture, layers, heads, context; without `tensors` the metadata is what comes before its
    end, most often in the vocabulary. With `tensors` the rest follows, a MiB at a time. Raises
    ModelFileError, and what `read` raises.
    """
    path, window = Path(name), b""
    while True:
        end = min(size, len(window) + REMOTE_STEP)
        more = read(len(window), end)
        if not more:
            raise cut_header(path, len(window))
        window += more
        cursor = _Cursor(path, window, size)
        metadata: dict[str, Value] = {}
        try:
            for key, value in _pairs(cursor, skip_arrays=True):
                metadata[key] = value  # noqa: PERF403 (what came before the window's end is wanted)
            if not tensors:
                return _header(cursor, metadata)
            return _header(cursor, metadata, tuple(cursor.tensor() for _ in range(cursor.tensor_count)))
        except _WindowEndError:
            if not tensors:
                return _header(cursor, metadata)
        if len(window) >= _WINDOWS[-1]:
            raise damaged_header(path, f"has a header of more than {_WINDOWS[-1]:,} bytes")


# A header is read in the first of these sizes that holds it all, rather than mapped: a file that shrinks
# under a mapping ends the process. The last size also bounds the time that a hostile header can take.
_WINDOWS = (1 << 16, 1 << 24, 1 << 26)
_MAX_KEYS = 1 << 12
_MAX_TENSORS = 1 << 17
_MAX_STRING_BYTES = 1 << 26
_MAX_ARRAY = 1 << 24
_MAX_DIMENSIONS = 4

_MIN_KEY_BYTES = 8 + 1 + 4 + 1  # length, one letter, type, one byte
_MIN_TENSOR_BYTES = 8 + 4 + 4 + 8  # length of the name, dimensions, type, offset

_STRING, _ARRAY = 8, 9
_NUMBERS = {  # GGUF type: its name, the struct module's letter
    0: ("uint8", "B"), 1: ("int8", "b"), 2: ("uint16", "H"), 3: ("int16", "h"), 4: ("uint32", "I"),
    5: ("int32", "i"), 6: ("float32", "f"), 7: ("bool", "?"), 10: ("uint64", "Q"), 11: ("int64", "q"),
    12: ("float64", "d"),
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
            raise not_gguf(path, window, size)
        self.byte_order: ByteOrder = "little"
        self._u64 = struct.Struct("<Q")
        self.version = self.number("I")
        if self.version and not self.version & 0xFFFF:  # small numbers look so in the other byte order
            self.byte_order = "big"
            self._u64 = struct.Struct(">Q")
            self.version = int.from_bytes(self.version.to_bytes(4, "little"), "big")
        if self.version == 1:
            raise file_error(path, "is GGUF version 1, which llama.cpp no longer reads", OTHER_FILE)
        if self.version not in (2, 3):
            hint = UPGRADE if 3 < self.version < 100 else DOWNLOAD_AGAIN
            raise file_error(path, f"is GGUF version {self.version}, and only 2 and 3 are known", hint)
        self.tensor_count, self.key_count = self.length(), self.length()
        self._check_counts()

    def _check_counts(self) -> None:
        least = self.key_count * _MIN_KEY_BYTES + self.tensor_count * _MIN_TENSOR_BYTES
        if least > self.size - self.position:
            counts = f"{self.key_count:,} metadata keys and {self.tensor_count:,} tensors"
            fact = (
                f"claims {counts}, more than its {self.size:,} bytes can hold: it is cut off or damaged"
            )
            raise file_error(self.path, fact, DOWNLOAD_AGAIN)
        if self.key_count > _MAX_KEYS:
            raise damaged_header(self.path, f"claims {self.key_count:,} metadata keys")
        if self.tensor_count > _MAX_TENSORS:
            raise damaged_header(self.path, f"claims {self.tensor_count:,} tensors")

    def need(self, count: int) -> None:
        """Raise unless `count` more bytes are in the file and in the window."""
        if count > self.size - self.position:
            raise cut_header(self.path, self.size)
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
            raise damaged_header(self.path, f"claims a text of {count:,} bytes")
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
        raise damaged_header(self.path, f"has an unknown type {kind} for {quoted(key)}")

    def array(self, key: str, skip_arrays: bool) -> Value:
        kind, count = self.number("I"), self.length()
        if count > _MAX_ARRAY:
            raise damaged_header(self.path, f"claims {count:,} elements in {quoted(key)}")
        skip = skip_arrays and count > MAX_LAYERS  # one value a layer is worth keeping
        if kind == _STRING:
            self.need(8 * count)
            if not skip:
                return tuple(self.string() for _ in range(count))
            self.skip_strings(count)
            return ArrayInfo("string", count)
        if kind not in _NUMBERS:
            raise damaged_header(self.path, f"has an array of an unknown type {kind} for {quoted(key)}")
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
            raise damaged_header(
                self.path, f"claims {dimensions:,} dimensions for the tensor {quoted(name)}"
            )
        shape = tuple(self.length() for _ in range(dimensions))
        return TensorInfo(name=name, shape=shape, type_id=self.number("I"), offset=self.length())


def _pairs(cursor: _Cursor, *, skip_arrays: bool) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    for _ in range(cursor.key_count):
        key = cursor.string()
        if not key:
            raise damaged_header(cursor.path, "has a metadata key without a name")
        if key in seen:
            raise damaged_header(cursor.path, f"has the metadata key {quoted(key)} twice")
        seen.add(key)
        yield key, cursor.value(key, skip_arrays)


def _header(
    cursor: _Cursor, metadata: Mapping[str, Value], tensors: tuple[TensorInfo, ...] | None = None
) -> GgufHeader:
    alignment = metadata.get("general.alignment", 32)
    if not _is_count(alignment) or not 1 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise damaged_header(
            cursor.path, f"has an alignment of {quoted(str(alignment))}, not a power of 2 up to 1 MiB"
        )
    return GgufHeader(
        file_size_bytes=cursor.size,
        version=cursor.version,
        byte_order=cursor.byte_order,
        tensor_count=cursor.tensor_count,
        metadata=metadata,
        tensors=tensors or (),
        alignment=alignment,
        data_offset=None if tensors is None else padded(cursor.position, alignment),
    )


def _cursor(path: Path, file: BinaryIO, window_bytes: int) -> _Cursor:
    try:
        file.seek(0)
        window = file.read(window_bytes)
    except OSError as error:
        raise unreadable(path, error) from error
    # A short read saw the file's end, wherever that was a moment ago.
    size = os.fstat(file.fileno()).st_size if len(window) == window_bytes else len(window)
    return _Cursor(path, window, size)
