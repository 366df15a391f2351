"""The predictor behind a queue and a cache, with the deadline that a request has on Lambda."""

import contextlib
import hashlib
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass
from typing import Annotated

import anyio
import anyio.to_thread
from cachetools import LRUCache
from fastapi import Depends, Request

from .. import schemas
from ..florence.artifact import Manifest
from ..florence.predictor import Ask, Predictor, Result
from ..florence.tasks import Task
from ..problems import Busy
from ..questions import Question

# API Gateway gives up after 29 s (REST) or 30 s (HTTP), a cold start included.
GATEWAY_SECONDS = 27.0
RESERVE_SECONDS = 0.5  # of the invocation, to send an answer once generation was cut
MAX_WAITING = 16  # requests: some ten seconds of work at full size; each holds its image, 20 MiB at most

_Key = tuple[str, str, tuple[Ask, ...]]  # artifact, image, questions: all that an answer depends on


class Cache:
    """The last answers, as many as fit into `limit` bytes of memory. Safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._entries: LRUCache[_Key, Result] = LRUCache(limit, getsizeof=_size)
        self._lock = threading.Lock()

    def get(self, key: _Key) -> Result | None:
        """The answer that was kept, if it still is."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: _Key, result: Result) -> None:
        """Keeps an answer, in the place of those not asked for longest."""
        with self._lock, contextlib.suppress(ValueError):  # larger than the whole cache
            self._entries[key] = result


def _size(value: object) -> int:
    """The bytes that a result takes, its parts included; the task table, which all share, is not counted."""
    if isinstance(value, Task):
        return 0
    parts: Iterable[object] = ()
    if is_dataclass(value):
        parts = (vars(value),)
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, tuple):
        parts = value
    return sys.getsizeof(value) + sum(map(_size, parts))


class Queue:
    """One image at a time, since each takes all threads and up to 200 MB decoded; what is remembered does not wait."""

    def __init__(self, predictor: Predictor, cache_bytes: int) -> None:
        self.predictor = predictor
        self._cache = Cache(cache_bytes)
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def predict(self, image: bytes, asks: tuple[Ask, ...], deadline: float | None) -> tuple[Result, bool]:
        """The answers, and whether they were remembered.

        Raises `ImageError`, `TaskError`, `OutOfTime` and, at once, `Busy`.
        """
        key = (self.predictor.manifest.id, hashlib.sha256(image).hexdigest(), asks)
        if remembered := self._cache.get(key):
            return remembered, True

        def work() -> tuple[Result, bool]:
            if answered := self._cache.get(key):  # while this request waited
                return answered, True
            result = self.predictor.predict(image, asks, deadline)
            if deadline is None or not any(one.truncated for one in result.predictions):  # with more time it is longer
                self._cache.put(key, result)
            return result, False

        if self._one_at_a_time.statistics().tasks_waiting >= MAX_WAITING:
            raise Busy(f"{MAX_WAITING} requests are waiting already; try again.")
        # In a thread, so that the event loop stays free for `/health` meanwhile.
        return await anyio.to_thread.run_sync(work, limiter=self._one_at_a_time)


@dataclass(frozen=True)
class Inference:
    """What a request asks its questions of."""

    queue: Queue
    deadline: float | None  # a time of `time.perf_counter`

    @property
    def manifest(self) -> Manifest:
        """The model's."""
        return self.queue.predictor.manifest

    async def answer(self, image: bytes, question: Question) -> schemas.Answer:
        """The answer to a question about an image. Raises as `Queue.predict`."""
        result, cached = await self.queue.predict(image, question.asks, self.deadline)
        answer = question.answer(self.manifest, result)
        return answer.model_copy(update={"cached": cached})


def _inference(request: Request) -> Inference:
    return Inference(request.app.state.queue, deadline(request))


def deadline(request: Request) -> float | None:
    """When the answer must be written, a time of `time.perf_counter`, settled when first asked for: Lambda's context,
    which Mangum hands on, tells what is left.
    """
    context = request.scope.get("aws.context")
    if context is None:
        return None
    if not hasattr(request.state, "deadline"):
        left: float = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
        request.state.deadline = time.perf_counter() + min(left, GATEWAY_SECONDS)
    settled: float = request.state.deadline
    return settled


Loaded = Annotated[Inference, Depends(_inference)]
