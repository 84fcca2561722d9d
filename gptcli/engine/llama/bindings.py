"""llama-cpp-python's ctypes bindings, imported at a third of their usual cost."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from gptcli.errors import GptcliError


def load_bindings() -> Any:
    """Return the module llama_cpp.llama_cpp, with its shared library loaded.

    `llama_cpp/__init__.py` imports the high-level class with numpy, jinja2 and diskcache: 260 ms
    against 55 ms for the bindings alone. So a bare package stands in its place.
    """
    # Idle OpenMP threads spin, by default for so long that with one of two cores busy elsewhere a
    # 270M model keeps a tenth of its speed. With this it keeps half, and loses nothing when idle
    # (300: 0.62 and 6 % lost; 1000: 0.48; 10000: 0.22). libgomp reads it when it is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "700")
    # A failed assertion would start a debugger, if there is one, to print a backtrace.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    if "llama_cpp" not in sys.modules:
        import importlib.util
        import types

        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise GptcliError("llama-cpp-python is not installed", hint="pip install llama-cpp-python")
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["llama_cpp"] = package
    import llama_cpp.llama_cpp

    return llama_cpp.llama_cpp


def library_identity() -> str:
    """Return what tells this build of llama.cpp from another: its path, size and time of build."""
    path = Path(load_bindings()._lib._name)
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}"
