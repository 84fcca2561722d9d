"""Pulls that go wrong: in the network, on the server, on the disk. Nothing is lost, or taken unseen."""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptcli.errors import GptcliError, IntegrityError, NetworkError, StorageError
from gptcli.models.cache import blob_path, part_path
from gptcli.models.hub import transfer
from gptcli.models.hub.client import Hub
from gptcli.models.hub.library import import_library
from gptcli.models.hub.transfer import Fetched, fetch
from gptcli.models.quants import RepoFile
from tests.conftest import COMMAND, Cli
from tests.hub_server import Fault, LoopbackHub
from tests.tiny_gguf import gguf_bytes

REPO, MODEL = "org/m-GGUF", "m-Q4_K_M.gguf"
HEADER_BYTES = 1 << 20  # what is read before a pull, to see whether the model fits
CONTENT = gguf_bytes() + os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ALWAYS = math.inf
GET = "GET /cdn"


class Notes:
    """Listens to a transfer."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def progress(self, done: int) -> None:
        assert done <= len(CONTENT)

    checked = progress

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def commit(hub: LoopbackHub) -> str:
    return hub.commit(REPO, {MODEL: CONTENT})


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(commit: str, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub's client, which waits for nobody."""
    import_library()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 1)
    yield Hub(sleep=slept.append)
    import_library().close_session()


def fetched(client: Hub, commit: str, report: Notes | None = None) -> Fetched:
    file = RepoFile(MODEL, len(CONTENT), SHA256)
    return fetch(client, REPO, commit, file, report or Notes())


def is_whole(found: Fetched) -> bool:
    return (
        found.path.read_bytes() == CONTENT and found.path.resolve() == blob_path(REPO, SHA256).resolve()
    )


RECOVERED = {
    "resets": Fault(GET, times=ALWAYS, reset_after=300_000),
    "closes": Fault(GET, times=ALWAYS, close_after=800_000),
    "reset before the body": Fault(GET, reset_after=0),
    "no answer": Fault(GET, times=2, no_answer=True),
    "stall": Fault(GET, stall_s=20, stall_after=500_000),
    "503": Fault(GET, times=3, status=503),
    "503 on HEAD": Fault("HEAD", times=3, status=503),
    "no answer to HEAD": Fault("HEAD", times=3, no_answer=True),
    "expired": Fault(GET, times=2, status=403),
    "short": Fault(GET, short_bytes=1000),
}


@pytest.mark.parametrize("fault", RECOVERED.values(), ids=RECOVERED)
def test_a_fault_that_passes_costs_no_byte_twice(
    hub: LoopbackHub, client: Hub, commit: str, fault: Fault
) -> None:
    hub.faults.append(fault)

    found = fetched(client, commit)

    assert is_whole(found)
    assert hub.bytes_sent(GET) <= 1.05 * len(CONTENT)
    assert not part_path(REPO, SHA256).exists()


def test_the_server_says_how_long_to_wait(
    hub: LoopbackHub, client: Hub, commit: str, slept: list[float]
) -> None:
    hub.faults += [
        Fault("HEAD", status=429, headers={"Retry-After": "7"}),
        Fault(GET, status=429, headers={"Retry-After": "9"}),
        Fault(GET, status=429, headers={"Retry-After": "86400"}),
    ]

    assert is_whole(fetched(client, commit))
    assert slept == [7, 9, 60]


def test_a_link_that_expires_between_is_asked_for_anew(
    hub: LoopbackHub, client: Hub, commit: str
) -> None:
    hub.link_uses = 1
    hub.faults.append(Fault(GET, times=3, reset_after=700_000))

    assert is_whole(fetched(client, commit))
    ranges = [request.range for request in hub.requests(GET)]
    assert ranges == [None, "bytes=700000-", "bytes=1400000-", "bytes=2100000-"]


@pytest.mark.parametrize(
    "fault",
    [Fault(GET, ignore_range=True), Fault(GET, headers={"Content-Range": "bytes 0-99/100"})],
    ids=["no ranges", "another range"],
)
def test_bytes_from_the_wrong_place_are_not_appended(
    hub: LoopbackHub, client: Hub, commit: str, fault: Fault
) -> None:
    hub.faults += [Fault(GET, reset_after=1_500_000), fault]

    assert is_whole(fetched(client, commit))


