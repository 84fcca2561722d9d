"""For maintainers who are online: compares models.toml with the Hub and fills in what is not confirmed.

    python -m gptcli.models.refresh [--check] [--trust] [--file models.toml] [ALIAS…]

Revision, size and SHA-256 come from the repository, architecture, context length and KV cache from the
file's header, the licence from the card. A SHA-256 that differs is told and left, unless --trust.
Exit status 1 when an entry could not be confirmed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gptcli.errors import GptcliError
from gptcli.files import write_whole
from gptcli.models.fit import estimate
from gptcli.models.gguf import GgufHeader
from gptcli.models.hub.client import Hub, RemoteRepo
from gptcli.models.quants import quantization_of
from gptcli.models.records import today
from gptcli.models.registry import MEMORY_WINDOW, registry_path

Change = tuple[str, object, object]  # key, value in the file, value on the Hub


def refresh(document: Any, hub: Hub, aliases: Sequence[str], *, trust: bool = False) -> Iterator[str]:
    """Bring the entries of a parsed models.toml up to date; yield a line for each change and fault.

    Lines of faults begin with "!".
    """
    for alias, entry in document["models"].items():
        if not entry.get("repo") or (aliases and alias not in aliases):
            continue
        try:
            remote = hub.repository(entry["repo"])
            faults = list(_faults(entry, remote, trust=trust))
            if faults:
                yield from (f"! {alias}: {fault}" for fault in faults)
                continue
            for key, old, new in _changes(entry, remote, _header(hub, remote, entry)):
                yield f"{alias}: {key}: {old} -> {new}"
        except GptcliError as error:
            yield f"! {alias}: {error.message}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script; return the exit status."""
    import tomlkit

    options = _parser().parse_args(arguments)
    document = tomlkit.parse(options.file.read_text(encoding="utf-8"))
    unknown = set(options.aliases) - set(document["models"])
    if unknown:
        print(f"! no such alias: {', '.join(sorted(unknown))}", file=sys.stderr)  # noqa: T201
        return 2
    faults = 0
    for line in refresh(document, Hub(), options.aliases, trust=options.trust):
        print(line)  # noqa: T201
        faults += line.startswith("!")
    if not options.check:
        write_whole(options.file, tomlkit.dumps(document))
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gptcli.models.refresh", description=__doc__)
    parser.add_argument("aliases", nargs="*", metavar="ALIAS")
    parser.add_argument("--file", type=Path, default=registry_path())
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--trust", action="store_true", help="take other hashes than those in the file")
    return parser


def _faults(entry: Mapping[str, Any], remote: RemoteRepo, *, trust: bool) -> Iterator[str]:
    by_path = {file.path: file for file in remote.files}
    if remote.repo != entry["repo"]:
        yield f"the repository is now called {remote.repo}"
    for file in entry["files"]:
        found = by_path.get(file["path"])
        if found is None:
            near = [p for p in by_path if quantization_of(p) == entry["quantization"]]
            yield f"{file['path']} is not there: {', '.join(near) or 'nothing alike'}"
        elif found.sha256 is None:
            yield f"the server says no SHA-256 of {file['path']}"
        elif file.get("sha256", found.sha256) != found.sha256 and not trust:
            yield f"{file['path']} has the SHA-256 {found.sha256}, not {file['sha256']}"


def _changes(entry: Any, remote: RemoteRepo, header: GgufHeader) -> Iterator[Change]:
    by_path = {file.path: file for file in remote.files}
    yield from _put(entry, "revision", remote.commit)
    for file in entry["files"]:
        found = by_path[file["path"]]
        yield from _put(file, "size", found.size)
        yield from _put(file, "sha256", found.sha256)
    size = sum(by_path[file["path"]].size for file in entry["files"])
    yield from _put(entry, "memory", estimate(header, size, MEMORY_WINDOW).total)
    yield from _put(entry, "kv_bytes_per_token", header.kv_bytes_per_token())
    yield from _put(entry, "architecture", header.architecture)
    yield from _put(entry, "context_length", header.context_length)
    if remote.license.id != "unknown":
        yield from _put(entry, "license", remote.license.id)
    if remote.is_gated:
        yield from _put(entry, "gated", True)
    yield from _put(entry, "source", "the Hub and the file's header")
    yield from _put(entry, "checked", today())


def _put(table: Any, key: str, value: object) -> Iterator[Change]:
    old = table.get(key)
    if value is not None and old != value:
        table[key] = value
        yield key, old, value


def _header(hub: Hub, remote: RemoteRepo, entry: Mapping[str, Any]) -> GgufHeader:
    path = str(entry["files"][0]["path"])
    file = next(file for file in remote.files if file.path == path)
    return hub.header(remote.repo, remote.commit, file)


if __name__ == "__main__":
    sys.exit(main())
