"""Load on the real server with the miniature: one environment in a closed loop, and an open loop past its capacity."""

import asyncio
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
from images import encoded, noise
from servers import serving
from torture import amount, record, resident

GROWTH = 50_000_000  # bytes
WARM_UP = 200  # requests
CLIENTS = 8
Answer = tuple[int, float]  # status, seconds


@pytest.fixture
def server() -> Iterator[tuple[int, str]]:
    program = (sys.executable, "-m", "handler")
    with serving("--artifact", "models/mini", program=program) as (process, _, address):
        yield process.pid, address


def requests(count: int, seed: int) -> list[tuple[str, bytes, bool]]:
    """Path, body and whether it is a good one. No two images are the same, so that no answer is remembered."""
    rng = random.Random(seed)
    made = []
    for i in range(count):
        image = encoded(noise((40, 30), seed * 1_000_000 + i), "PNG")
        bad = [
            ("/caption", image[: len(image) // 2]),
            ("/caption", b"no image"),
            ("/detect", b""),
            ("/detect?min_score=x", image),
            ("/tasks/ground", image),
            ("/tasks/none-such", image),
            ("/nowhere", image),
        ]
        path, body = rng.choice(bad) if i % 2 else (rng.choice(("/caption", "/detect", "/analyze")), image)
        made.append((path, body, i % 2 == 0))
    return made


async def ask(client: httpx2.AsyncClient, path: str, body: bytes) -> Answer:
    begin = time.perf_counter()
    answer = await client.post(path, content=body)
    return answer.status_code, time.perf_counter() - begin


async def closed_loop(address: str, work: list[tuple[str, bytes, bool]]) -> list[tuple[bool, Answer]]:
    """As many clients as there are, each with one request under way."""
    answers: list[tuple[bool, Answer]] = []
    waiting = iter(work)
    async with httpx2.AsyncClient(base_url=address, timeout=60) as client:

        async def one() -> None:
            for path, body, good in waiting:
                answers.append((good, await ask(client, path, body)))

        await asyncio.gather(*(one() for _ in range(CLIENTS)))
    return answers


async def open_loop(address: str, count: int, interval: float) -> list[Answer]:
    """A request each `interval` seconds, whatever has become of the others."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
        begun = []
        for _, body, _ in requests(2 * count, seed=2)[::2]:
            begun.append(asyncio.create_task(ask(client, "/analyze", body)))
            await asyncio.sleep(interval)
        return list(await asyncio.gather(*begun))


def percentile(seconds: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(seconds)[round(share * (len(seconds) - 1))] * 1000


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_closed_loop_leaks_and_loses_nothing(server: tuple[int, str]) -> None:
    pid, address = server
    asyncio.run(closed_loop(address, requests(WARM_UP, seed=0)))
    before, count = resident(pid), amount(500, 10_000)
    answers = asyncio.run(closed_loop(address, requests(count, seed=1)))
    growth = resident(pid) - before
    assert len(answers) == count
    assert {status for good, (status, _) in answers if good} == {200}
    refused = {status for good, (status, _) in answers if not good}
    assert all(400 <= status < 500 for status in refused), refused
    spent = [seconds for good, (_, seconds) in answers if good]
    record(
        "load",
        requests=count,
        p50_ms=percentile(spent, 0.5),
        p99_ms=percentile(spent, 0.99),
        slowest_ms=percentile(spent, 1),
        growth_mb=growth / 1e6,
    )
    assert growth < GROWTH


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_past_its_capacity_it_sheds_what_it_cannot_answer_soon(server: tuple[int, str]) -> None:
    _, address = server
    alone = asyncio.run(open_loop(address, 20, interval=0.3))
    service = statistics.median(seconds for _, seconds in alone)
    count = amount(150, 2_000)
    answers = asyncio.run(open_loop(address, count, interval=service / 4))
    statuses = Counter(status for status, _ in answers)
    assert statuses.keys() == {200, 503}
    assert sum(statuses.values()) == count
    answered = [seconds for status, seconds in answers if status == 200]
    shed = [seconds for status, seconds in answers if status == 503]
    record(
        "overload",
        requests=count,
        answered=statuses[200],
        shed=statuses[503],
        p99_ms=percentile(answered, 0.99),
        shed_p99_ms=percentile(shed, 0.99),
    )
    assert statuses[200] > count / 10  # it works at its full rate all the while
    assert percentile(shed, 0.5) < percentile(answered, 0.5)  # a refusal does not wait
