"""A small HTTP server for tests, that logs what it is asked and lets chosen requests go wrong.

The Hub of hub_server.py is built on it; here is what any server needs: answers, faults and the log.
"""

from __future__ import annotations

import fcntl
import io
import json
import re
import socket
import socketserver
import struct
import sys
import termios
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, BinaryIO

_CHUNK_BYTES = 1 << 16
_IDLE_TIMEOUT_S = 60
_DRAIN_TIMEOUT_S = 10


@dataclass
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD /path?query" has a match for `match`.

    One fault may do several things; of several faults that match, the first in the list strikes.
    Counts of bytes are counts of the answer's body, so with a Range they start at its first byte.
    """

    match: str = ""
    """A regular expression; "" is every request."""
    times: float = 1
    """How many requests are still struck; math.inf for all."""
    status: int = 0
    """Answer with this error instead, and no X-Error-Code."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers added to the answer, such as {"Retry-After": "1"}."""
    drop_headers: tuple[str, ...] = ()
    """Headers left out of the answer."""
    no_answer: bool = False
    """Close the connection without a word."""
    delay_s: float = 0
    """Wait before the answer."""
    bytes_per_s: float = 0
    """Send the body no faster than this."""
    stall_s: float = 0
    """Pause in the middle of the body, or at `stall_after`."""
    stall_after: int | None = None
    reset_after: int | None = None
    """Reset the connection (TCP RST) after this many bytes, if the body has more."""
    close_after: int | None = None
    """Close the connection in order (TCP FIN) after this many bytes, if the body has more."""
    short_bytes: int = 0
    """Serve a file as if it were this much shorter, with a Content-Length to match."""
    corrupt: bool = False
    """Flip the bits of the byte in the middle of the body."""
    ignore_range: bool = False
    """Answer a request for a range with the whole file and 200."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came, and what was sent for it so far."""

    method: str
    path: str
    """With the query."""
    host: str
    range: str | None
    authorization: str | None
    status: int = 0
    """Of the answer; 0 if there was none."""
    bytes_sent: int = 0
    """Bytes of the answer's body handed to the network, without headers."""

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class Traffic:
    """What one or several ports share: the faults to come, the log, and the order to stop."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        """Faults to come."""
        self.stopping = threading.Event()
        self.bugs: list[BaseException] = []
        """What went wrong in the server itself, which clients see as a lost connection."""
        self._log: list[Request] = []
        self._lock = threading.Lock()

    @property
    def log(self) -> list[Request]:
        """All requests so far, in the order in which they came."""
        with self._lock:
            return list(self._log)

    def requests(self, match: str = "") -> list[Request]:
        """Return the logged requests whose "METHOD /path?query" has a match for this expression."""
        return [request for request in self.log if re.search(match, request.line)]

    def bytes_sent(self, match: str = "") -> int:
        """Return the bytes of bodies sent to the requests that `requests` finds."""
        return sum(request.bytes_sent for request in self.requests(match))

    def add_request(self, request: Request) -> int:
        """Log a request; return its number, for `update_request`."""
        with self._lock:
            self._log.append(request)
            return len(self._log) - 1

    def update_request(self, number: int, *, status: int = 0, sent: int = 0) -> None:
        with self._lock:
            seen = self._log[number]
            self._log[number] = replace(
                seen, status=status or seen.status, bytes_sent=seen.bytes_sent + sent
            )

    def take_fault(self, line: str) -> Fault:
        """Return the fault that strikes this request, one use of it gone, or one that does nothing."""
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.match, line):
                    fault.times -= 1
                    return fault
        return Fault()


class Listener(socketserver.ThreadingTCPServer):
    """A port of 127.0.0.1, served by threads of its own until it is stopped."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[Handler], traffic: Traffic, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.traffic = traffic
        self._open: set[Any] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        """Close the port and every connection: clients find nobody there any more."""
        self.shutdown()
        self.server_close()
        self._thread.join()
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed meanwhile

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # Clients that hang up belong to the tests.
        if error is not None and not isinstance(error, OSError):
            self.traffic.bugs.append(error)


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """An error to answer a request with. `code` is the X-Error-Code."""

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection; a subclass says how, in `route`."""

    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_TIMEOUT_S

    fault: Fault
    body: bytes
    """What the request carried."""

    def route(self) -> None:
        """Answer the request, or raise Refusal."""
        raise NotImplementedError

    def do_GET(self) -> None:
        traffic = self.server.traffic
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            method=self.command,
            path=self.path,
            host=self.headers.get("Host") or "",
            range=self.headers.get("Range"),
            authorization=self.headers.get("Authorization"),
        )
        self._number = traffic.add_request(request)
        self.fault = traffic.take_fault(request.line)
        self._wait(self.fault.delay_s)
        if self.fault.no_answer:
            self.close_connection = True
            return
        try:
            if self.fault.status:
                raise Refusal(self.fault.status, "injected fault")
            self.route()
        except Refusal as refusal:
            code = {"X-Error-Code": refusal.code} if refusal.code else {}
            headers = {"X-Error-Message": refusal.message, **code, **refusal.headers}
            self.answer_json({"error": refusal.message}, refusal.status, headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet: Traffic has the log."""

    def answer_json(
        self, value: object, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        body = json.dumps(value).encode()
        content_type = {"Content-Type": "application/json; charset=utf-8"}
        self.answer(status, {**content_type, **(headers or {})}, io.BytesIO(body), len(body))

    def answer_file(self, file: BinaryIO, size: int, headers: Mapping[str, str]) -> None:
        """Answer with a file of `size` bytes, or the one range of it that was asked for."""
        size -= self.fault.short_bytes
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if asked is None or asked[0] == "bytes=-" or self.fault.ignore_range:
            self.answer(200, headers, file, size)
            return
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        if first > last:
            self.answer(416, {"Content-Range": f"bytes */{size}"})
            return
        file.seek(first)
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.answer(206, headers, file, last - first + 1)

    def answer(
        self, status: int, headers: Mapping[str, str], body: BinaryIO | None = None, size: int = 0
    ) -> None:
        """Answer with `size` bytes of `body`, as far as the request's fault lets it."""
        self.server.traffic.update_request(self._number, status=status)
        self.send_response(status)
        for name, value in {"Content-Length": str(size), **headers, **self.fault.headers}.items():
            if name not in self.fault.drop_headers:
                self.send_header(name, value)
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self._send(body, size)

    def _send(self, body: BinaryIO, size: int) -> None:
        fault, traffic = self.fault, self.server.traffic
        cuts = [at for at in (fault.reset_after, fault.close_after) if at is not None and at < size]
        end = min([size, *cuts])
        stall_at = fault.stall_after if fault.stall_after is not None else size // 2
        chunk_bytes = _CHUNK_BYTES
        if fault.bytes_per_s:
            chunk_bytes = max(1, min(chunk_bytes, int(fault.bytes_per_s / 10)))
        sent = 0
        while sent < end:
            if fault.stall_s and sent == stall_at:
                self._wait(fault.stall_s)
            until = min(stall_at, end) if fault.stall_s and sent < stall_at else end
            chunk = body.read(min(chunk_bytes, until - sent))
            middle = size // 2 - sent
            if fault.corrupt and 0 <= middle < len(chunk):
                chunk = chunk[:middle] + bytes([chunk[middle] ^ 0xFF]) + chunk[middle + 1 :]
            # Counted first: who has read the last byte may look into the log at once.
            traffic.update_request(self._number, sent=len(chunk))
            self.wfile.write(chunk)
            sent += len(chunk)
            if fault.bytes_per_s:
                self._wait(len(chunk) / fault.bytes_per_s)
        if cuts:
            self._hang_up(reset=end == fault.reset_after)

    def _wait(self, seconds: float) -> None:
        if seconds and self.server.traffic.stopping.wait(seconds):
            raise ConnectionAbortedError("the server stops")

    def _hang_up(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            # A reset throws away what is still to be sent, and closing without lingering is one.
            deadline = time.monotonic() + _DRAIN_TIMEOUT_S
            while _unsent_bytes(self.connection) and time.monotonic() < deadline:
                self._wait(0.005)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _unsent_bytes(connection: socket.socket) -> int:
    """Return how many bytes the other side has not confirmed yet."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
