"""Every form of storage event -> the objects it names, in parts that are reported on one by one.

====================================  =======================================  ==========================
form                                  key                                      part
====================================  =======================================  ==========================
S3 notification                       like `quote_plus`: decoded once          the whole event
EventBridge `Object Created`          as it is                                 the whole event
either in SQS, also through SNS       as above                                 a message
S3 Batch Operations, schema 1 and 2   like `quote_plus`: decoded once          a task
====================================  =======================================  ==========================

Events of other kinds (deletions, tags, S3's test event) name no object: nothing is to be done. What is no storage event
at all is `UnknownEvent`; inside a queue its message alone is refused, and ends in the dead-letter queue. Does not look
at any object.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote_plus

from .errors import UnknownEvent


class Form(StrEnum):
    """How the outcome is reported."""

    WHOLE = "whole"  # an error fails the invocation, and Lambda tries it again
    QUEUE = "queue"  # batchItemFailures
    BATCH = "batch"  # a result code for each task


@dataclass(frozen=True)
class StoredObject:
    """An object as an event names it; None for what the event does not say."""

    bucket: str
    key: str  # decoded
    version: str | None = None
    etag: str | None = None  # without quotes
    size: int | None = None  # bytes
    sequencer: str = ""  # hex; orders the events of one key


@dataclass(frozen=True)
class Part:
    """What is reported on as one: a message, a task, or the whole event. `unknown` if it could not be read."""

    id: str
    objects: tuple[StoredObject, ...]
    unknown: UnknownEvent | None = None


@dataclass(frozen=True)
class Delivery:
    """One event: its parts, and how they are reported on."""

    form: Form
    parts: tuple[Part, ...]


def parse(event: dict[str, Any]) -> Delivery:
    """Raises `UnknownEvent`."""
    if "tasks" in event and "invocationSchemaVersion" in event:
        return Delivery(Form.BATCH, tuple(_part(task["taskId"], _task, task) for task in event["tasks"]))
    if _source(event) == "aws:sqs":
        return Delivery(
            Form.QUEUE, tuple(_part(message["messageId"], _message, message["body"]) for message in event["Records"])
        )
    return Delivery(Form.WHOLE, (Part("", _read(_objects, event)),))


def _part(id_: str, read: Callable[[Any], tuple[StoredObject, ...]], content: Any) -> Part:
    try:
        return Part(id_, _read(read, content))
    except UnknownEvent as error:
        return Part(id_, (), error)


def _read(read: Callable[[Any], tuple[StoredObject, ...]], content: Any) -> tuple[StoredObject, ...]:
    try:
        return read(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise UnknownEvent(f"The event is malformed: {type(error).__name__} {error}.") from None


def _message(body: str) -> tuple[StoredObject, ...]:
    """A message's body: an event, or SNS's envelope around one (the queue may also get it raw)."""
    try:
        content = json.loads(body)
    except ValueError:
        raise UnknownEvent("The message is not JSON.") from None
    if isinstance(content, dict) and content.get("Type") == "Notification" and "Message" in content:
        return _message(content["Message"])
    if not isinstance(content, dict):
        raise UnknownEvent("The message is JSON, but no event.")
    return _objects(content)


def _objects(event: dict[str, Any]) -> tuple[StoredObject, ...]:
    if event.get("Event") == "s3:TestEvent":  # sent once, when a notification is configured; has no Records
        return ()
    if _source(event) == "aws:s3":
        return tuple(_record(record) for record in event["Records"] if _creates(record))
    if event.get("source") == "aws.s3" and "detail-type" in event:
        return (_detail(event["detail"]),) if event["detail-type"] == "Object Created" else ()
    source = f" from {_source(event) or event.get('source')}" if _source(event) or event.get("source") else ""
    raise UnknownEvent(f"No event that is served here{source} has the keys {', '.join(sorted(event)) or '(none)'}.")


def _source(event: dict[str, Any]) -> str | None:
    records = event.get("Records")
    if isinstance(records, list) and records and isinstance(records[0], dict):
        source: str | None = records[0].get("eventSource") or records[0].get("EventSource")
        return source
    return None


def _creates(record: dict[str, Any]) -> bool:
    return str(record["eventName"]).removeprefix("s3:").startswith("ObjectCreated:")


def _record(record: dict[str, Any]) -> StoredObject:
    found = record["s3"]["object"]
    return StoredObject(
        bucket=record["s3"]["bucket"]["name"],
        key=unquote_plus(found["key"]),
        version=found.get("versionId"),
        etag=found.get("eTag"),
        size=found.get("size"),
        sequencer=found.get("sequencer", ""),
    )


def _detail(detail: dict[str, Any]) -> StoredObject:
    found = detail["object"]
    return StoredObject(
        bucket=detail["bucket"]["name"],
        key=found["key"],
        version=found.get("version-id"),
        etag=found.get("etag"),
        size=found.get("size"),
        sequencer=found.get("sequencer", ""),
    )


def _task(task: dict[str, Any]) -> tuple[StoredObject, ...]:
    """Schema 1.0 has the bucket's ARN, 2.0 its name."""
    bucket = task.get("s3Bucket") or task["s3BucketArn"].split(":")[-1]
    return (StoredObject(bucket=bucket, key=unquote_plus(task["s3Key"]), version=task.get("s3VersionId")),)
