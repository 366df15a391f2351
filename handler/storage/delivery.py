"""One event of storage: each object it names is worked on, and what failed is reported in the event's own way.

A queue's message that fails comes back, in the end to the dead-letter queue, and the others do not. S3 Batch Operations
get a result code for each task. Any other event fails as a whole, and Lambda tries it again: what was done stays done.
"""

import time
from typing import Any

from .. import telemetry
from ..florence.errors import OutOfTime
from ..florence.predictor import Predictor
from ..settings import RESULTS_BUCKET, Storage
from . import objects, work
from .errors import Contended, NotSetUp
from .events import Form, Part, StoredObject, parse
from .work import Outcome

RESERVE_SECONDS = 3.0  # of the invocation, to store an answer and report once generation was cut

_COUNTED = {Outcome.REFUSED: telemetry.REFUSED, Outcome.GONE: telemetry.GONE, Outcome.OWN_RESULT: telemetry.OWN_RESULTS}


class DeliveryFailed(Exception):
    """Something in the event failed and may be tried again; the message says how much and why, by errors' names."""


def deliver(event: dict[str, Any], predictor: Predictor, storage: Storage, milliseconds: int) -> dict[str, Any]:
    """Works on all objects of `event` within so many milliseconds, and reports.

    Raises `UnknownEvent`, `NotSetUp`, and `DeliveryFailed` where the event has no other way to report.
    """
    delivery = parse(event)
    if not storage.results_bucket:
        raise NotSetUp(f"Events of storage need {RESULTS_BUCKET}: the bucket for the results.")
    deadline = time.perf_counter() + milliseconds / 1000 - RESERVE_SECONDS
    failures: dict[str, list[Exception]] = {}
    outcomes: dict[str, list[Outcome]] = {}
    for part in delivery.parts:
        failures[part.id], outcomes[part.id] = _work(part, predictor, storage, deadline)
    if delivery.form is Form.QUEUE:
        return {"batchItemFailures": [{"itemIdentifier": id_} for id_, failed in failures.items() if failed]}
    if delivery.form is Form.BATCH:
        return {
            "invocationSchemaVersion": event["invocationSchemaVersion"],
            "treatMissingKeysAs": "PermanentFailure",
            "invocationId": event["invocationId"],
            "results": [{"taskId": id_} | _code(failures[id_], outcomes[id_]) for id_ in failures],
        }
    failed = [error for errors in failures.values() for error in errors]
    if failed:
        named = sum(len(part.objects) for part in delivery.parts)
        reasons = ", ".join(sorted({objects.code(error) for error in failed}))
        raise DeliveryFailed(f"{len(failed)} of {named} objects failed: {reasons}.")
    return {}


def _work(part: Part, predictor: Predictor, storage: Storage, deadline: float) -> tuple[list[Exception], list[Outcome]]:
    failed: list[Exception] = []
    outcomes: list[Outcome] = []
    if part.unknown:
        telemetry.failed("unknown event in a message", part.unknown, reason=str(part.unknown), part=part.id)
        failed.append(part.unknown)
    for named in part.objects:
        try:
            outcomes.append(_one(named, predictor, storage, deadline))
        except Exception as error:
            told = {"object": telemetry.name(named.bucket, named.key), "reason": objects.code(error), "part": part.id}
            telemetry.failed("object failed", error, **told)
            telemetry.count(telemetry.FAILED)
            failed.append(error)
    return failed, outcomes


def _one(named: StoredObject, predictor: Predictor, storage: Storage, deadline: float) -> Outcome:
    started = time.perf_counter()
    outcome = work.handle(named, predictor, storage, deadline)
    spent = (time.perf_counter() - started) * 1000
    telemetry.handled(named.bucket, named.key, outcome, spent)
    if outcome in _COUNTED:
        telemetry.count(_COUNTED[outcome])
    return outcome


def _code(failed: list[Exception], outcomes: list[Outcome]) -> dict[str, str]:
    """S3 Batch Operations: what is temporary is tried again, what is permanent is in the job's report."""
    for error in failed:
        again = isinstance(error, OutOfTime | Contended) or objects.is_temporary(error)
        return {
            "resultCode": "TemporaryFailure" if again else "PermanentFailure",
            "resultString": objects.code(error),
        }
    bad = Outcome.REFUSED in outcomes or Outcome.GONE in outcomes
    return {
        "resultCode": "PermanentFailure" if bad else "Succeeded",
        "resultString": outcomes[0].value if outcomes else "",
    }
