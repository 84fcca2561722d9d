"""`gptcli models pull`: what it chooses, brings, keeps and remembers, against a Hub of our own."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from gptcli.models.cache import repo_dir
from tests.conftest import COMMAND, STRANGER, TOKEN, Cli
from tests.hub_server import LoopbackHub
from tests.tiny_gguf import gguf_bytes

REPO = "org/m-GGUF"
Q4, Q8 = "m-Q4_K_M.gguf", "m-Q8_0.gguf"
OLD, NEW, LARGE = (gguf_bytes() + os.urandom(size) for size in (100_000, 100_000, 150_000))
GET = "GET /cdn"

Register = Callable[..., None]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def locked(home: Path) -> Any:
    return json.loads((home / "data" / "models.lock.json").read_bytes())


@pytest.fixture
def commit(hub: LoopbackHub) -> str:
    return hub.commit(REPO, {Q4: OLD, Q8: LARGE, "README.md": b"# m"})


@pytest.fixture
def register(home: Path) -> Register:
    """Put a model called mine into the user's models.toml, with other facts for its file."""

    def write(file: str = "", **more: object) -> None:
        facts: dict[str, object] = {
            "name": "M",
            "quantization": "Q4_K_M",
            "architecture": "llama",
            "parameters": 1,
            "context_length": 64,
            "memory": 1,
            "kv_bytes_per_token": 1,
            "license": "mit",
            "license_url": "https://example.org/terms",
            "tasks": ["generate"],
            "languages": ["en"],
            "source": "test",
            "checked": "2026-01-01",
            "repo": REPO,
            **more,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in facts.items()]
        text = "\n".join(["[models.mine]", f'files = [{{path = "{Q4}"{file}}}]', *lines, ""])
        path = home / "config" / "models.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return write


def pin(content: bytes, *, size: int | None = None) -> str:
    return f', sha256 = "{sha256(content)}", size = {len(content) if size is None else size}'


def test_a_model_lies_in_the_cache_as_hf_puts_it(hub: LoopbackHub, commit: str, cli: Cli) -> None:
    result = cli("models", "pull", f"{REPO}:q4_k_m")

    snapshot = repo_dir(REPO) / "snapshots" / commit / Q4
    assert (result.status, result.stdout) == (0, f"{snapshot}\n")
    assert snapshot.is_symlink()
    assert snapshot.resolve() == (repo_dir(REPO) / "blobs" / sha256(OLD)).resolve()
    assert snapshot.read_bytes() == OLD
    assert (repo_dir(REPO) / "refs" / "main").read_text() == commit
    assert sorted(path.name for path in (repo_dir(REPO) / "blobs").iterdir()) == [sha256(OLD)]


def test_json_says_what_was_taken(commit: str, hub: LoopbackHub, cli: Cli) -> None:
    found = cli("models", "pull", REPO, "--json").json

    path = str(repo_dir(REPO) / "snapshots" / commit / Q4)
    assert found == {
        "repo": REPO,
        "revision": commit,
        "quantization": "Q4_K_M",
        "path": path,
        "files": [{"path": Q4, "size": len(OLD), "sha256": sha256(OLD)}],
        "received_bytes": len(OLD),
    }


def test_a_dry_run_downloads_nothing(commit: str, hub: LoopbackHub, cli: Cli, home: Path) -> None:
    plan = cli("models", "pull", REPO, "--dry-run", "--json").json

    assert plan["files"] == [{"path": Q4, "size": len(OLD), "sha256": sha256(OLD)}]
    assert (plan["size"], plan["here"], plan["asks_for_consent"]) == (len(OLD), 0, False)
    assert not repo_dir(REPO).exists()
    assert not (home / "data" / "models.lock.json").exists()


@pytest.mark.parametrize("again", [f"{REPO}:q4_k_m", f"{REPO}:{Q4}", "mine"])
def test_a_second_pull_needs_no_network(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register, again: str
) -> None:
    register(pin(OLD), revision=commit)
    first = cli("models", "pull", again)
    hub.stop()

    second = cli("models", "pull", again, "--offline")

    assert (first.status, second.status) == (0, 0)
    assert second.stdout == first.stdout


def test_all_parts_come_and_the_first_is_named(hub: LoopbackHub, cli: Cli) -> None:
    parts = {f"Q8_0/m-Q8_0-0000{n}-of-00003.gguf": gguf_bytes() + bytes([n]) for n in (1, 2, 3)}
    commit = hub.commit(REPO, parts)

    result = cli("models", "pull", f"{REPO}:q8_0")

    snapshot = repo_dir(REPO) / "snapshots" / commit
    assert result.stdout == f"{snapshot / next(iter(parts))}\n"
    assert {path: (snapshot / path).read_bytes() for path in parts} == parts


