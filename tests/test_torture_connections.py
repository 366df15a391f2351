"""Hostile connections against the real server: raw bytes over sockets, with a stand-in for the model."""

import contextlib
import http.client
import random
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from images import encoded, noise
from servers import serving
from torture import amount, record

IMAGE = encoded(noise((20, 10)), "PNG")
Address = tuple[str, int]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[subprocess.Popen[str], Address]]:
    """Must be alive in the end, and have logged no fault of its own."""
    with serving() as (process, _, address):
        host, port = address.removeprefix("http://").split(":")
        assert process.stderr is not None
        said: list[str] = []
        reader = threading.Thread(target=said.extend, args=(process.stderr,))  # a full pipe would hold the server up
        reader.start()
        yield process, (host, int(port))
        assert process.poll() is None
        process.terminate()
        process.wait(20)
        reader.join(20)
        complaints = "".join(said)
        assert "Invalid HTTP request received." in complaints
        assert not re.search("Traceback|ERROR", complaints), complaints


@pytest.fixture
def address(server: tuple[subprocess.Popen[str], Address]) -> Iterator[Address]:
    """After each attack the server answers as if nothing had been."""
    yield server[1]
    with closing(http.client.HTTPConnection(*server[1], timeout=10)) as connection:
        connection.request("POST", "/caption", IMAGE)
        assert connection.getresponse().status == 200


def send(address: Address, data: bytes, *, close: bool = False) -> bytes:
    """What the server says to these bytes before it closes, or waits for more; b"" for nothing."""
    with socket.create_connection(address, timeout=2) as connection:
        try:
            connection.sendall(data)
            if close:
                return b""
            answer = b""
            with contextlib.suppress(TimeoutError):
                while part := connection.recv(65536):
                    answer += part
            return answer
        except (ConnectionResetError, BrokenPipeError):  # it had heard enough
            return b""


def status(answer: bytes) -> int:
    """Of a response; 0 for none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def post(headers: bytes, body: bytes = b"", path: bytes = b"/caption") -> bytes:
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n" + body


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(post(b"Content-Length: 99999999999\r\n"), id="a length far over the limit, and no body"),
        pytest.param(post(b"Content-Length: -1\r\n"), id="a negative length"),
        pytest.param(post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"), id="two lengths"),
        pytest.param(
            post(b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), id="length and chunks"
        ),
        pytest.param(post(b"Transfer-Encoding: chunked\r\n", b"zz\r\nhello\r\n0\r\n\r\n"), id="a chunk of zz bytes"),
        pytest.param(post(b"Transfer-Encoding: gzip\r\n"), id="an encoding that is not read"),
        pytest.param(post(b"".join(b"X-%d: y\r\n" % i for i in range(20_000))), id="twenty thousand headers"),
        pytest.param(post(b"X-Long: " + b"y" * 1_000_000 + b"\r\n"), id="a header of a megabyte"),
        pytest.param(b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a path of a megabyte"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50, id="a TLS greeting"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="an HTTP/2 greeting"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"POST /caption HTTP/9.9\r\nHost: x\r\n\r\n", id="HTTP of another day"),
        pytest.param(b"POST /caption HTTP/1.1\r\n\r\n", id="no host"),
    ],
)
def test_what_is_no_request_is_refused(address: Address, request_: bytes) -> None:
    begin = time.monotonic()
    assert status(send(address, request_)) in (0, 400, 404, 411, 413, 414, 431, 501, 505)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "text/html; charset=utf-16",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "multipart/mixed; boundary=a",
        "image/png; q=\xff",
        ";;;",
    ],
)
def test_a_content_type_that_lies_is_no_fault_of_the_server(address: Address, kind: str) -> None:
    answer = send(address, post(f"Content-Type: {kind}\r\nContent-Length: {len(IMAGE)}\r\n".encode("latin-1"), IMAGE))
    assert status(answer) == 200 or 400 <= status(answer) < 500


@pytest.mark.timeout(1800)
def test_junk_in_paths_and_queries(address: Address) -> None:
    rng = random.Random(3)
    paths = [
        b"/../../etc/passwd",
        b"/page/../../settings.py",
        b"/samples/..%2f..%2fapi.py",
        b"//caption",
        b"/%00",
        b"/%ff",
    ]
    paths += [
        b"/tasks/" + b"%2e" * 300,
        b"/detect?min_score=" + b"9" * 4000,
        b"/detect?" + b"&" * 5000,
        b"/tasks/%F0%9F",
    ]
    for _ in range(amount(100, 5_000)):
        junk = bytes(rng.choice(b"abc/%?&=#;:@!$'()*+,.~-_012\x80\xff") for _ in range(rng.randint(1, 60)))
        paths.append(rng.choice((b"/", b"/tasks/", b"/detect?", b"/page/", b"/samples/", b"/docs")) + junk)
    for path in paths:
        for answer in (
            send(address, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            send(address, post(b"Content-Length: %d\r\n" % len(IMAGE), IMAGE, path)),
        ):
            assert status(answer) < 500, path
            assert b"root:" not in answer, path
            assert b"import " not in answer, path


def test_bodies_that_never_end_hold_no_one_up(address: Address) -> None:
    begun = [socket.create_connection(address, timeout=10) for _ in range(50)]
    try:
        for connection in begun:
            connection.sendall(post(b"Content-Length: 1000\r\n", b"\x89PNG\r\n"))
        begin = time.monotonic()
        answer = send(address, post(b"Content-Length: %d\r\n" % len(IMAGE), IMAGE))
        assert status(answer) == 200
        assert time.monotonic() - begin < 2
    finally:
        for connection in begun:
            connection.close()


@pytest.mark.timeout(1800)
def test_who_leaves_is_not_missed(address: Address) -> None:
    whole = post(b"Content-Length: %d\r\n" % len(IMAGE), IMAGE)
    rng = random.Random(5)
    leaving = amount(100, 2_000)
    record("connections", left=leaving)
    for _ in range(leaving):
        send(address, whole[: rng.randrange(1, len(whole))], close=True)
    for _ in range(20):
        send(address, whole, close=True)  # and does not wait for the answer
