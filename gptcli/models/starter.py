"""Weights that come as Python packages: joined once into the data directory, and checked.

A package index limits the size of a file, so the weights are split over part packages.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from gptcli.errors import ModelFileError, ModelNotFoundError, StorageError
from gptcli.files import replacing
from gptcli.models.registry import ModelSpec
from gptcli.paths import data_dir

BLOCK_BYTES = 1 << 20
Report = Callable[[int, int], None]


def joined_path(spec: ModelSpec) -> Path:
    """Return where the joined file belongs."""
    return data_dir() / "models" / spec.files[0].path


def is_joined(spec: ModelSpec) -> bool:
    """Tell whether the file is there; its hash was checked before it got its name."""
    path = joined_path(spec)
    return path.is_file() and path.stat().st_size == spec.size


def is_installed(spec: ModelSpec) -> bool:
    """Tell whether the packages that carry the weights are installed."""
    return importlib.util.find_spec(_module_name(spec)) is not None


def join(spec: ModelSpec, on_progress: Report | None = None) -> Path:
    """Return the model's file, joined from its packages if it is not there yet.

    `on_progress` gets bytes done and in all. Raises ModelNotFoundError when the packages are not
    installed, ModelFileError when the hash is wrong, StorageError when the disk refuses the file.
    """
    if is_joined(spec):
        return joined_path(spec)
    if not is_installed(spec):
        raise ModelNotFoundError(
            f'the weights of "{spec.alias}" are not installed',
            hint=f"pip install {spec.package}, or -m path/to/model.gguf",
            model=spec.alias,
        )
    target = joined_path(spec)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_room(target.parent, spec.size)
        with replacing(target) as joined:
            digest = _join_parts(spec, joined, on_progress)
            if digest != spec.files[0].sha256:
                raise ModelFileError(
                    f"the parts of {target.name} do not add up to the published file (SHA-256 differs)",
                    hint=f"pip install --force-reinstall {spec.package}",
                )
    except OSError as error:
        raise _storage_error(error, target) from error
    return target


def _module_name(spec: ModelSpec) -> str:
    return spec.package.replace("-", "_")


def _join_parts(spec: ModelSpec, joined: BinaryIO, on_progress: Report | None) -> str:
    import hashlib

    parts: list[Path] = importlib.import_module(_module_name(spec)).chunk_paths()
    total, done, digest = spec.size, 0, hashlib.sha256()
    for part in parts:
        with part.open("rb") as source:
            while block := source.read(BLOCK_BYTES):
                joined.write(block)
                digest.update(block)
                done += len(block)
                if on_progress is not None:
                    on_progress(done, total)
    return digest.hexdigest()


def _check_room(directory: Path, needed: int) -> None:
    if shutil.disk_usage(directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _storage_error(error: OSError, target: Path) -> StorageError:
    if error.errno == errno.ENOSPC:
        fact = f"no room for {target.name} in {target.parent}"
    else:
        fact = f"cannot write {target}: {error.strerror}"
    return StorageError(fact, hint="GPTCLI_DATA_DIR=/another/place gptcli …")
