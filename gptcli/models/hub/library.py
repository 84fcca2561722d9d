"""How huggingface_hub is imported: without telemetry, and silent: its log shows signed addresses."""

from __future__ import annotations

import logging
import os
import warnings
from types import ModuleType


def import_library() -> ModuleType:
    """Return huggingface_hub, with its environment set as we want it: it reads that once, at import."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"huggingface_hub\.")
    import huggingface_hub
    import huggingface_hub.utils.logging  # sets a level of its own, as late as it is imported

    for name in ("huggingface_hub", "httpx2", "httpcore2", "filelock"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return huggingface_hub