@pytest.mark.parametrize("broken_off", [False, True])
def test_a_corrupt_body_leaves_nothing(
    hub: LoopbackHub, client: Hub, commit: str, broken_off: bool
) -> None:
    if broken_off:
        hub.faults.append(Fault(GET, reset_after=1_500_000))
    hub.faults.append(Fault(GET, corrupt=True))

    with pytest.raises(IntegrityError, match="nothing was kept") as caught:
        fetched(client, commit)

    assert caught.value.details["expected"] == SHA256
    assert not list(blob_path(REPO, SHA256).parent.iterdir())
    assert is_whole(fetched(client, commit))


def test_more_bytes_than_published_leave_nothing(
    hub: LoopbackHub, client: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = client.locate(REPO, commit, MODEL)
    longer = hub.commit(REPO, {"longer.gguf": CONTENT + b"!"})
    place = client.locate(REPO, longer, "longer.gguf").url
    replaced = type(located)(place, located.etag, located.size)
    monkeypatch.setattr(client, "locate", lambda *_: replaced)

    with pytest.raises(IntegrityError, match="sends more of"):
        fetched(client, commit)

    assert not list(blob_path(REPO, SHA256).parent.iterdir())


STUBBORN = {
    "resets": Fault(GET, times=ALWAYS, reset_after=1000),
    "no answer": Fault(GET, times=ALWAYS, no_answer=True),
    "503": Fault(GET, times=ALWAYS, status=503),
    "403": Fault(GET, times=ALWAYS, status=403),
    "404": Fault(GET, times=ALWAYS, status=404),
    "short": Fault(GET, times=ALWAYS, short_bytes=1000),
    "HEAD": Fault("HEAD", times=ALWAYS, no_answer=True),
    "no metadata": Fault("HEAD", times=ALWAYS, drop_headers=("X-Repo-Commit",)),
    "no hash": Fault("HEAD", times=ALWAYS, headers={"X-Linked-Etag": '"abc"'}),
}


@pytest.mark.parametrize("fault", STUBBORN.values(), ids=STUBBORN)
def test_a_server_that_never_recovers_is_given_up(
    hub: LoopbackHub, client: Hub, commit: str, slept: list[float], fault: Fault
) -> None:
    hub.faults.append(fault)

    with pytest.raises(GptcliError) as caught:
        fetched(client, commit)

    assert caught.value.exit_status in (3, 4)
    assert "sig=" not in f"{caught.value.message} {caught.value.hint}"
    assert sum(slept) < 120
    assert len(hub.log) < 40
    part = part_path(REPO, SHA256)
    assert not part.exists() or part.read_bytes() == CONTENT[: part.stat().st_size] != b""


def test_a_server_that_goes_away_before_the_link_is_made(
    hub: LoopbackHub, client: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults += [Fault("HEAD"), Fault("HEAD", times=ALWAYS, status=503)]

    with pytest.raises(NetworkError, match="answers with status 503"):
        fetched(client, commit)

    hub.faults.clear()
    assert is_whole(fetched(client, commit))
    assert hub.bytes_sent(GET) == len(CONTENT)


def test_a_server_that_drips_is_given_up(
    hub: LoopbackHub, client: Hub, commit: str, slept: list[float]
) -> None:
    hub.faults.append(Fault(GET, times=ALWAYS, close_after=100))

    with pytest.raises(NetworkError):
        fetched(client, commit)

    assert len(hub.requests(GET)) == 7


@pytest.mark.parametrize("size", [1000, len(CONTENT)])
def test_a_damaged_blob_is_replaced(hub: LoopbackHub, client: Hub, commit: str, size: int) -> None:
    report = Notes()
    blob = blob_path(REPO, SHA256)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(size))

    assert is_whole(fetched(client, commit, report))
    assert report.notes == [f"{MODEL} in the cache is damaged: downloading it again"]
    before = len(hub.requests(GET))
    assert is_whole(fetched(client, commit))
    assert len(hub.requests(GET)) == before


@pytest.mark.parametrize("part", [b"x" * 1000, b"x" * (len(CONTENT) + 1)], ids=["wrong", "too long"])
def test_a_part_that_is_not_ours_does_not_count(client: Hub, commit: str, part: bytes) -> None:
    path = part_path(REPO, SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(part)

    if len(part) < len(CONTENT):
        with pytest.raises(IntegrityError):
            fetched(client, commit)
        assert not path.exists()
    assert is_whole(fetched(client, commit))


# ------------------------------------------------------------------------------------------ the disk


def test_too_small_a_disk_is_told_before_the_download(
    hub: LoopbackHub, client: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=len(CONTENT) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)

    with pytest.raises(StorageError, match=r"no room for m-Q4_K_M\.gguf: 3 MB are needed"):
        fetched(client, commit)

    assert not hub.bytes_sent(GET)


def test_a_disk_that_fills_up_keeps_what_is_there(
    client: Hub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(transfer._Transfer):
        def _receive(self, part: Any, begun: int) -> None:
            part.write(CONTENT[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "_Transfer", Full)
        with pytest.raises(StorageError, match="the disk is full"):
            fetched(client, commit)

    assert part_path(REPO, SHA256).read_bytes() == CONTENT[:1000]
    found = fetched(client, commit)
    assert is_whole(found)
    assert found.received == len(CONTENT) - 1000


def test_a_cache_that_cannot_be_written(hub: LoopbackHub, commit: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = cli("models", "pull", REPO, env={"HF_HUB_CACHE": str(tmp_path / "file" / "hub")})

    assert result.status == 1
    assert "cannot write" in result.stderr
    assert "HF_HUB_CACHE=" in result.stderr


# -------------------------------------------------------------------------- processes that are stopped


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (*COMMAND, "models", "pull", REPO, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_part(size: int) -> Path:
    part, deadline = part_path(REPO, SHA256), time.monotonic() + 30
    while time.monotonic() < deadline:
        if part.is_file() and part.stat().st_size >= size:
            return part
        time.sleep(0.01)
    pytest.fail("nothing arrives")


SLOW = {"match": GET, "times": ALWAYS, "bytes_per_s": 2_500_000}


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_pull_that_was_stopped_goes_on(
    hub: LoopbackHub, commit: str, cli: Cli, stop: signal.Signals
) -> None:
    hub.faults.append(Fault(**SLOW))  # type: ignore[arg-type]
    pull = started()
    part = wait_for_part(500_000)
    pull.send_signal(stop)
    out, err = pull.communicate(timeout=30)
    hub.faults.clear()
    here = part.stat().st_size
    before = len(hub.log)

    result = cli("models", "pull", REPO, "--json")

    assert out == ""
    if stop == signal.SIGINT:
        assert pull.returncode == 130
        assert f"stopped at {here / 1e6:.1f} MB; the same command goes on from there" in err
    assert result.json["received_bytes"] == len(CONTENT) - here
    assert f"bytes={here}-" in [request.range for request in hub.log[before:]]
    assert Path(result.json["path"]).read_bytes() == CONTENT
    assert not part.exists()


def test_two_pulls_at_once_are_one_download(hub: LoopbackHub, commit: str) -> None:
    hub.faults.append(Fault(**SLOW))  # type: ignore[arg-type]
    pulls = [started() for _ in range(2)]
    outputs = [pull.communicate(timeout=60) for pull in pulls]

    assert [pull.returncode for pull in pulls] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    assert sum("waiting for it" in err for _, err in outputs) == 1
    assert hub.bytes_sent(GET) <= len(CONTENT) + 2 * HEADER_BYTES


@pytest.mark.parametrize("first", ["hf", "gptcli"])
def test_hf_and_gptcli_at_once_are_one_download(hub: LoopbackHub, commit: str, first: str) -> None:
    hub.faults.append(Fault(**SLOW))  # type: ignore[arg-type]

    def hf() -> subprocess.Popen[str]:
        return subprocess.Popen(
            ("hf", "download", REPO, MODEL),
            env={**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    begun = hf() if first == "hf" else started()
    deadline = time.monotonic() + 30
    while hub.bytes_sent(GET) < HEADER_BYTES + 500_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    other = started() if first == "hf" else hf()
    outputs = [process.communicate(timeout=60) for process in (begun, other)]

    assert [begun.returncode, other.returncode] == [0, 0], outputs
    assert hub.bytes_sent(GET) <= len(CONTENT) + HEADER_BYTES


def test_an_address_that_expires_before_the_header_is_read_costs_nothing(
    hub: LoopbackHub, cli: Cli
) -> None:
    hub.commit(REPO, {MODEL: CONTENT})
    hub.faults.append(Fault(GET, status=403))

    result = cli("models", "pull", f"{REPO}:Q4_K_M")

    assert result.status == 0
    assert "it fits" in result.stderr


def test_a_refusal_for_good_names_the_repository(hub: LoopbackHub, cli: Cli) -> None:
    hub.commit(REPO, {MODEL: CONTENT})
    hub.faults.append(Fault(GET, status=403, times=ALWAYS))

    error = cli("models", "pull", f"{REPO}:Q4_K_M", "--json").error

    assert error["code"] == "network"
    assert error["message"].endswith(f"refuses access to {REPO}")
