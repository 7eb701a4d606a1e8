"""A reverse proxy on loopback that does to S3 requests what networks and servers do.

Faults are switched while it runs. What it refuses at random is decided by a seed and the number of
the request, so that the same requests meet the same faults. Every wait in it is bounded.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from s3_server import s3_environment

__all__ = ["FaultProxy", "Faults"]

BLOCK_BYTES = 16 << 10
STALL_LIMIT_S = 60.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close at once, by a reset
DROPPED = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass(slots=True)
class Faults:
    """What the proxy does now; fields may be set at any time."""

    refused_share: float = 0.0
    """Of the requests, answered with 503 SlowDown."""
    delay_s: float = 0.0
    """Every request waits so long before it is passed on."""
    is_down: bool = False
    """Connections end at once, without an answer."""
    upload_bytes_per_s: float | None = None
    """How fast bodies of requests are read; 0 reads nothing and answers nothing."""
    reset_downloads: int = 0
    """So many of the next answers break off in the middle of their body."""
    expired_tokens: set[str] = field(default_factory=set)
    """Session tokens that are refused with ExpiredToken."""
    refuses_all_tokens_but: set[str] | None = None
    """If set, any other session token (or none) is refused with ExpiredToken."""


class FaultProxy:
    """Between a client and a server at `upstream`; a context manager."""

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        target = urlsplit(upstream)
        assert target.hostname is not None
        assert target.port is not None
        self.upstream = (target.hostname, target.port)
        self.faults = Faults()
        self.seen: list[tuple[str, int]] = []
        """Method and status of every request, in the order of their ends; 0 for cut ones."""
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, status: int) -> int:
        """How many requests ended with a status."""
        return sum(one == status for _, one in list(self.seen))

    def note(self, method: str, status: int) -> None:
        """One request has ended."""
        with self._lock:
            self.seen.append((method, status))

    def draws_refusal(self) -> bool:
        """Whether this request is one of the refused share."""
        with self._lock:
            return self._random.random() < self.faults.refused_share

    def takes_reset(self) -> bool:
        """Whether this answer is to break off."""
        with self._lock:
            if self.faults.reset_downloads <= 0:
                return False
            self.faults.reset_downloads -= 1
            return True

    def pause(self, seconds: float) -> None:
        """Wait, unless the proxy ends."""
        if seconds:
            self._closing.wait(seconds)

    def stall(self) -> None:
        """Do nothing until the proxy ends or the limit is reached."""
        self._closing.wait(STALL_LIMIT_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    proxy: FaultProxy

    def server_bind(self) -> None:
        """With small buffers, so that a client feels how fast its bodies are read."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        super().server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are the point here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = STALL_LIMIT_S
    server: _Server

    def parse_request(self) -> bool:
        if self.server.proxy.faults.is_down:
            self._cut()
            return False
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        return super().handle_expect_100() if self._fault() is None else True

    def _serve(self) -> None:
        proxy, faults = self.server.proxy, self.server.proxy.faults
        fault = self._fault()
        if faults.upload_bytes_per_s == 0 and self._length():
            proxy.stall()
            self._cut()
            return
        if fault is not None:
            self._refuse(*fault)
            return
        body = self._read_body(faults.upload_bytes_per_s)
        proxy.pause(faults.delay_s)
        upstream = http.client.HTTPConnection(*proxy.upstream, timeout=STALL_LIMIT_S)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers_upstream(body).items():
                if name.lower() not in DROPPED:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            self._answer(upstream.getresponse())
        except OSError:
            self._cut()
        finally:
            upstream.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _headers_upstream(self, body: bytes) -> dict[str, str]:
        """As they came; those with a session token signed anew by the server's own key.

        The server knows no token service, so the proxy plays it.
        """
        headers = dict(self.headers.items())
        if "X-Amz-Security-Token" not in self.headers:
            return headers
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        kept = {
            name: value
            for name, value in headers.items()
            if name.lower() not in {*DROPPED, "authorization", "x-amz-security-token", "x-amz-date"}
        }
        request = AWSRequest(
            self.command, f"http://{self.headers['Host']}{self.path}", headers=kept, data=body
        )
        own = s3_environment("")
        keys = Credentials(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"])
        S3SigV4Auth(keys, "s3", own["AWS_DEFAULT_REGION"]).add_auth(request)
        return dict(request.headers.items())

    def _answer(self, reply: http.client.HTTPResponse) -> None:
        body = reply.read()
        length = reply.headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
        breaks = self.command == "GET" and len(body) > 1 and self.server.proxy.takes_reset()
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            if name.lower() not in {*DROPPED, "content-length"}:
                self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if breaks else body)
        if breaks:
            self._cut()
        else:
            self.server.proxy.note(self.command, reply.status)

    def _fault(self) -> tuple[int, str] | None:
        """Status and code of the refusal of this request, decided once."""
        if not hasattr(self, "_decided_for") or self._decided_for is not self.headers:
            self._decided_for, self._decision = self.headers, self._decide()
        return self._decision

    def _decide(self) -> tuple[int, str] | None:
        proxy, faults = self.server.proxy, self.server.proxy.faults
        token = self.headers.get("X-Amz-Security-Token", "")
        wanted = faults.refuses_all_tokens_but
        if token in faults.expired_tokens or (wanted is not None and token not in wanted):
            return 400, "ExpiredToken"
        return (503, "SlowDown") if proxy.draws_refusal() else None

    def _refuse(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>fault</Message></Error>".encode()
        self.close_connection = True  # the body of the request was not read
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self._drain()
        self.server.proxy.note(self.command, status)

    def _drain(self) -> None:
        """Without this a reset could overtake the refusal on its way."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(0.5)
        try:
            while self.connection.recv(BLOCK_BYTES):
                pass
        except OSError:
            pass

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", "0"))

    def _read_body(self, bytes_per_s: float | None) -> bytes:
        left, blocks = self._length(), []
        while left:
            block = self.rfile.read(min(left, BLOCK_BYTES))
            if not block:
                break
            left -= len(block)
            blocks.append(block)
            if bytes_per_s:
                time.sleep(len(block) / bytes_per_s)
        return b"".join(blocks)

    def _cut(self) -> None:
        self.close_connection = True
        self.server.proxy.note(getattr(self, "command", None) or "?", 0)
        try:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        except OSError:
            pass
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Nothing; `seen` tells."""
