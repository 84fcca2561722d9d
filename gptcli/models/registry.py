"""The models known by name: models.toml, shipped with the package, with the user's own on top.

The user's models.toml lies in the configuration directory. Its tables are laid over the shipped ones
key by key; `[defaults]` names the model of each task.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from gptcli import paths
from gptcli.errors import ModelNotFoundError, UsageError

DEFAULT_ALIAS = "starter"
MEMORY_WINDOW = 4096  # tokens: the context window for which `memory` is given

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_HEX = {"revision": 40, "sha256": 64}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One file of a model: its path in the repository, its size in bytes and its SHA-256 in hex digits.

    None: not confirmed yet; what the Hub says at the first pull is recorded and kept to.
    """

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that is known by name, and where its weights come from: `repo` or `package`.

    `revision` is a commit (40 hex digits). `parameters` is their number, `context_length` tokens,
    `memory` bytes with a context window of MEMORY_WINDOW tokens, `kv_bytes_per_token` what each token
    more takes (F16). `source` says where the facts are from, `checked` when they were compared.
    """

    alias: str
    name: str
    files: tuple[ModelFile, ...]
    quantization: str
    architecture: str
    parameters: int
    context_length: int
    memory: int
    kv_bytes_per_token: int
    license: str
    license_url: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    source: str
    checked: str
    repo: str = ""
    revision: str | None = None
    package: str = ""
    accept_license: bool = False
    gated: bool = False

    @property
    def is_confirmed(self) -> bool:
        """Whether revision, sizes and hashes are pinned here, not only at the first pull."""
        pinned = all(file.size is not None and file.sha256 for file in self.files)
        return pinned and bool(self.package or self.revision)

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    def memory_with(self, window: int) -> int:
        """Return the bytes of memory needed with a context window of so many tokens."""
        return self.memory + (window - MEMORY_WINDOW) * self.kv_bytes_per_token


@dataclass(frozen=True, slots=True)
class Registry:
    """The known models by alias, and the alias that each task takes by default."""

    models: Mapping[str, ModelSpec]
    defaults: Mapping[str, str]

    def find(self, alias: str) -> ModelSpec:
        """Return a known model. Raises ModelNotFoundError, naming the nearest alias."""
        if alias in self.models:
            return self.models[alias]
        near = difflib.get_close_matches(alias.lower(), self.models, n=1, cutoff=0.5)
        raise ModelNotFoundError(
            f'model "{alias}" is not known',
            hint=f"-m {near[0]}" if near else "gptcli models fit (what there is for this machine)",
            model=alias,
        )


def registry_path() -> Path:
    """Return models.toml: inside an installed package, at the top of a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "models.toml"
    return installed if installed.is_file() else package.parent / "models.toml"


def load_registry() -> Registry:
    """Return the shipped models under the user's own. Raises UsageError for a mistake in either file."""
    shipped, own = registry_path(), paths.models_file()
    tables = _read(shipped)
    user = _read(own) if own.is_file() else {}
    models = {alias: _spec(shipped, alias, table) for alias, table in tables.get("models", {}).items()}
    for alias, table in user.get("models", {}).items():
        if not isinstance(table, dict):
            raise _mistake(own, f"models.{alias}", "must be a table")
        models[alias] = _spec(own, alias, tables["models"].get(alias, {}) | table)
    defaults = tables.get("defaults", {}) | user.get("defaults", {})
    for task, alias in defaults.items():
        if not isinstance(alias, str) or alias not in models:
            raise _mistake(own, f"defaults.{task}", f'names "{alias}", which is no model here')
    return Registry(models, defaults)


def is_safe_path(path: str) -> bool:
    """Tell whether a repository's path may become a file's name here: relative, inside, printable."""
    parts = PurePosixPath(path).parts
    inside = bool(parts) and not path.startswith("/") and not {".", ".."} & set(path.split("/"))
    return inside and path.isprintable() and not {"\\", ":"} & set(path) and "//" not in path


