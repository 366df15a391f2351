"""A proxy that breaks what passes through it, for tests of what S3 and the network do to the function."""

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class Fault(StrEnum):
    """What happens to one request."""

    THROTTLED = "503 SlowDown"
    FAILED = "500 InternalError"
    DENIED = "403 AccessDenied"
    ELSEWHERE = "301 PermanentRedirect"  # the bucket is in another region
    CONFLICT = "409 ConditionalRequestConflict"
    DROPPED = "closed, unheard"
    LOST = "carried out, and closed before the answer"
    SLOW = "a body in drops"
    STALLED = "a body that stops, and never ends"
    CUT = "a body that is closed midway"
    FLIPPED = "a body with one bit wrong"


@dataclass
class Proxy:
    """`rule` says what happens to a request, by its method and path; it may wait."""

    address: str
    rule: Callable[[str, str], Fault | None] = lambda method, path: None
    lost: Callable[[], object] = lambda: None  # what happens before a `LOST` connection is closed
    seen: list[tuple[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def before(address: str) -> Iterator[Proxy]:
    """A proxy before the server of this address."""
    proxy = Proxy("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, *_: Any) -> None:
            pass

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            proxy.seen.append((self.command, self.path))
            fault = proxy.rule(self.command, self.path)
            if fault in (Fault.THROTTLED, Fault.FAILED, Fault.DENIED, Fault.ELSEWHERE, Fault.CONFLICT):
                status, code = fault.split()
                self._answer(int(status), {"x-amz-bucket-region": "ap-south-1"}, _problem(code))
                return
            if fault is Fault.DROPPED:
                self.close_connection = True
                return
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
            connection.putrequest(self.command, self.path, skip_accept_encoding=True, skip_host=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            if fault is Fault.LOST:
                proxy.lost()
                self.close_connection = True
                return
            self._answer(answer.status, dict(answer.getheaders()), data, fault)

        def _answer(self, status: int, headers: dict[str, str], data: bytes, fault: Fault | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            told = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", told)
            self.end_headers()
            if self.command == "HEAD":
                return
            half = len(data) // 2
            if fault is Fault.SLOW:
                for start in range(0, len(data), max(1, len(data) // 20)):
                    self.wfile.write(data[start : start + max(1, len(data) // 20)])
                    self.wfile.flush()
                    time.sleep(0.02)
            elif fault in (Fault.STALLED, Fault.CUT):
                self.wfile.write(data[:half])
                self.wfile.flush()
                if fault is Fault.STALLED:
                    proxy.ended.wait(20)
                self.close_connection = True
            elif fault is Fault.FLIPPED:
                self.wfile.write(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
            else:
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815  # the library's names

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:
            pass  # whoever was cut off or killed

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        proxy.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield proxy
        finally:
            proxy.ended.set()
            server.shutdown()
            thread.join(10)


def _problem(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>secret of the proxy</Message></Error>".encode()


def at_random(seed: int, share: float, faults: tuple[Fault, ...]) -> Callable[[str, str], Fault | None]:
    """A rule: this share of all requests meets one of these faults."""
    rng, lock = random.Random(seed), threading.Lock()

    def rule(*_: str) -> Fault | None:
        with lock:
            return rng.choice(faults) if rng.random() < share else None

    return rule
