"""`gptcli models list|show|verify|rm|import|search`, and completion: the models on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pexpect
import pytest

from gptcli.errors import NetworkError
from gptcli.models.cache import part_path, repo_dir
from gptcli.models.hub.client import Hub
from gptcli.models.pull import Wanted, carry_out, make_plan
from gptcli.models.spec import HubRef
from tests.conftest import COMMAND, Cli
from tests.hub_server import Fault, LoopbackHub
from tests.tiny_gguf import gguf_bytes

REPO = "org/m-GGUF"
Q4, Q8 = "m-Q4_K_M.gguf", "m-Q8_0.gguf"
SMALL, LARGE = gguf_bytes() + os.urandom(100_000), gguf_bytes() + os.urandom(200_000)


class Silence:
    """Is told how a transfer comes along, and does not care."""

    def progress(self, done: int) -> None: ...

    def checked(self, done: int) -> None: ...

    def note(self, text: str) -> None: ...


@pytest.fixture
def snapshot(hub: LoopbackHub) -> Path:
    """Two quantizations of a model, pulled."""
    hub.commit(REPO, {Q4: SMALL, Q8: LARGE})
    client, names = Hub(), ("Q4_K_M", "Q8_0")
    plans = [make_plan(client, Wanted(name, HubRef(REPO, name))) for name in names]
    pulled = [carry_out(client, plan, lambda *_: Silence()) for plan in plans]
    return pulled[0].path.parent


def test_an_empty_machine(cli: Cli) -> None:
    assert cli("models", "list", "--json").json == {"models": []}
    assert "no models are here yet" in cli("models", "list").stderr


def test_list_shows_what_is_here(snapshot: Path, cli: Cli) -> None:
    part = part_path("org/other", "0" * 64)
    part.parent.mkdir(parents=True)
    part.write_bytes(bytes(1000))

    models = {model["name"]: model for model in cli("models", "list", "--json").json["models"]}

    assert set(models) == {f"{REPO}:Q4_K_M", f"{REPO}:Q8_0", "org/other"}
    small = models[f"{REPO}:Q4_K_M"]
    assert small["path"] == str(snapshot / Q4)
    assert (small["size"], small["quantization"], small["state"]) == (len(SMALL), "Q4_K_M", "complete")
    assert (models["org/other"]["size"], models["org/other"]["state"]) == (1000, "incomplete")
    lines = cli("models", "list").stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "size"]  # none has an alias
    assert len(lines) == 4


# --------------------------------------------------------------------------------------------- verify


def test_verify_finds_the_damaged_file(snapshot: Path, cli: Cli, hub: LoopbackHub) -> None:
    hub.stop()
    fine = cli("models", "verify")
    blob = (snapshot / Q8).resolve()
    blob.write_bytes(b"x" + LARGE[1:])

    all_files = cli("models", "verify")
    one, other = cli("models", "verify", f"{REPO}:q4_k_m"), cli("models", "verify", f"{REPO}:q8_0")
    listed = cli("models", "verify", "--json")

    assert (fine.status, fine.stdout.count("ok")) == (0, 2)
    assert all_files.status == listed.status == other.status == 1
    assert one.status == 0
    assert f"DAMAGED  {REPO}:Q8_0  {Q8}\n" in all_files.stdout
    states = {file["name"]: file["state"] for file in listed.json["files"]}
    assert states == {f"{REPO}:Q4_K_M": "ok", f"{REPO}:Q8_0": "DAMAGED"}


def test_a_damaged_file_is_mended_as_verify_says(snapshot: Path, cli: Cli) -> None:
    (snapshot / Q8).resolve().write_bytes(bytes(len(LARGE)))
    assert "models rm SPEC, then gptcli models pull SPEC" in cli("models", "verify").stderr

    cli("models", "rm", f"{REPO}:q8_0", "-y")
    path = Path(cli("models", "pull", f"{REPO}:q8_0").stdout.strip())

    assert path.read_bytes() == LARGE
    assert cli("models", "verify").status == 0


def test_verify_of_what_is_not_here(cli: Cli) -> None:
    assert cli("models", "verify", REPO).status == 3


# ------------------------------------------------------------------------------------------------- rm


def test_rm_takes_one_quantization_of_two(snapshot: Path, cli: Cli) -> None:
    removed = cli("models", "rm", f"{REPO}:Q8_0", "-y", "--json").json

    assert removed == {"removed": [f"{REPO}:Q8_0"], "freed_bytes": len(LARGE)}
    assert (snapshot / Q4).read_bytes() == SMALL
    blobs = list((repo_dir(REPO) / "blobs").iterdir())
    assert [blob.name for blob in blobs] == [hashlib.sha256(SMALL).hexdigest()]


def test_rm_keeps_what_another_commit_shares(snapshot: Path, cli: Cli, hub: LoopbackHub) -> None:
    newer = hub.commit(REPO, {Q8: SMALL + b"!"})
    cli("models", "pull", f"{REPO}@{newer}:q4_k_m")

    result = cli("models", "rm", f"{REPO}@{newer}:q4_k_m", "-y", "--json")

    assert result.json["freed_bytes"] == 0
    assert (snapshot / Q4).read_bytes() == SMALL


def test_rm_takes_all_of_a_repository(hub: LoopbackHub, cli: Cli) -> None:
    hub.commit(REPO, {"a-Q8_0.gguf": SMALL, "b-Q8_0.gguf": LARGE})
    for name in ("a", "b"):
        cli("models", "pull", f"{REPO}:{name}-Q8_0.gguf")

    result = cli("models", "rm", REPO, "-y", "--json")

    assert result.json["freed_bytes"] == len(SMALL) + len(LARGE)
    assert not list((repo_dir(REPO).parent).glob("**/blobs/*"))


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 1)])
def test_rm_asks_on_a_terminal(snapshot: Path, answer: str, status: int, tmp_path: Path) -> None:
    rm = pexpect.spawn(
        sys.executable, [*COMMAND[1:], "models", "rm", REPO], cwd=str(tmp_path), timeout=30
    )
    rm.expect_exact("Remove 0.3 MB? [y/N]")
    rm.sendline(answer)
    rm.expect(pexpect.EOF)
    rm.close()

    assert rm.exitstatus == status
    assert (snapshot / Q8).exists() is (answer == "n")


def test_rm_without_a_yes_removes_nothing(snapshot: Path, cli: Cli) -> None:
    refused = cli("models", "rm", REPO)
    tried = cli("models", "rm", REPO, "--dry-run", "--json")

    assert (refused.status, "-y" in refused.stderr) == (2, True)
    assert tried.json == {"removed": [], "freed_bytes": len(SMALL) + len(LARGE)}
    assert (snapshot / Q4).exists()
    assert (snapshot / Q8).exists()
    assert cli("models", "rm").status == 2
    assert cli("models", "rm", "org/other", "-y").status == 3


def test_rm_of_a_file_is_refused(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    path.write_bytes(SMALL)

    assert cli("models", "rm", str(path), "-y").status == 2
    assert path.exists()


def test_rm_incomplete_takes_what_was_broken_off(snapshot: Path, cli: Cli) -> None:
    part = part_path(REPO, "0" * 64)
    part.write_bytes(bytes(1000))

    result = cli("models", "rm", "--incomplete", "-y", "--json")

    assert result.json["freed_bytes"] == 1000
    assert not part.exists()
    assert (snapshot / Q4).exists()


# --------------------------------------------------------------------------------------------- import


def test_an_imported_file_has_a_name_and_stays(cli: Cli, tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "My Model-q8_0.gguf"
    path.write_bytes(tiny_model.read_bytes())

    named = cli("models", "import", path.name, "--json")
    assert named.json == {"alias": "my-model-q8_0", "path": str(path)}
    listed = cli("models", "list", "--json").json["models"]
    assert [(m["name"], m["source"], m["path"]) for m in listed] == [
        ("my-model-q8_0", "import", str(path))
    ]
    answer = cli("generate", "-m", "my-model-q8_0", "-n", "1", "--json", "hello")
    assert answer.status == 0, answer.stderr
    assert answer.json["model"] == "my-model-q8_0"
    removed = cli("models", "rm", "my-model-q8_0")
    assert removed.status == 0
    assert path.read_bytes() == tiny_model.read_bytes()
    assert cli("generate", "-m", "my-model-q8_0", "hello").status == 3


def test_a_model_of_ollama_is_used_where_it_is(
    cli: Cli, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tiny_model.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    root = tmp_path / "ollama"
    blob = root / "blobs" / f"sha256-{digest}"
    manifest = root / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
    for path in (blob, manifest):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": f"sha256:{'0' * 64}"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"},
    ]
    manifest.write_text(json.dumps({"layers": layers}), encoding="utf-8")
    monkeypatch.setenv("OLLAMA_MODELS", str(root))

    named = cli("models", "import", "ollama:tiny", "--json")

    assert named.json == {"alias": "tiny", "path": str(blob)}
    assert cli("generate", "-m", "tiny", "-n", "1", "hello").status == 0
    assert cli("models", "verify", "tiny").stdout.startswith("ok ")
    blob.write_bytes(content[:-1] + b"x")
    assert cli("models", "verify", "tiny").status == 1
    assert cli("models", "import", "ollama:none").status == 3
    assert cli("models", "import", "ollama:../../x").status == 2


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("none.gguf",), 3),
        (("page.gguf",), 3),
        (("tiny.gguf", "--alias", "starter"), 2),
        (("tiny.gguf", "--alias", "../x"), 2),
        (("tiny.gguf", "--alias", "A\x1b[2J"), 2),
    ],
)
def test_what_cannot_be_imported(
    cli: Cli, tmp_path: Path, tiny_model: Path, arguments: tuple[str, ...], status: int
) -> None:
    (tmp_path / "page.gguf").write_text("<!DOCTYPE html>", encoding="utf-8")
    (tmp_path / "tiny.gguf").write_bytes(tiny_model.read_bytes())

    result = cli("models", "import", *arguments)

    assert result.status == status
    assert "\x1b" not in result.stderr
    assert cli("models", "list", "--json").json == {"models": []}


# ----------------------------------------------------------------------------------------------- show


def test_show_says_what_the_header_says(snapshot: Path, cli: Cli) -> None:
    facts = cli("models", "show", f"{REPO}:q4_k_m", "--json").json

    assert facts["path"] == str(snapshot / Q4)
    assert (facts["architecture"], facts["layers"], facts["context_length"]) == ("llama", 1, 64)
    assert facts["metadata"]["llama.embedding_length"] == 32
    assert cli("models", "show", REPO, "--get", "llama.context_length").status == 0
    got = cli("models", "show", f"{REPO}:Q8_0", "--get", "tokenizer.ggml.tokens").stdout
    assert got == "<unk>\n<s>\n</s>\n"
    assert cli("models", "show", REPO, "--get", "no.such.key").status == 2
    assert cli("models", "show", "org/none").status == 3


def test_show_of_a_known_model_that_is_not_here(cli: Cli) -> None:
    facts = cli("models", "show", "qwen3-4b", "--json").json

    assert (facts["alias"], facts["downloaded"]) == ("qwen3-4b", False)
    assert cli("models", "show", "no-such-model").status == 3


# --------------------------------------------------------------------------------- search, completion


def test_search_shows_the_most_downloaded_first(hub: LoopbackHub, cli: Cli) -> None:
    for name, downloads in (("org/a-GGUF", 5), ("org/b-GGUF", 50)):
        hub.commit(name, {Q4: SMALL})
        hub.repos[name].downloads = downloads
        hub.repos[name].card = {"license": "mit"}
    hub.commit("org/c-safetensors", {"m.safetensors": b"x"})

    found = cli("models", "search", "org", "--json").json["models"]

    assert [(each["repo"], each["downloads"]) for each in found] == [
        ("org/b-GGUF", 50),
        ("org/a-GGUF", 5),
    ]
    assert len(cli("models", "search", "org", "--limit", "1", "--json").json["models"]) == 1
    assert "nothing was found" in cli("models", "search", "zzz").stderr
    offline = cli("models", "search", "org", "--offline")
    assert (offline.status, offline.stdout) == (4, "")


def test_search_gives_up_quietly(
    hub: LoopbackHub, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Hub()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults.append(Fault(times=float("inf"), no_answer=True))

    with pytest.raises(NetworkError, match="cannot reach"):
        client.search("m", 5)

    assert len(hub.log) == 6
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("gptcli generate -m org/", {f"{REPO}:Q4_K_M", f"{REPO}:Q8_0"}),
        ("gptcli models pull qwen3-4", {"qwen3-4b"}),
        ("gptcli models rm mi", {"mine"}),
    ],
)
def test_completion_knows_the_models(
    snapshot: Path, cli: Cli, tiny_model: Path, words: str, expected: set[str]
) -> None:
    cli("models", "import", str(tiny_model), "--alias", "mine")

    result = cli(
        env={
            "_GPTCLI_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
    )

    assert expected <= set(result.stdout.split()), result.stderr