@pytest.mark.parametrize("quantization", ["Q4_K", "Q5_K_M", "UD-Q4_K_M"])
def test_another_quantization_is_not_taken(
    commit: str, hub: LoopbackHub, cli: Cli, quantization: str
) -> None:
    result = cli("models", "pull", f"{REPO}:{quantization}")

    assert result.status == 3
    assert f'has no "{quantization}": it has Q4_K_M, Q8_0' in result.stderr
    assert not repo_dir(REPO).exists()


# ------------------------------------------------------------------------------------ pins and changes


@pytest.mark.parametrize(
    ("file", "revision"),
    [(pin(NEW), True), (pin(OLD, size=7), True), (pin(NEW), False), (f", size = {len(OLD) + 1}", False)],
    ids=["hash", "size", "hash, no revision", "size, no hash"],
)
def test_what_differs_from_its_pin_is_refused(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register, file: str, revision: bool
) -> None:
    register(file, **({"revision": commit} if revision else {}))

    result = cli("models", "pull", "mine", "--json")

    assert result.status == 4
    assert result.error["code"] == "integrity"
    assert not hub.bytes_sent(GET)
    assert not repo_dir(REPO).exists()


def test_an_unconfirmed_entry_is_recorded_at_the_first_pull(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register, home: Path
) -> None:
    register()

    assert cli("models", "pull", "mine").status == 0

    entry = locked(home)[REPO][Q4]
    assert (entry["commit"], entry["size"], entry["sha256"]) == (commit, len(OLD), sha256(OLD))


@pytest.mark.parametrize("spec", [REPO, "mine"])
def test_what_changed_is_taken_with_update_only(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register, home: Path, spec: str
) -> None:
    register()
    first = cli("models", "pull", spec)
    newer = hub.commit(REPO, {Q4: NEW})
    (home / "hf" / "hub" / "models--org--m-GGUF" / "snapshots" / commit / Q4).unlink()

    again = cli("models", "pull", spec)
    updated = cli("models", "pull", spec, "--update")

    assert again.stdout == first.stdout
    assert "has changed since" in again.stderr
    assert "--update" in again.stderr
    assert Path(updated.stdout.strip()).read_bytes() == NEW
    assert locked(home)[REPO][Q4]["commit"] == newer
    assert "changed" not in cli("models", "pull", spec).stderr


def test_what_may_have_changed_is_not_taken_either(hub: LoopbackHub, cli: Cli, commit: str) -> None:
    hub.repos[REPO].lfs = False  # git knows no SHA-256
    first = cli("models", "pull", REPO)
    hub.commit(REPO, {Q4: NEW})

    again = cli("models", "pull", REPO)
    updated = cli("models", "pull", REPO, "--update")

    assert (again.status, again.stdout) == (0, first.stdout), again.stderr
    assert "has changed since" in again.stderr
    assert Path(updated.stdout.strip()).read_bytes() == NEW


def test_of_two_files_of_one_quantization_none_is_taken(hub: LoopbackHub, cli: Cli) -> None:
    hub.commit(REPO, {f"a/{Q4}": OLD, f"b/{Q4}": NEW})
    for place in ("a", "b"):
        assert cli("models", "pull", f"{REPO}:{place}/{Q4}").status == 0

    result = cli("models", "pull", f"{REPO}:q4_k_m")

    assert result.status == 3
    assert f"2 files for q4_k_m: a/{Q4}, b/{Q4}" in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        f'{{"{REPO}": []}}',
        f'{{"{REPO}": {{"{Q4}": {{"commit": 1, "size": "", "sha256": 3, "date": 4}}}}}}',
        f'{{"{REPO}": {{"{Q4}": {{"more": 1}}}}}}',
    ],
)
def test_a_damaged_record_is_told(
    commit: str, hub: LoopbackHub, cli: Cli, home: Path, text: str
) -> None:
    (home / "data").mkdir()
    (home / "data" / "models.lock.json").write_text(text, encoding="utf-8")

    result = cli("models", "pull", REPO)

    assert result.status == 2
    assert "models.lock.json is damaged" in result.stderr


def test_another_revision_may_have_other_files(commit: str, hub: LoopbackHub, cli: Cli) -> None:
    cli("models", "pull", REPO)
    newer = hub.commit(REPO, {Q4: NEW})

    result = cli("models", "pull", f"{REPO}@{newer}:q4_k_m")

    assert result.status == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes() == NEW


def test_a_registry_with_a_newer_pin_goes_before_what_was_pulled(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register
) -> None:
    register(pin(OLD), revision=commit)
    cli("models", "pull", "mine")
    register(pin(NEW), revision=hub.commit(REPO, {Q4: NEW}))

    result = cli("models", "pull", "mine")

    assert result.status == 0, result.stderr
    assert Path(result.stdout.strip()).read_bytes() == NEW


@pytest.mark.parametrize("spec", [REPO, "mine"])
def test_a_forgotten_commit_is_told(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register, spec: str
) -> None:
    register(pin(OLD), revision=commit)
    if spec == REPO:
        cli("models", "pull", REPO)
    hub.commit(REPO, {Q4: NEW})
    hub.forget(REPO, commit)

    result = cli("models", "pull", spec)

    assert result.status == 3
    assert f'{REPO} has no revision "{commit}" any more' in result.stderr


