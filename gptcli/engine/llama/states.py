"""What a context's memory holds of one sequence, as bytes that another time restores it."""

from __future__ import annotations

import ctypes
from typing import Any


def state_size(lib: Any, context: Any, sequence: int) -> int:
    """Return how many bytes the state of a sequence takes."""
    return int(lib.llama_state_seq_get_size(context, sequence))


def saved(lib: Any, context: Any, sequence: int) -> memoryview:
    size = state_size(lib, context, sequence)
    buffer = (ctypes.c_uint8 * size)()
    written = lib.llama_state_seq_get_data(context, buffer, size, sequence)
    return memoryview(buffer)[:written]  # a copy more would show in the peak of memory


def restored(lib: Any, context: Any, sequence: int, state: bytearray | memoryview) -> bool:
    """Fill an empty sequence; False, and it is empty, if the state does not fit."""
    buffer = (ctypes.c_uint8 * len(state)).from_buffer(state)
    read = lib.llama_state_seq_set_data(context, buffer, len(state), sequence)
    if not read:
        lib.llama_memory_seq_rm(lib.llama_get_memory(context), sequence, -1, -1)
    return bool(read)
