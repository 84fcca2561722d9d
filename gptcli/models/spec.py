"""What the user types for a model, read: an alias, a repository on the Hub, or a file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gptcli.errors import UsageError
from gptcli.models.faults import quoted
from gptcli.models.registry import is_repo_id, is_safe_path

FORMS = "an alias, user/repo, user/repo:QUANT, hf.co/user/repo, or the path of a .gguf file"
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_REVISION = re.compile(r"[\w][\w./-]{0,199}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AliasRef:
    """A name of models.toml or of an imported file; with a `quantization`, another than its own."""

    alias: str
    quantization: str | None = None

    def __str__(self) -> str:
        return f"{self.alias}:{self.quantization}" if self.quantization else self.alias


@dataclass(frozen=True, slots=True)
class HubRef:
    """A repository on the Hub. `quantization` may be a file's name; `revision` a commit or a branch."""

    repo: str
    quantization: str | None = None
    revision: str | None = None

    @property
    def lock_key(self) -> str:
        """What the lock file calls it: a revision that the user named is remembered apart."""
        return f"{self.repo}@{self.revision}" if self.revision else self.repo

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{at}:{self.quantization}" if self.quantization else self.repo + at


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file on this machine."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


ModelRef = AliasRef | HubRef | FileRef


def parse_spec(text: str) -> ModelRef:
    """Return what `text` names, without looking whether it exists. Raises UsageError for no known form.

    Besides the documented forms: an address of the Hub's pages and downloads, hf://user/repo@revision.
    """
    try:
        address = _hub_address(text)
        if address is not None:
            return _from_address(address, text)
        if _looks_like_path(text):
            return FileRef(Path(text).expanduser())
    except (ValueError, RuntimeError, OSError) as error:  # no address, no such user, too long a name
        raise UsageError(f"{quoted(text)} is not a model", hint=FORMS) from error
    name, _, quantization = text.partition(":")
    if "/" in name:
        return _repo(name, quantization or None, text)
    if not name or not name.isprintable() or (":" in text and not quantization):
        raise UsageError(f"{quoted(text)} is not a model", hint=FORMS)
    return AliasRef(name, quantization or None)


def _hub_address(text: str) -> str | None:
    """Return what follows the Hub's name in an address; None if it is no address of the Hub."""
    if text.startswith("hf://"):
        return text.removeprefix("hf://").removeprefix("models/")
    if "://" in text:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or parts.hostname not in _HUB_HOSTS:
            raise UsageError(
                f"{quoted(text)} is not on the Hub",
                hint="download the file, then: gptcli generate -m path/to/model.gguf …",
            )
        return unquote(parts.path).strip("/")
    host, slash, rest = text.partition("/")
    return rest if slash and host.lower() in _HUB_HOSTS else None


def _from_address(address: str, text: str) -> HubRef:
    """Read user/repo[@revision][:QUANT] and user/repo/(resolve|blob|tree)/revision[/path]."""
    user, _, rest = address.partition("/")
    name, _, place = rest.partition("/")
    if not place:
        name, _, quantization = rest.partition(":")
        return _repo(f"{user}/{name}", quantization or None, text)
    kind, _, place = place.partition("/")
    revision, _, path = place.partition("/")
    if kind not in ("resolve", "blob", "tree", "raw") or not revision:
        raise UsageError(f"{quoted(text)} is not a model on the Hub", hint=FORMS)
    ref = _repo(f"{user}/{name}", path or None, text)
    return ref if revision == "main" else replace(ref, revision=revision)


def _repo(name: str, quantization: str | None, text: str) -> HubRef:
    repo, at, revision = name.partition("@")
    is_fine = is_repo_id(repo) and (not at or (_REVISION.fullmatch(revision) and ".." not in revision))
    if not is_fine or (quantization is not None and not is_safe_path(quantization)):
        raise UsageError(f"{quoted(text)} is not a model", hint=FORMS)
    return HubRef(repo, quantization, revision or None)


def _looks_like_path(text: str) -> bool:
    if text.startswith((".", "~", os.sep)) or Path(text).is_absolute():
        return True
    repo, colon, _ = text.partition(":")
    if colon and is_repo_id(repo):  # user/repo:file.gguf
        return False
    return text.lower().endswith(".gguf") or ("/" in text and Path(text).is_file())
