"""The GPUs that a build of llama.cpp sees, and what a model's KV cache takes of their memory."""

from __future__ import annotations

import ctypes
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptcli.engine.devices import Device

GPU_DEVICE_TYPES = (1, 2)  # enum ggml_backend_dev_type: GPU, integrated GPU


def kv_bytes_per_token(lib: Any, model: Any) -> int:
    """Return the bytes of an f16 KV cache per token: 2 (K and V) x 2 bytes x layers x KV width.

    An upper bound: sliding-window layers keep less.
    """
    heads, kv_heads = lib.llama_model_n_head(model), lib.llama_model_n_head_kv(model)
    if heads <= 0:  # recurrent models have no attention
        return 0
    width = lib.llama_model_n_embd(model) // heads
    buffer = ctypes.create_string_buffer(64)
    lib.llama_model_meta_val_str(model, b"general.architecture", buffer, len(buffer))
    key = buffer.value + b".attention.key_length"
    if lib.llama_model_meta_val_str(model, key, buffer, len(buffer)) >= 0:
        width = int(buffer.value)
    return int(2 * 2 * lib.llama_model_n_layer(model) * kv_heads * width)


def gpu_devices(lib: Any) -> list[Device]:
    """Return the GPUs of this build of llama.cpp, with their memory now."""
    directory = Path(lib._lib._name).parent
    names = ("libggml.so", "libggml.dylib", "ggml.dll")
    library = next((directory / name for name in names if (directory / name).exists()), None)
    if library is None:
        return []
    ggml = ctypes.CDLL(str(library))
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    for function in (ggml.ggml_backend_dev_name, ggml.ggml_backend_dev_description):
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_char_p
    ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_dev_memory.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_size_t),
    ]
    found = []
    for n in range(ggml.ggml_backend_dev_count()):
        device = ggml.ggml_backend_dev_get(n)
        if ggml.ggml_backend_dev_type(device) not in GPU_DEVICE_TYPES:
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
        name = ggml.ggml_backend_dev_name(device).decode("utf-8", "replace")
        description = ggml.ggml_backend_dev_description(device).decode("utf-8", "replace")
        found.append(Device(name, description, free.value, total.value))
    return found


def _main() -> None:
    from gptcli.engine.llama.bindings import load_bindings

    lib = load_bindings()
    devices = gpu_devices(lib) if lib.llama_supports_gpu_offload() else []
    print(json.dumps([asdict(device) for device in devices]))  # noqa: T201


if __name__ == "__main__":
    _main()