def test_a_renamed_repository_is_found_under_its_old_name(
    commit: str, hub: LoopbackHub, cli: Cli
) -> None:
    hub.renamed["old/name-GGUF"] = REPO

    result = cli("models", "pull", "old/name-GGUF")

    assert result.status == 0
    assert f"old/name-GGUF is now called {REPO}" in result.stderr
    assert Path(result.stdout.strip()).read_bytes() == OLD


# ---------------------------------------------------------------------------------- access, licences


@pytest.mark.parametrize(
    ("kind", "token", "status", "words"),
    [
        ("missing", None, 3, ["no repository", "or it is private", "hf auth login"]),
        ("missing", TOKEN, 3, ["that your token may read"]),
        ("private", None, 3, ["or it is private", "hf auth login"]),
        ("private", STRANGER, 3, ["that your token may read"]),
        ("private", TOKEN, 0, []),
        ("gated", None, 4, ["is gated", f"https://huggingface.co/{REPO}", "hf auth login"]),
        ("gated", STRANGER, 4, ["your token has no access", f"https://huggingface.co/{REPO}"]),
        ("gated", TOKEN, 0, []),
        ("open", "hf_expired", 4, ["refuses your token", "hf auth login"]),
    ],
)
def test_who_may_not_read_is_told_what_to_do(
    commit: str, hub: LoopbackHub, cli: Cli, kind: str, token: str | None, status: int, words: list[str]
) -> None:
    hub.repos[REPO].gated, hub.repos[REPO].private = kind == "gated", kind == "private"
    repo = "org/none" if kind == "missing" else REPO

    result = cli("models", "pull", repo, env={"HF_TOKEN": token} if token else {})

    assert result.status == status, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert not status or not hub.bytes_sent(GET)


@pytest.mark.parametrize("spec", [REPO, "mine"])
def test_a_licence_is_accepted_once(
    commit: str, hub: LoopbackHub, cli: Cli, register: Register, spec: str, home: Path
) -> None:
    hub.repos[REPO].card = {"license": "gemma"}
    register(license="gemma", accept_license=True)

    refused = cli("models", "pull", spec)
    assert refused.status == 2
    assert "--accept-license" in refused.stderr
    assert "'gemma'" in refused.stderr
    assert not repo_dir(REPO).exists()

    assert cli("models", "pull", spec, "--accept-license").status == 0
    assert list(json.loads((home / "data" / "licenses.json").read_bytes())) == ["gemma"]
    assert cli("models", "pull", f"{REPO}:q8_0").status == 0


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 2), ("", 2)])
def test_a_licence_is_asked_for_on_a_terminal(
    commit: str, hub: LoopbackHub, answer: str, status: int, tmp_path: Path
) -> None:
    hub.repos[REPO].card = {"license": "gemma"}
    pull = pexpect.spawn(
        sys.executable, [*COMMAND[1:], "models", "pull", REPO], cwd=str(tmp_path), timeout=30
    )
    pull.expect_exact(f"https://huggingface.co/{REPO}")
    pull.expect_exact("Do you accept it? [y/N]")
    pull.sendline(answer)
    pull.expect(pexpect.EOF)
    pull.close()

    assert pull.exitstatus == status
    assert repo_dir(REPO).exists() is (status == 0)
    assert (tmp_path / "data" / "licenses.json").exists() is (status == 0)


# ---------------------------------------------------------------------------------------- no network


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (("--offline",), {}, "the network must not be used"),
        ((), {"HF_HUB_OFFLINE": "1"}, "the network must not be used"),
        ((), {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach 127.0.0.1:9: Connection refused"),
    ],
)
def test_without_network(
    commit: str, hub: LoopbackHub, cli: Cli, arguments: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    result = cli("models", "pull", REPO, *arguments, env=env)

    assert result.status == 4
    assert words in result.stderr
    assert "  try: " in result.stderr
    assert not hub.log


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1", "http://[::1", "http://"])
def test_an_endpoint_that_is_none_is_a_usage_error(cli: Cli, endpoint: str) -> None:
    result = cli("models", "pull", REPO, env={"HF_ENDPOINT": endpoint})

    assert (result.status, "HF_ENDPOINT" in result.stderr) == (2, True)


def test_a_revision_that_is_named_is_remembered_apart(hub: LoopbackHub, commit: str, cli: Cli) -> None:
    newer = hub.commit(REPO, {Q4: NEW})

    first = cli("models", "pull", f"{REPO}:Q4_K_M", "--json").json
    named = cli("models", "pull", f"{REPO}@{commit}:Q4_K_M", "--json").json
    again = cli("models", "pull", f"{REPO}:Q4_K_M", "--json").json

    assert (first["revision"], named["revision"], again["revision"]) == (newer, commit, newer)
    assert again["received_bytes"] == 0
