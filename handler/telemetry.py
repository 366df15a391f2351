"""What the function tells of itself: a JSON line for each request, picture and failure, and CloudWatch metrics (EMF).

Logged: request id, whether the start was cold, restored (SnapStart) or warm, milliseconds by stage, the image's format,
size and bytes, tasks, outcomes. Never logged: the image, what the model wrote, what a user asked, and keys of objects,
which are often people's names; instead the first 16 hex digits of sha256("bucket/key"):

    printf %s my-bucket/photos/me.jpg | sha256sum | cut -c1-16

Errors are logged by type and place in the source, without their messages, which may quote any of these.
"""

import hashlib
import logging
import os
import time
import traceback
from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from mangum.types import ASGI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .florence.predictor import Ask, Predictor, Result

SERVICE, NAMESPACE = "florence-lambda", "FlorenceLambda"
PICTURES, TRUNCATED = "Pictures", "TruncatedAnswers"
REFUSED, GONE, FAILED, OWN_RESULTS = "RefusedPictures", "GonePictures", "FailedPictures", "OwnResults"  # stored ones
STARTS = {"cold": "ColdStarts", "restored": "RestoredStarts"}
# By AWS_LAMBDA_INITIALIZATION_TYPE; an environment that was provisioned has long started.
_STARTS = {"snap-start": "restored", "provisioned-concurrency": "warm"}

logger = Logger(service=SERVICE, location=None)
logging.getLogger("mangum").setLevel(logging.ERROR)  # below, it logs each path, and a path may hold anything
metrics = Metrics(service=SERVICE, namespace=NAMESPACE)

_used = False


class WatchedPredictor(Predictor):
    """A predictor whose every answer is logged and counted."""

    def __init__(self, predictor: Predictor) -> None:
        self.manifest, self._predictor = predictor.manifest, predictor

    def predict(self, image: bytes, asks: Sequence[Ask], deadline: float | None = None) -> Result:
        """As `Predictor.predict`."""
        result = self._predictor.predict(image, asks, deadline)
        _answered(result, asks, len(image))
        return result


def begin(context: Any) -> None:
    """At the start of an invocation."""
    global _used
    start = "warm" if _used else _STARTS.get(os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE", ""), "cold")
    _used = True
    logger.structure_logs(append=True, request_id=getattr(context, "aws_request_id", ""), start=start)
    if start in STARTS:
        count(STARTS[start])


def end() -> None:
    """At the end of an invocation: what was counted goes out."""
    if metrics.provider.metric_set:
        metrics.flush_metrics()


def forget() -> None:
    """What was counted belongs to no invocation."""
    metrics.clear_metrics()


def watch(app: ASGIApp) -> ASGI:
    """`app`, each of whose requests is logged: route, status, milliseconds.

    An error that it raises is logged here and goes no further: it has been answered, and Mangum would log its message.
    """

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        started, status = time.perf_counter(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, note)
        except Exception as error:
            failed("request failed", error)
        route = getattr(scope.get("route"), "path", "")  # /tasks/{task}; what was asked for may be anything
        spent = round((time.perf_counter() - started) * 1000, 1)
        logger.info("request", extra={"method": scope["method"], "route": route, "status": status, "total": spent})

    return watched


def count(metric: str) -> None:
    """One more of these."""
    metrics.add_metric(metric, MetricUnit.Count, 1)


def failed(message: str, error: Exception, **facts: Any) -> None:
    """Logs an error by its type and place, not by its message."""
    place = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    logger.error(message, extra={"error": type(error).__name__, "traceback": place[-12:]} | facts)


def handled(bucket: str, key: str, outcome: str, spent: float) -> None:
    """Logs what came of a stored object, and in how many milliseconds."""
    logger.info("object", extra={"object": name(bucket, key), "outcome": outcome, "total": round(spent, 1)})


def name(bucket: str, key: str) -> str:
    """What stands for an object in the log."""
    return hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()[:16]


def _answered(result: Result, asks: Sequence[Ask], size: int) -> None:
    truncated = any(prediction.truncated for prediction in result.predictions)
    logger.info(
        "answered",
        extra={
            "tasks": [ask.task.name for ask in asks],
            "format": result.format,
            "width": result.size[0],
            "height": result.size[1],
            "bytes": size,
            "tokens": sum(prediction.tokens for prediction in result.predictions),
            "truncated": truncated,
            "milliseconds": {stage: round(spent, 1) for stage, spent in result.milliseconds.items()},
        },
    )
    count(PICTURES)
    if truncated:
        count(TRUNCATED)
    for stage, spent in result.milliseconds.items():
        metrics.add_metric(f"{stage.capitalize()}Milliseconds", MetricUnit.Milliseconds, spent)
