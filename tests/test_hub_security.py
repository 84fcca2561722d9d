"""What a hostile Hub can reach: no file outside the cache, no token, no terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gptcli.models.cache import repo_dir
from gptcli.models.hub.client import Hub, keep_token_home
from tests.conftest import STRANGER, TOKEN, Cli, Result
from tests.hub_server import Fault, LoopbackHub, tree_entry
from tests.tiny_gguf import gguf_bytes

REPO, MODEL = "org/m-GGUF", "m-Q4_K_M.gguf"
CONTENT = gguf_bytes() + os.urandom(100_000)
GET = "GET /cdn"
ALWAYS = float("inf")

HOSTILE = (
    "../../../../evil-Q8_0.gguf",
    "/tmp/evil-Q8_0.gguf",
    "a/../../evil-Q8_0.gguf",
    "..\\evil-Q8_0.gguf",
    "C:\\evil-Q8_0.gguf",
    "evil\x1b]0;x\x07-Q8_0.gguf",
    "evil\n-Q8_0.gguf",
    "\u202eevil-Q8_0.gguf",
    "a//evil-Q8_0.gguf",
    "./evil-Q8_0.gguf",
)


@pytest.fixture
def commit(hub: LoopbackHub) -> str:
    return hub.commit(REPO, {MODEL: CONTENT})


def is_clean(result: Result) -> bool:
    """Tell whether a terminal may show it: no escape sequence, no secret."""
    text = result.stdout + result.stderr
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202e]", text), repr(text)
    assert "sig=" not in text
    assert TOKEN not in text
    assert STRANGER not in text
    return True


def test_hostile_paths_are_never_offered(
    commit: str, hub: LoopbackHub, cli: Cli, tmp_path: Path
) -> None:
    hub.extra_tree_entries += [tree_entry(path, 1000, sha256="0" * 64) for path in HOSTILE]

    taken = cli("models", "pull", REPO)
    asked = cli("models", "pull", f"{REPO}:Q8_0", "--debug")

    assert (taken.status, asked.status) == (0, 3)
    assert "it has Q4_K_M\n" in asked.stderr
    assert is_clean(taken)
    assert is_clean(asked)
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/evil-Q8_0.gguf").exists()


@pytest.mark.parametrize(
    ("endpoint", "is_sent"),
    [
        ("https://example.invalid", True),
        ("http://127.0.0.1:8080", True),
        ("http://[::1]:8080", True),
        ("http://localhost", True),
        ("http://example.invalid", False),
        ("http://127.0.0.1.example.invalid", False),
        ("http://10.0.0.1", False),
        ("http://localhost@example.invalid", False),
    ],
)
def test_a_token_is_not_sent_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, is_sent: bool
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    hub = Hub()

    assert (hub.token == TOKEN) is is_sent
    assert bool(hub.warnings) is not is_sent
    assert TOKEN not in str(hub.warnings)


def test_the_cdn_never_sees_the_token(commit: str, hub: LoopbackHub, cli: Cli) -> None:
    hub.repos[REPO].gated = True
    hub.faults.append(Fault(GET, times=2, reset_after=60_000))

    assert cli("models", "pull", REPO, env={"HF_TOKEN": TOKEN}).status == 0

    assert {request.authorization for request in hub.requests("/cdn")} == {None}
    assert {request.authorization for request in hub.requests(r" /(api|org)")} == {f"Bearer {TOKEN}"}


def test_nothing_but_the_model_is_asked_for(commit: str, hub: LoopbackHub, cli: Cli) -> None:
    cli("models", "pull", REPO)
    cli("models", "search", "m")
    cli("models", "rm", REPO, "-y")

    wanted = rf"/api/models(\?|/{REPO}(/revision|/tree))|/{REPO}/resolve/|/cdn/"
    assert [request.line for request in hub.log if not re.search(wanted, request.line)] == []


FAILURES = {
    "404": [Fault(GET, times=ALWAYS, status=404)],
    "416": [Fault(GET, times=ALWAYS, status=416)],
    "503": [Fault(GET), Fault(GET, times=ALWAYS, status=400)],
    "short": [Fault(GET, times=ALWAYS, short_bytes=1000)],
    "corrupt": [Fault(GET, times=ALWAYS, corrupt=True)],
    "no repository": [Fault("/api", times=ALWAYS, status=401)],
    "not a Hub": [Fault("HEAD", times=ALWAYS, drop_headers=("X-Repo-Commit",))],
    "no such file": [Fault("HEAD", times=ALWAYS, status=404)],
}


@pytest.mark.parametrize("faults", FAILURES.values(), ids=FAILURES)
def test_a_failure_shows_no_secret(commit: str, hub: LoopbackHub, cli: Cli, faults: list[Fault]) -> None:
    hub.faults += faults

    result = cli(
        "models", "pull", REPO, "--debug", "--json", "-v", env={"HF_TOKEN": TOKEN, "HF_DEBUG": "1"}
    )

    assert result.status in (3, 4), result.stderr
    assert result.stdout == ""
    assert is_clean(result)
    assert "Traceback" in result.stderr
    assert result.error["message"]


def test_a_hubs_words_do_not_reach_the_terminal_raw(commit: str, hub: LoopbackHub, cli: Cli) -> None:
    escape = "\x1b]0;owned\x07\x1b[2J"
    hub.repos[REPO].card = {"license": f"gemma{escape}", "license_link": f"https://example.org/{escape}"}
    evil = f"org/evil{escape}"
    hub.commit(evil, {MODEL: CONTENT})

    assert is_clean(cli("models", "pull", REPO, "--dry-run"))
    assert is_clean(cli("models", "pull", REPO, "--debug"))
    assert is_clean(cli("models", "search", "evil"))
    assert is_clean(cli("models", "search", "evil", "--json"))
    assert is_clean(cli("models", "pull", f"org/m{escape}"))
    assert is_clean(cli("models", "pull", f"{REPO}:{escape}"))
    for command in ("pull", "rm", "show", "import", "verify"):
        assert is_clean(cli("models", command, f"./no{escape}.gguf"))
    assert is_clean(cli("models", "import", f"ollama:no{escape}"))


def test_a_cache_with_odd_names_is_listed_clean(commit: str, hub: LoopbackHub, cli: Cli) -> None:
    path = Path(cli("models", "pull", REPO).stdout.strip())
    for name in ("m\x1b[2J-Q8_0.gguf", "m\n-Q8_0.gguf"):
        (path.parent / name).symlink_to(path.resolve())
    (repo_dir(REPO).parent / "models--org--x\x1b[2J").mkdir()

    listed = cli("models", "list")

    assert is_clean(listed)
    assert len(listed.stdout.splitlines()) == 2


def test_rm_does_not_follow_a_link_out_of_the_cache(
    commit: str, hub: LoopbackHub, cli: Cli, tmp_path: Path
) -> None:
    path = Path(cli("models", "pull", REPO).stdout.strip())
    outside = tmp_path / "precious.gguf"
    outside.write_bytes(CONTENT)
    path.unlink()
    path.symlink_to(outside)

    cli("models", "rm", REPO, "-y")

    assert outside.read_bytes() == CONTENT


def test_the_token_follows_no_link_to_another_origin() -> None:
    import httpx2

    seen: dict[str, str | None] = {}

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen[request.url.host] = request.headers.get("Authorization")
        return httpx2.Response(200)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as session:
        keep_token_home(session, "https://elsewhere.example")
        keep_token_home(session, "https://hub.example")  # the latest counts
        for host in ("hub.example", "elsewhere.example", "hub.example.evil.example"):
            session.get(f"https://{host}/api", headers={"Authorization": "Bearer hf_secret"})

    assert seen == {
        "hub.example": "Bearer hf_secret",
        "elsewhere.example": None,
        "hub.example.evil.example": None,
    }
