"""This project, whole: every answer is an HTTP event of API Gateway through `handler.entrypoint.handle`."""

import base64
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..workload import Work
from . import Contender

ROUTES = {("caption",): "/caption", ("detect",): "/detect", ("caption", "detect"): "/analyze"}


def prepare(contender: Contender, checkpoint: Path, out: Path) -> None:
    """The artifact, for the contender's size alone."""
    from build import checkpoint as checkpoints
    from build import package
    from build.precision import INT8
    from handler.florence.predictor import Predictor

    loaded, facts = checkpoints.load(str(checkpoint)), package.Facts("benchmark", "", contender.size)
    package.write(loaded, facts, INT8, out)
    package.write_manifest(loaded, facts, INT8, out, golden=package.write_golden(Predictor(out), out))


def load(contender: Contender, folder: Path, checkpoint: Path, threads: int) -> "Ours":
    """Imports the entry point, which loads the artifact: a cold start of Lambda's."""
    os.environ.update(FLORENCE_ARTIFACT=str(folder), FLORENCE_THREADS=str(threads), FLORENCE_CACHE_MB="0")
    from handler.entrypoint import handle

    return Ours(handle)


class Ours:
    """The handler; pictures go one by one, the questions about one together."""

    def __init__(self, handle: Callable[[dict[str, Any], Any], dict[str, Any]]) -> None:
        self._handle = handle

    def answer(self, images: Sequence[bytes], works: Sequence[Work]) -> list[int]:
        """See `Model`."""
        from handler.florence import tasks

        for work in works:  # the length of an answer is no parameter of a request
            task = tasks.find(work.task)
            tasks._BY_NAME[work.task] = replace(task, max_new_tokens=work.tokens - 2)
        path = ROUTES[tuple(work.task for work in works)]
        counts = []
        for image in images:
            answer = self._handle(event(path, image), None)
            said = json.loads(answer["body"])
            if answer["statusCode"] != 200 or not said["truncated"]:
                raise RuntimeError(f"no answer that reached its limit: {answer['body']}")
            counts += [work.tokens for work in works]
        return counts


def event(path: str, image: bytes) -> dict[str, Any]:
    """A request as API Gateway's HTTP API puts it (payload format 2.0)."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "image/jpeg", "host": "localhost"},
        "requestContext": {"http": {"method": "POST", "path": path, "sourceIp": "127.0.0.1"}, "stage": "$default"},
        "isBase64Encoded": True,
        "body": base64.b64encode(image).decode(),
    }
