"""The loopback Hub's links and faults: each does what it says, to a client without habits of its own."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from tests.hub_server import Fault, LoopbackHub

REPO, MODEL = "org/tiny-GGUF", "tiny-Q4_K_M.gguf"
CONTENT = bytes(range(256)) * 800

Link = Callable[..., str]


@dataclass(frozen=True)
class Answer:
    """What came over the wire; `error` if the connection broke in the middle of the body."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    error: type[Exception] | None = None


def get(url: str, *, start: int = 0, timeout_s: float = 10) -> Answer:
    """Ask for a URL, from a byte on."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request(
            "GET",
            f"{parts.path}?{parts.query}",
            headers={"Range": f"bytes={start}-"} if start else {},
        )
        answer = connection.getresponse()
        body = b""
        error: type[Exception] | None = None
        try:
            while piece := answer.read1():
                body += piece
            if answer.length:
                error = http.client.IncompleteRead
        except OSError as broken:
            error = type(broken)
        return Answer(answer.status, answer.headers, body, error)
    finally:
        connection.close()


def wait_until_sent(hub: LoopbackHub, count: int) -> None:
    deadline = time.monotonic() + 30
    while hub.bytes_sent("/cdn") < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def link(hub: LoopbackHub) -> Link:
    """Ask for a new link to the content, as the Hub gives it."""
    hub.commit(REPO, {MODEL: CONTENT, "other.gguf": b"other"})

    def ask(path: str = MODEL) -> str:
        location = get(f"{hub.url}/{REPO}/resolve/main/{path}").headers["Location"]
        assert location
        return location

    return ask


def test_links_expire(hub: LoopbackHub, link: Link) -> None:
    url = link()
    assert get(url).body == CONTENT
    assert get(url[:-1]).status == 403
    other = urlsplit(link("other.gguf"))
    assert get(url.replace(urlsplit(url).query, other.query)).status == 403

    hub.link_uses = 2
    assert [get(url).status for _ in range(2)] == [200, 403]
    assert get(link()).status == 200

    hub.link_uses, hub.link_lifetime_s = 9, 0
    assert get(link()).status == 403


@pytest.mark.parametrize(
    ("start", "status", "part"),
    [(0, 200, slice(0, None)), (1000, 206, slice(1000, None)), (len(CONTENT), 416, slice(0, 0))],
)
def test_ranges(link: Link, start: int, status: int, part: slice) -> None:
    answer = get(link(), start=start)

    assert (answer.status, answer.body) == (status, CONTENT[part])


def test_reset_every_n_bytes_until_the_fault_is_used_up(hub: LoopbackHub, link: Link) -> None:
    url, step = link(), 30_000
    hub.faults.append(Fault("GET /cdn", times=4, reset_after=step))

    received, errors = b"", []
    while len(received) < len(CONTENT):
        answer = get(url, start=len(received))
        received += answer.body
        errors.append(answer.error)

    assert errors == [ConnectionResetError] * 4 + [None]
    assert received == CONTENT
    sent = [request.bytes_sent for request in hub.requests("GET /cdn")]
    assert sent == [step] * 4 + [len(CONTENT) - 4 * step]
    assert hub.bytes_sent("/cdn") == len(CONTENT)


def test_faults_of_the_body(hub: LoopbackHub, link: Link) -> None:
    url, size = link(), len(CONTENT)

    def struck(fault: Fault, start: int = 0) -> Answer:
        hub.faults[:] = [fault]
        answer = get(url, start=start)
        assert fault.times == 0
        assert get(url).body == CONTENT
        return answer

    early = struck(Fault("/cdn", close_after=1000))
    assert (early.body, early.error) == (CONTENT[:1000], http.client.IncompleteRead)
    assert early.headers["Content-Length"] == str(size)

    short = struck(Fault("/cdn", short_bytes=10))
    assert (short.body, short.error) == (CONTENT[:-10], None)

    corrupt = struck(Fault("/cdn", corrupt=True))
    assert [at for at in range(size) if corrupt.body[at] != CONTENT[at]] == [size // 2]

    whole = struck(Fault("/cdn", ignore_range=True), start=1000)
    assert (whole.status, whole.body) == (200, CONTENT)


def test_answers_with_an_error(hub: LoopbackHub, link: Link) -> None:
    url = link()
    hub.faults += [
        Fault("GET /cdn", status=503, headers={"Retry-After": "7"}),
        Fault("GET /cdn", status=503, times=2),
        Fault("GET /cdn", status=429),
        Fault("GET /cdn", drop_headers=("ETag",)),
    ]

    answers = [get(url) for _ in range(6)]

    assert [answer.status for answer in answers] == [503, 503, 503, 429, 200, 200]
    assert [answer.headers["Retry-After"] for answer in answers[:2]] == ["7", None]
    assert [bool(answer.headers["ETag"]) for answer in answers[4:]] == [False, True]
    hub.faults.append(Fault("GET /cdn", no_answer=True))
    with pytest.raises(http.client.RemoteDisconnected):
        get(url)
    assert hub.log[-1].status == 0


def test_slow_answers(hub: LoopbackHub, link: Link) -> None:
    url = link()
    hub.faults += [
        Fault("GET /cdn", delay_s=5),
        Fault("GET /cdn", stall_s=5, stall_after=1000),
        Fault("GET /cdn", stall_s=0.2),
    ]

    with pytest.raises(TimeoutError):
        get(url, timeout_s=0.2)
    stalled = get(url, timeout_s=0.2)
    assert (stalled.body, stalled.error) == (CONTENT[:1000], TimeoutError)
    started = time.monotonic()
    assert get(url).body == CONTENT
    assert time.monotonic() - started > 0.2


def test_slow_link_gives_time_to_kill_the_client(hub: LoopbackHub, link: Link) -> None:
    hub.faults.append(Fault("GET /cdn", bytes_per_s=100_000))
    code = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"
    with subprocess.Popen((sys.executable, "-c", code, link())) as client:
        wait_until_sent(hub, 20_000)
        client.kill()

    time.sleep(0.5)  # the Hub notices
    sent = hub.bytes_sent("/cdn")
    assert 20_000 <= sent < len(CONTENT) // 2
    time.sleep(0.3)
    assert hub.bytes_sent("/cdn") == sent


def test_stop_breaks_off_what_is_under_way(link: Link, hub: LoopbackHub) -> None:
    hub.faults.append(Fault("GET /cdn", stall_s=60, stall_after=1000))
    url = link()
    code = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"
    with subprocess.Popen((sys.executable, "-c", code, url), stderr=subprocess.DEVNULL) as client:
        wait_until_sent(hub, 1000)
        hub.stop()
        assert client.wait(timeout=5) != 0
    with pytest.raises(ConnectionRefusedError):
        get(url)


def test_bug_of_the_hub_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError), LoopbackHub() as hub:  # noqa: PT012
        hub.commit(REPO, {MODEL: b"model"})
        monkeypatch.setattr(hub, "signed_link", lambda blob: 1 // 0)
        with pytest.raises(http.client.RemoteDisconnected):
            get(f"{hub.url}/{REPO}/resolve/main/{MODEL}")
