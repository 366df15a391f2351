"""Every form of storage event names its objects, each key decoded once and as its source encodes it."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.storage.errors import UnknownEvent
from handler.storage.events import Delivery, Form, StoredObject, parse

KEY = "holiday photos/été 1+1=2 100%25.jpg"


def notification(key: str = KEY, name: str = "ObjectCreated:Put", **further: Any) -> dict[str, Any]:
    found = {"key": quote_plus(key), "size": 9, "eTag": "abc", "sequencer": "0A"} | further
    s3 = {"bucket": {"name": "bucket"}, "object": found}
    return {"Records": [{"eventSource": "aws:s3", "eventName": name, "s3": s3}]}


def eventbridge(key: str = KEY, kind: str = "Object Created") -> dict[str, Any]:
    found = {"key": key, "size": 9, "etag": "abc", "version-id": "v1", "sequencer": "0A"}
    return {"source": "aws.s3", "detail-type": kind, "detail": {"bucket": {"name": "bucket"}, "object": found}}


def queue(*bodies: Any) -> dict[str, Any]:
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return {"Records": [{"messageId": str(n), "eventSource": "aws:sqs", "body": text} for n, text in enumerate(texts)]}


def topic(event: dict[str, Any]) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:aws:sns:x:1:t", "Message": json.dumps(event)}


def objects(delivery: Delivery) -> list[StoredObject]:
    return [found for part in delivery.parts for found in part.objects]


@pytest.mark.parametrize(
    ("event", "form"),
    [
        (notification(), Form.WHOLE),
        (eventbridge(), Form.WHOLE),
        (queue(notification()), Form.QUEUE),
        (queue(eventbridge()), Form.QUEUE),
        (queue(topic(notification())), Form.QUEUE),
        (queue(topic(eventbridge())), Form.QUEUE),
    ],
    ids=["S3", "EventBridge", "S3 in SQS", "EventBridge in SQS", "S3 in SNS in SQS", "EventBridge in SNS in SQS"],
)
def test_each_way_of_an_event_names_the_same_object(event: dict[str, Any], form: Form) -> None:
    delivery = parse(event)
    assert delivery.form is form
    (found,) = objects(delivery)
    assert (found.bucket, found.key, found.size, found.etag, found.sequencer) == ("bucket", KEY, 9, "abc", "0A")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_key_arrives_as_it_is(key: str) -> None:
    batch = {"invocationSchemaVersion": "1.0", "invocationId": "i", "tasks": [task(key)]}
    for event in (notification(key), eventbridge(key), queue(topic(notification(key))), queue(eventbridge(key)), batch):
        assert [found.key for found in objects(parse(event))] == [key]


def task(key: str = KEY, **further: Any) -> dict[str, Any]:
    named = {"taskId": "t", "s3Key": quote_plus(key), "s3VersionId": None, "s3BucketArn": "arn:aws:s3:::bucket"}
    return named | further


def test_batch_operations() -> None:
    """The two schemas, as `LambdaInvokeOperation` of the S3 Batch Operations API documents them."""
    first = {
        "invocationSchemaVersion": "1.0",
        "invocationId": "i",
        "job": {"id": "j"},
        "tasks": [task(taskId="1"), task(taskId="2", s3VersionId="v2")],
    }
    second = {
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "job": {"id": "j", "userArguments": {}},
        "tasks": [{"taskId": "1", "s3Key": quote_plus(KEY), "s3VersionId": "v1", "s3Bucket": "bucket"}],
    }
    assert parse(first).form is Form.BATCH
    assert [part.id for part in parse(first).parts] == ["1", "2"]
    assert objects(parse(first)) == [StoredObject("bucket", KEY), StoredObject("bucket", KEY, "v2")]
    assert objects(parse(second)) == [StoredObject("bucket", KEY, "v1")]


@pytest.mark.parametrize(
    "event",
    [
        notification(name="ObjectRemoved:Delete"),
        notification(name="s3:ObjectRemoved:Delete"),
        notification(name="ObjectTagging:Put"),
        eventbridge(kind="Object Deleted"),
        eventbridge(kind="Object Tags Added"),
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bucket"},
    ],
)
def test_what_creates_nothing_names_nothing(event: dict[str, Any]) -> None:
    for way in (event, queue(event), queue(topic(event))):
        delivery = parse(way)
        assert objects(delivery) == []
        assert [part.unknown for part in delivery.parts] == [None]


@pytest.mark.parametrize(
    "name", ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Copy"]
)
def test_every_creation_counts(name: str) -> None:
    assert len(objects(parse(notification(name=name)))) == 1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"b": 1, "a": 2}, "has the keys a, b."),
        ({}, r"has the keys \(none\)."),
        ({"Records": []}, "has the keys Records."),
        ({"Records": [{"EventSource": "aws:sns", "Sns": {}}]}, "from aws:sns has the keys Records."),
        ({"Records": [{"eventSource": "aws:dynamodb"}]}, "from aws:dynamodb has the keys Records."),
        (
            {"source": "aws.ec2", "detail-type": "x", "detail": {}},
            "from aws.ec2 has the keys detail, detail-type, sour",
        ),
        ({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]}, "malformed: KeyError 's3'"),
        (
            {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": None}]},
            "malformed: TypeError",
        ),
    ],
)
def test_an_unknown_event_is_refused_with_its_keys(event: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownEvent, match=message):
        parse(event)


@pytest.mark.parametrize("body", ["hello", "[1]", "1", "null", '{"a": 1}', '{"Type": "Notification", "Message": "x"}'])
def test_an_unknown_message_is_refused_alone(body: str) -> None:
    delivery = parse(queue(notification(), body, eventbridge()))
    assert [part.unknown is None for part in delivery.parts] == [True, False, True]
    assert len(objects(delivery)) == 2


def test_a_malformed_task_is_refused_alone() -> None:
    tasks = [{"taskId": "1"}, task(taskId="2")]
    delivery = parse({"invocationSchemaVersion": "1.0", "invocationId": "i", "tasks": tasks})
    assert [part.unknown is None for part in delivery.parts] == [False, True]


def test_a_real_key_is_decoded_once(refdata: Path) -> None:
    event = json.loads((refdata / "aws_events" / "powertools_s3EventDecodedKey.json").read_text())
    assert [found.key for found in objects(parse(event))] == ["Happy Face.jpg"]