def is_repo_id(text: str) -> bool:
    """Tell whether the text has the form of a repository's name: `user/name`."""
    return bool(_REPO.fullmatch(text)) and ".." not in text and "--" not in text


def _read(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint=f"edit {path}") from error
    for key, value in tables.items():
        if key not in ("models", "defaults") or not isinstance(value, dict):
            raise _mistake(path, key, "is neither [models.ALIAS] nor [defaults]")
    return tables


def _spec(path: Path, alias: str, table: Mapping[str, Any]) -> ModelSpec:
    where = f"models.{alias}"
    if not _ALIAS.fullmatch(alias):
        raise _mistake(path, where, "is not an alias: lower-case letters, digits, dots and dashes")
    kinds = {field.name: str(field.type) for field in fields(ModelSpec) if field.name != "alias"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in kinds:
            raise _mistake(path, f"{where}.{key}", "is not a known key", kinds)
        values[key] = _value(path, f"{where}.{key}", kinds[key], value)
    missing = {field.name for field in fields(ModelSpec) if field.name not in values}
    missing -= {"alias", "repo", "revision", "package", "accept_license", "gated"}
    if missing:
        raise _mistake(path, where, f"has no {', '.join(sorted(missing))}")
    spec = ModelSpec(alias=alias, **values)
    _check(path, where, spec)
    return spec


def _value(path: Path, where: str, kind: str, value: Any) -> Any:
    if kind == "tuple[ModelFile, ...]":
        if not isinstance(value, list) or not value:
            raise _mistake(path, where, "must be a list of tables")
        return tuple(_file(path, where, each) for each in value)
    if kind == "tuple[str, ...]":
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _mistake(path, where, "must be a list of strings")
        return tuple(value)
    wanted = {"str": str, "int": int, "bool": bool}[kind.removesuffix(" | None")]
    if type(value) is not wanted:
        raise _mistake(path, where, f"must be of the type {wanted.__name__}")
    if isinstance(value, int) and value < 0:
        raise _mistake(path, where, "must not be negative")
    return value


def _file(path: Path, where: str, table: Any) -> ModelFile:
    kinds = {field.name: str(field.type) for field in fields(ModelFile)}
    if not isinstance(table, dict) or "path" not in table or not table.keys() <= kinds.keys():
        raise _mistake(path, where, "needs path, and may have size and sha256")
    return ModelFile(**{key: _value(path, f"{where}.{key}", kinds[key], v) for key, v in table.items()})


def _check(path: Path, where: str, spec: ModelSpec) -> None:
    if bool(spec.repo) == bool(spec.package):
        raise _mistake(path, where, "needs one of repo and package")
    if spec.repo and not is_repo_id(spec.repo):
        raise _mistake(path, f"{where}.repo", "must be of the form user/name")
    if spec.revision is not None:
        _check_hex(path, f"{where}.revision", spec.revision)
    for file in spec.files:
        if not is_safe_path(file.path) or not file.path.endswith(".gguf"):
            raise _mistake(path, f"{where}.files", f"{file.path!r} is not a safe path of a .gguf file")
        if file.sha256 is not None:
            _check_hex(path, f"{where}.files.sha256", file.sha256)
    if not _DATE.fullmatch(spec.checked):
        raise _mistake(path, f"{where}.checked", "must be a date: YYYY-MM-DD")


def _check_hex(path: Path, where: str, text: str) -> None:
    digits = _HEX[where.rpartition(".")[2]]
    if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", text):
        raise _mistake(path, where, f"must be {digits} hexadecimal digits in lower case")


def _mistake(path: Path, where: str, fact: str, known: Mapping[str, str] | None = None) -> UsageError:
    near = difflib.get_close_matches(where.rpartition(".")[2], known or {}, n=1)
    hint = f"did you mean {near[0]}?" if near else f"edit {path}"
    return UsageError(f"{path.name}: {where} {fact}", hint=hint)
