"""Hostile images against the real server: a process of its own, the miniature, a real socket."""

import http.client
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from images import encoded, noise
from mutations import mutations
from servers import serving
from torture import amount, record, resident

SEED = 20_240_817
SLOWEST = 2.0  # seconds
GROWTH = 50_000_000  # bytes
WARM_UP = 300  # requests: the allocator's arenas and the largest picture's buffers are there after these
BOMBS = ("decompression_bomb.gif", "decompression_bomb.ico", "reallybig.bmp")


class Server:
    """The server under attack."""

    def __init__(self, pid: int, address: str) -> None:
        self.pid = pid
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)

    def post(self, data: bytes) -> tuple[int, float]:
        """Status, and seconds until the whole answer was there. A server that died raises `OSError`."""
        begin = time.perf_counter()
        self._connection.request("POST", "/caption", data, {"Content-Type": "application/octet-stream"})
        response = self._connection.getresponse()
        response.read()
        return response.status, time.perf_counter() - begin

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    program = (sys.executable, "-m", "handler")
    with (
        serving("--artifact", "models/mini", program=program) as (process, _, address),
        closing(Server(process.pid, address)) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def files(refdata: Path) -> list[bytes]:
    """Bad ones, and good ones in every format that is read."""
    picture = noise((97, 61))
    good = [encoded(picture, format_) for format_ in ("JPEG", "PNG", "WebP", "GIF")]
    good += [encoded(picture, "JPEG", progressive=True), encoded(picture.convert("CMYK"), "JPEG")]
    good += [encoded(picture, "WebP", lossless=True), encoded(picture.convert("P"), "PNG")]
    good += [path.read_bytes() for path in sorted((refdata / "images_photo").iterdir())]
    return good * 3 + [path.read_bytes() for path in sorted((refdata / "images_hostile").iterdir())]


def test_bombs_are_refused_from_their_header(server: Server, refdata: Path) -> None:
    server.post(encoded(noise((8, 8)), "PNG"))
    for name in BOMBS:
        data = (refdata / "images_hostile" / name).read_bytes()
        status, _ = min(server.post(data) for _ in range(3))
        fastest = min(server.post(data)[1] for _ in range(5))
        assert status in (413, 415), name
        assert fastest < 0.05, f"{name}: {fastest * 1000:.0f} ms"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_broken_images_break_nothing(server: Server, files: list[bytes]) -> None:
    count = amount(1_000, 10_000)
    statuses: Counter[int] = Counter()
    slowest, before = 0.0, 0
    for i, data in enumerate(mutations(files, WARM_UP + count, SEED)):
        if i == WARM_UP:
            before = resident(server.pid)
        status, spent = server.post(data)
        assert status == 200 or 400 <= status < 500, f"mutation {i}: {status}"
        statuses[status] += 1
        slowest = max(slowest, spent)
    growth = resident(server.pid) - before
    record("images", sent=count, answered=statuses[200], slowest_ms=slowest * 1000, growth_mb=growth / 1e6)
    assert len(statuses) > 3, statuses  # the mutations reach beyond the first check
    assert statuses[200] > count / 20, statuses
    assert slowest < SLOWEST
    assert growth < GROWTH
