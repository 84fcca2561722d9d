"""One cache for gptcli, `hf` and huggingface_hub; and one pull from the Hub, from a mirror, from git."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gptcli.models.cache import repo_dir
from gptcli.paths import hub_cache_dir
from tests.conftest import Cli
from tests.hub_server import LoopbackHub
from tests.olah_mirror import olah_git, olah_mirror
from tests.tiny_gguf import gguf_bytes

REPO = "org/m-GGUF"
Q4, Q8 = "m-Q4_K_M.gguf", "m-Q8_0.gguf"

Hf = Callable[..., str]


@pytest.fixture
def hf() -> Hf:
    """Run `hf`, which must succeed; return its stdout and stderr."""

    def run(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            ("hf", *arguments),
            env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def commit(hub: LoopbackHub, tiny_model: Path) -> str:
    return hub.commit(REPO, {Q4: tiny_model, Q8: gguf_bytes() + os.urandom(50_000)})


def test_hf_lists_checks_and_removes_what_gptcli_pulled(commit: str, cli: Cli, hf: Hf) -> None:
    path = Path(cli("models", "pull", REPO).stdout.strip())

    assert REPO in hf("cache", "ls")
    assert commit in hf("cache", "ls", "--revisions", "--format", "json")
    hf("cache", "verify", REPO)
    hf("cache", "prune", "-y")
    assert path.is_file()
    path.resolve().write_bytes(bytes(path.stat().st_size))
    hf("cache", "verify", REPO, status=1)
    hf("cache", "rm", f"model/{REPO}", "-y")
    assert not repo_dir(REPO).exists()
    assert cli("models", "list", "--json").json == {"models": []}


def test_hf_prunes_what_was_broken_off(commit: str, cli: Cli, hf: Hf) -> None:
    cli("models", "pull", REPO)
    part = repo_dir(REPO) / "blobs" / f"{'0' * 64}.gptcli.incomplete"
    part.write_bytes(b"x")

    hf("cache", "prune", "-y")

    assert not part.exists()


def test_gptcli_uses_what_hf_downloaded(
    commit: str, cli: Cli, hf: Hf, hub: LoopbackHub, tiny_model: Path
) -> None:
    hf("download", REPO, Q4)
    sent = hub.bytes_sent("GET /cdn")
    listed = cli("models", "list", "--json").json["models"]
    answer = cli("generate", "-m", REPO, "-n", "1", "--json", "hello")
    pulled = cli("models", "pull", f"{REPO}:q4_k_m", "--json")

    assert [model["name"] for model in listed] == [f"{REPO}:Q4_K_M"]
    assert answer.status == 0, answer.stderr
    assert answer.json["model"] == REPO
    assert cli("models", "verify").stdout == f"ok       {REPO}:Q4_K_M  {Q4}\n"
    assert pulled.json["received_bytes"] == 0
    assert hub.bytes_sent("GET /cdn") - sent <= min(1 << 20, tiny_model.stat().st_size)
    assert cli("models", "rm", REPO, "-y").status == 0
    assert not repo_dir(REPO).exists()


def test_hf_does_not_download_what_gptcli_pulled(
    commit: str, cli: Cli, hf: Hf, hub: LoopbackHub
) -> None:
    from huggingface_hub import try_to_load_from_cache

    path = cli("models", "pull", REPO).stdout.strip()
    sent = hub.bytes_sent("GET /cdn")

    assert path in hf("download", REPO, Q4)
    assert hub.bytes_sent("GET /cdn") == sent
    found = try_to_load_from_cache(REPO, Q4, cache_dir=hub_cache_dir())
    assert found == path


@pytest.mark.parametrize("command", ["generate", "verify", "show"])
def test_a_pulled_model_is_found_without_network(
    commit: str, cli: Cli, hub: LoopbackHub, command: str
) -> None:
    cli("models", "pull", REPO)
    hub.stop()
    words = {
        "generate": ("generate", "-n", "1", "hello", "-m"),
        "verify": ("models", "verify"),
        "show": ("models", "show"),
    }

    assert cli(*words[command], f"{REPO}:q4_k_m").status == 0
    assert cli(*words[command], f"{REPO}:q8_0").status == 3


# --------------------------------------------------------------------------------------- other servers

CONTENT = gguf_bytes() + os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass(frozen=True)
class Server:
    """Where the repository is, the hash of its `main`, and whether the server knows any sha256."""

    commit: str
    has_sha256: bool


@contextmanager
def serving(kind: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    files = {Q4: CONTENT}
    if kind == "olah git":
        with olah_git({REPO: files}, directory) as git:
            monkeypatch.setenv("HF_ENDPOINT", git.url)
            yield Server(git.commits[REPO], has_sha256=False)
        return
    with LoopbackHub() as hub:
        commit = hub.commit(REPO, files)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        if kind == "olah":
            with olah_mirror(hub.url, directory) as mirror:
                monkeypatch.setenv("HF_ENDPOINT", mirror.url)
                yield Server(commit, has_sha256=True)
        else:
            yield Server(commit, has_sha256=True)


@pytest.fixture(params=["hub", "olah", "olah git"])
def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    with serving(request.param, tmp_path / "server", monkeypatch) as running:
        yield running


def write_entry(home: Path, commit: str, sha256: str) -> None:
    text = f"""
[models.mine]
name = "M"
repo = "{REPO}"
revision = "{commit}"
files = [{{path = "{Q4}", size = {len(CONTENT)}, sha256 = "{sha256}"}}]
quantization = "Q4_K_M"
architecture = "llama"
parameters = 1
context_length = 64
memory = 1
kv_bytes_per_token = 1
license = "mit"
license_url = "https://example.org/terms"
tasks = ["generate"]
languages = ["en"]
source = "test"
checked = "2026-01-01"
"""
    (home / "config").mkdir(exist_ok=True)
    (home / "config" / "models.toml").write_text(text, encoding="utf-8")


def test_the_same_pull_from_every_server(server: Server, cli: Cli, home: Path) -> None:
    unpinned = cli("models", "pull", f"{REPO}:q4_k_m", "--json")

    assert unpinned.status == 0, unpinned.stderr
    assert unpinned.json["revision"] == server.commit
    assert unpinned.json["files"] == [{"path": Q4, "size": len(CONTENT), "sha256": SHA256}]
    assert Path(unpinned.json["path"]).read_bytes() == CONTENT
    assert ("knows no SHA-256" in unpinned.stderr) is not server.has_sha256
    assert cli("models", "verify").status == 0
    again = cli("models", "pull", f"{REPO}:q4_k_m", "--offline", "--json")
    assert again.json["received_bytes"] == 0

    shutil.rmtree(hub_cache_dir())
    (home / "data" / "models.lock.json").unlink()
    write_entry(home, server.commit, "0" * 64)
    refused = cli("models", "pull", "mine", "--json")
    assert refused.status == 4, refused.stderr
    assert refused.error["code"] == "integrity"
    assert not list(hub_cache_dir().glob("*/snapshots/*/*"))
    assert not list(hub_cache_dir().glob("*/blobs/*"))

    write_entry(home, server.commit, SHA256)
    pinned = cli("models", "pull", "mine", "--json")
    assert pinned.status == 0, pinned.stderr
    assert Path(pinned.json["path"]).read_bytes() == CONTENT
    assert "knows no SHA-256" not in pinned.stderr
