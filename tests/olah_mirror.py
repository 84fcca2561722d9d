"""olah, a mirror of the Hub that others wrote: what works with it works not only with a Hub of ours.

It runs in a process of its own: in front of another Hub, or on git repositories, whose files have no
sha256.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_START_TIMEOUT_S = 60
_STOP_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Olah:
    """A running mirror. `commits`: repository to the hash of its only commit, with `olah_git`."""

    url: str
    commits: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def olah_mirror(hub_url: str, directory: Path) -> Iterator[Olah]:
    """Run olah in front of the Hub at `hub_url`, its data in `directory`; skip without olah or git."""
    hub = urlsplit(hub_url)
    basic = {
        "hf-scheme": hub.scheme,
        "hf-netloc": hub.netloc,
        "hf-lfs-netloc": hub.netloc,
        "metadata-cache-ttl": 0,  # a test changes the Hub, and asks again at once
    }
    with _running(directory, basic, offline=False) as url:
        yield Olah(url)


@contextmanager
def olah_git(repositories: Mapping[str, Mapping[str, bytes | Path]], directory: Path) -> Iterator[Olah]:
    """Run olah on git repositories made of these files; skip without olah or git."""
    _skip_if_missing()
    root = directory / "git"
    commits = {
        repo_id: _git_repository(root / "models" / repo_id, files)
        for repo_id, files in repositories.items()
    }
    with _running(directory, {"mirrors-path": [str(root)]}, offline=True) as url:
        yield Olah(url, commits)


@contextmanager
def _running(directory: Path, basic: Mapping[str, object], *, offline: bool) -> Iterator[str]:
    _skip_if_missing()
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    here = f"127.0.0.1:{port}"
    basic = {
        "host": "127.0.0.1",
        "port": port,
        "repos-path": str(directory / "repos"),
        "mirror-netloc": here,
        "mirror-lfs-netloc": here,
        **basic,
    }
    settings = [f"{key} = {json.dumps(value)}" for key, value in basic.items()]
    settings = ["[basic]", *settings, "[accessibility]", f"offline = {json.dumps(offline)}", ""]
    config, output = directory / "olah.toml", directory / "olah.txt"
    config.write_text("\n".join(settings), encoding="utf-8")

    with output.open("wb") as out:
        process = subprocess.Popen(
            (sys.executable, "-m", "olah.server", "--config", str(config)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=_environment(),
            cwd=directory,
        )
    try:
        _wait_for_answer(process, port, output)
        yield f"http://{here}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _skip_if_missing() -> None:
    if importlib.util.find_spec("olah") is None:
        pytest.skip("olah is not installed")
    if shutil.which("git") is None:
        pytest.skip("git is not installed, and olah does not start without it")


def _wait_for_answer(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            # It listens only when it is ready to answer.
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"olah does not answer; it wrote:\n{output.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    """Return this process's environment without proxies: olah would ask them for 127.0.0.1 too."""
    return {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


def _git_repository(directory: Path, files: Mapping[str, bytes | Path]) -> str:
    """Make a git repository with one commit, and return the commit's hash."""
    for name, source in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.read_bytes())
    _git(directory, "init", "--quiet", "--initial-branch=main")
    _git(directory, "add", "--all")
    _git(
        directory,
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "commit",
        "--quiet",
        "-m",
        "one",
    )
    return _git(directory, "rev-parse", "HEAD")


def _git(directory: Path, *arguments: str) -> str:
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ("git", *arguments),
        cwd=directory,
        env={**os.environ, **nobody},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
