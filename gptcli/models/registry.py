"""The models known by name: models.toml, shipped with the package."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

from gptcli.errors import ModelNotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model. `size` in bytes, `sha256` as 64 hexadecimal digits."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that is known by name, and where its weights come from."""

    alias: str
    name: str
    package: str
    files: tuple[ModelFile, ...]
    quantization: str
    architecture: str
    parameters: int
    context_length: int
    license: str
    license_url: str
    tasks: tuple[str, ...]


def registry_path() -> Path:
    """Return models.toml: inside an installed package, at the top of a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "models.toml"
    return installed if installed.is_file() else package.parent / "models.toml"


def load_registry() -> dict[str, ModelSpec]:
    """Return the known models by alias."""
    tables = tomllib.loads(registry_path().read_text(encoding="utf-8"))
    return {alias: _spec(alias, table) for alias, table in tables.items()}


def find_spec(alias: str) -> ModelSpec:
    """Return a known model. Raises ModelNotFoundError, naming the nearest alias."""
    known = load_registry()
    if alias in known:
        return known[alias]
    near = difflib.get_close_matches(alias, known, n=1, cutoff=0.5)
    raise ModelNotFoundError(
        f'model "{alias}" is not known',
        hint=f"-m {near[0] if near else 'path/to/model.gguf'}",
        model=alias,
    )


def _spec(alias: str, table: dict[str, object]) -> ModelSpec:
    members = {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}
    files = members.pop("files")
    assert isinstance(files, tuple)
    return ModelSpec(alias=alias, files=tuple(ModelFile(**file) for file in files), **members)  # type: ignore[arg-type]
