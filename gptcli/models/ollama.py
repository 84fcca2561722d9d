"""The models of an Ollama on this machine: their files are plain GGUF, named by their hash.

Layout: manifests/HOST/NAMESPACE/NAME/TAG (JSON) names the layers, blobs/sha256-<hex> holds them.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from gptcli.errors import ModelFileError, ModelNotFoundError, UsageError
from gptcli.models.faults import quoted

MODEL_LAYER = "application/vnd.ollama.image.model"
_PART = re.compile(r"[A-Za-z0-9][\w.-]*")


def models_dir() -> Path:
    """Return where Ollama keeps its models."""
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def model_blob(name: str) -> Path:
    """Return the GGUF file of NAME[:TAG], as `ollama list` shows it.

    Raises UsageError for what is no name, ModelNotFoundError, ModelFileError for a broken manifest.
    """
    place, _, tag = name.partition(":")
    parts = place.split("/")
    if not all(_PART.fullmatch(part) for part in (*parts, tag or "latest")) or len(parts) > 3:
        raise UsageError(f"{quoted(name)} is not the name of an Ollama model", hint="ollama list")
    host, namespace, model = ["registry.ollama.ai", "library"][: 3 - len(parts)] + parts
    manifest = models_dir() / "manifests" / host / namespace / model / (tag or "latest")
    try:
        layers = json.loads(manifest.read_bytes())["layers"]
        digest = next(layer["digest"] for layer in layers if layer["mediaType"] == MODEL_LAYER)
    except OSError as error:
        raise ModelNotFoundError(f'Ollama has no model "{name}" here', hint="ollama list") from error
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ModelFileError(f"{manifest} names no model", hint=f"ollama pull {name}") from error
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest)):
        raise ModelFileError(f"{manifest} names no model", hint=f"ollama pull {name}")
    return models_dir() / "blobs" / str(digest).replace(":", "-")
