"""Why a file is not a model that llama.cpp will load, in one line.

llama.cpp explains a bad file only in its log, and ends the process for some of them: look here first.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from gptcli.errors import ModelFileError
from gptcli.models.faults import DOWNLOAD_AGAIN, OTHER_FILE, UPGRADE, damaged_header, file_error, quoted
from gptcli.models.gguf import MAX_LAYERS, ArrayInfo, GgufHeader, read_header
from gptcli.models.tensors import TensorInfo, padded

_MAX_TENSOR_NAME_BYTES = 63
_PART_NAME = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_BLOCK_NAME = re.compile(r"blk\.(\d{1,9})\.")
_OTHER_BLOCKS = ("enc.blk.", "dec.blk.", "convnext.", "posnet.")  # T5 and WavTokenizer
_NOT_MODELS = {
    "adapter": "a LoRA adapter",
    "imatrix": "an importance matrix",
    "mmproj": "a projector for images or sound",
}


def diagnose(path: Path) -> None:
    """Raise the error that says what is wrong with the model file; return if nothing is.

    Raises ModelNotFoundError, or ModelFileError. Reads headers only, of all parts of a split model.
    """
    header = read_header(path)
    parts = [(path, header), *_further_parts(path, header)]
    _check_byte_order(path, header)
    _check_purpose(path, header)
    if not any(part.tensor_count for _, part in parts):
        raise _no_tensors(path, header)
    _check_required(path, header)
    _check_tokenizer(path, header)
    seen: set[str] = set()
    for part_path, part in parts:
        _check_tensors(part_path, part, seen)
    _check_layers(path, header, seen)
    for part_path, part in parts:
        _check_data(part_path, part)


def _check_byte_order(path: Path, header: GgufHeader) -> None:
    if header.byte_order != sys.byteorder:
        fact = f"is a {header.byte_order}-endian GGUF, and this machine is {sys.byteorder}-endian"
        raise file_error(path, fact, f"gguf-convert-endian {shlex.quote(str(path))} {sys.byteorder}")


def _further_parts(path: Path, header: GgufHeader) -> Iterator[tuple[Path, GgufHeader]]:
    """Yield path and header of the other parts of a split model; raise if one is missing."""
    count, index = header.number("split.count") or 0, header.number("split.no") or 0
    if count < 2:
        return
    fact = f"is part {index + 1} of {count} of a split model"
    ending = f"-{index + 1:05}-of-{count:05}.gguf"
    prefix = path.name.removesuffix(ending)
    if prefix == path.name:
        raise file_error(path, f"{fact}, but its name does not end so", f"rename it to end in {ending}")
    for number in range(1, count + 1):
        part = path.with_name(f"{prefix}-{number:05}-of-{count:05}.gguf")
        if not part.exists():
            hint = f"download {quoted(part.name)} into the same directory"
            raise file_error(path, f"{fact}, and part {number} is not beside it", hint)
        if number == 1 and index:
            raise file_error(path, fact, f"name its first part: {shlex.quote(str(part))}")
        if number > 1:
            yield part, read_header(part)


def _check_purpose(path: Path, header: GgufHeader) -> None:
    kind = "mmproj" if header.architecture == "clip" else str(header.metadata.get("general.type"))
    if kind in _NOT_MODELS:
        raise file_error(
            path, f"is {_NOT_MODELS[kind]}, not a language model", "name the model it belongs to"
        )


def _no_tensors(path: Path, header: GgufHeader) -> ModelFileError:
    if "tokenizer.ggml.tokens" in header.metadata or "tokenizer.ggml.model" in header.metadata:
        return file_error(path, "holds a vocabulary but no weights", OTHER_FILE)
    return file_error(path, "holds no tensors", OTHER_FILE)


def _check_required(path: Path, header: GgufHeader) -> None:
    if not header.architecture:
        raise file_error(path, 'does not say what it is: it has no "general.architecture"', OTHER_FILE)
    for key in ("block_count", "context_length", "embedding_length"):
        if header.model_number(key) is None:
            raise file_error(path, f"has no number {quoted(f'{header.architecture}.{key}')}", OTHER_FILE)
    for key in ("layer_norm_rms_epsilon", "layer_norm_epsilon"):
        name = f"{header.architecture}.attention.{key}"
        epsilon = header.metadata.get(name)
        if isinstance(epsilon, float) and not epsilon >= 0:  # NaN too; ends llama.cpp's process
            raise damaged_header(path, f"has {epsilon:g} for {quoted(name)}")


def _check_tokenizer(path: Path, header: GgufHeader) -> None:
    model = header.metadata.get("tokenizer.ggml.model")
    if not isinstance(model, str):
        raise file_error(path, 'has no tokenizer: no "tokenizer.ggml.model"', OTHER_FILE)
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, ArrayInfo):
        usable = tokens.element_type == "string"
    else:
        usable = isinstance(tokens, tuple) and bool(tokens) and isinstance(tokens[0], str)
    # An array of numbers here ends llama.cpp's process.
    if not usable and model not in ("none", "no_vocab"):
        raise file_error(path, 'has no tokenizer: no list of texts "tokenizer.ggml.tokens"', OTHER_FILE)


def _check_tensors(path: Path, header: GgufHeader, seen: set[str]) -> None:
    """Check every tensor by itself and its place behind the one before; add its name to `seen`."""
    offset = 0
    for tensor in header.tensors:
        if tensor.name in seen:
            raise damaged_header(path, f"has the tensor {quoted(tensor.name)} twice")
        if tensor.type_name is None:
            fact = f"has the tensor {quoted(tensor.name)} of an unknown type {tensor.type_id}"
            raise file_error(path, fact, UPGRADE)
        fault = _shape_fault(tensor, offset)
        if fault:
            raise damaged_header(path, f"has the tensor {quoted(tensor.name)} {fault}")
        seen.add(tensor.name)
        offset = padded(offset + (tensor.size_bytes or 0), header.alignment)


def _shape_fault(tensor: TensorInfo, offset: int) -> str | None:
    """Return what is wrong with a tensor of a known type that should lie at `offset`."""
    if len(tensor.name.encode()) > _MAX_TENSOR_NAME_BYTES:
        return f"with a name of more than {_MAX_TENSOR_NAME_BYTES} bytes"
    if 0 in tensor.shape:
        return f"without elements, of shape {' x '.join(map(str, tensor.shape))}"
    if math.prod(tensor.shape) >= 1 << 63:
        return "of an impossible size"
    if (tensor.shape or (1,))[0] % (tensor.block_size or 1):
        return f"in rows that are not a multiple of {tensor.block_size}"
    if tensor.offset != offset:
        return f"at byte {tensor.offset:,} of the data, not {offset:,}"
    return None


def _check_layers(path: Path, header: GgufHeader, tensor_names: set[str]) -> None:
    layers = header.block_count or 0
    if layers and not any(name.startswith(_OTHER_BLOCKS) for name in tensor_names):
        found = {int(match[1]) for name in tensor_names if (match := _BLOCK_NAME.match(name))}
        # Layers that predict further tokens may be in a file of their own; a DeciLM layer may be empty.
        per_layer = isinstance(header.per_layer("attention.head_count"), tuple)
        may_lack = per_layer or bool(header.model_number("nextn_predict_layers"))
        if not found or max(found) >= layers or (len(found) < layers and not may_lack):
            raise _wrong_layers(path, layers, f"{len(found):,}")
    _check_layer_limit(path, layers)


def _check_layer_limit(path: Path, layers: int) -> None:
    if not 0 < layers <= MAX_LAYERS:
        raise file_error(
            path, f"claims {layers:,} layers, and llama.cpp takes 1 to {MAX_LAYERS}", OTHER_FILE
        )


def _wrong_layers(path: Path, layers: int, found: str) -> ModelFileError:
    return file_error(path, f"claims {layers:,} layers (block_count) but holds {found}", OTHER_FILE)


def _check_data(path: Path, header: GgufHeader) -> None:
    ends = (tensor.offset + (tensor.size_bytes or 0) for tensor in header.tensors)
    expected = (header.data_offset or 0) + max(ends, default=0)
    actual = header.file_size_bytes
    if header.tensors and expected > actual:
        fact = f"is cut off: expected {expected:,} bytes, has {actual:,}"
        raise file_error(path, fact, DOWNLOAD_AGAIN, expected_bytes=expected, actual_bytes=actual)
