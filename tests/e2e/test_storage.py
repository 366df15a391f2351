"""Events of storage, in every form, to the image under its role's rights; and a picture's way from bucket to result."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from . import events
from .aws import Aws, deployed
from .conftest import CAPTION, OUTPUT, SAMPLE
from .function import Failed, Function

PICTURE = SAMPLE.read_bytes()


@pytest.fixture(scope="module")
def aws(engine: None) -> Iterator[Aws]:
    with deployed(OUTPUT / "moto.log", SourceBuckets="archive") as aws:
        aws.client("s3").create_bucket(Bucket="archive")
        yield aws


@dataclass(frozen=True)
class Buckets:
    """The stack's own, by what S3 tells."""

    uploads: str
    results: str


@pytest.fixture(scope="module")
def buckets(aws: Aws) -> Buckets:
    names = [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]]
    uploads, results = (next(name for name in names if f"-{kind}-" in name) for kind in ("uploads", "results"))
    return Buckets(uploads, results)


@pytest.fixture(scope="module")
def function(aws: Aws, buckets: Buckets, start: Callable[..., Function]) -> Function:
    settings = {
        "FLORENCE_UPLOADS_BUCKET": buckets.uploads,
        "FLORENCE_RESULTS_BUCKET": buckets.results,
        "FLORENCE_SOURCE_BUCKETS": "archive,private",
    }
    return start(network=aws.network, environment=settings | aws.function_environment())


@pytest.fixture
def put(aws: Aws) -> Callable[..., tuple[str, str]]:
    def put(bucket: str, body: bytes = PICTURE, name: str = "a b+c ü.png") -> tuple[str, str]:
        """An object under a new key, of the characters that events encode -> its key and ETag."""
        key = f"{uuid4().hex[:8]}/{name}"
        etag = aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body)["ETag"].strip('"')
        return key, etag

    return put


@pytest.fixture
def latest(aws: Aws, buckets: Buckets) -> Callable[[str, str], dict[str, Any]]:
    def latest(bucket: str, key: str) -> dict[str, Any]:
        """The newest result of the objects under this key."""
        stored = aws.client("s3").get_object(Bucket=buckets.results, Key=f"results/{bucket}/{key}/latest.json")
        document: dict[str, Any] = json.loads(stored["Body"].read())
        return document

    return latest


def caption(document: dict[str, Any]) -> str:
    assert document["outcome"] == "answered", document
    text: str = document["answers"]["caption"]["text"]
    return text


@pytest.mark.parametrize("form", ["notification", "EventBridge", "queue", "SNS in queue", "EventBridge in queue"])
def test_a_stored_picture_has_its_result_beside_it(
    function: Function,
    refdata: Path,
    buckets: Buckets,
    put: Callable[..., tuple[str, str]],
    latest: Callable[[str, str], dict[str, Any]],
    form: str,
) -> None:
    files = refdata / "aws_events"
    key, etag = put(buckets.uploads)
    named = (buckets.uploads, key, PICTURE, etag)
    notification = events.notification(files / "powertools_s3Event.json", *named)
    created = events.object_created(files / "powertools_s3EventBridgeNotificationObjectCreatedEvent.json", *named)
    queue, topic = files / "powertools_s3SqsEvent.json", files / "powertools_snsSqsEvent.json"
    event = {
        "notification": notification,
        "EventBridge": created,
        "queue": events.queued(queue, json.dumps(notification)),
        "SNS in queue": events.queued(topic, events.published(topic, json.dumps(notification))),
        "EventBridge in queue": events.queued(queue, json.dumps(created)),
    }[form]
    answer = function.invoke(event)
    assert answer == ({"batchItemFailures": []} if "queue" in form else {})
    assert caption(latest(buckets.uploads, key)) == CAPTION


def test_a_batch_job_over_an_existing_bucket(
    function: Function, put: Callable[..., tuple[str, str]], latest: Callable[[str, str], dict[str, Any]]
) -> None:
    good, bad = put("archive")[0], put("archive", b"no picture")[0]
    answer = function.invoke(events.batch_job("archive", good, bad))
    assert [result["resultCode"] for result in answer["results"]] == ["Succeeded", "PermanentFailure"]
    assert caption(latest("archive", good)) == CAPTION
    assert latest("archive", bad)["outcome"] == "refused"


def test_messages_that_fail_come_back_alone(
    function: Function, refdata: Path, buckets: Buckets, put: Callable[..., tuple[str, str]]
) -> None:
    """A picture that can never succeed is recorded and done with; a bucket that may not be read is tried again."""
    files = refdata / "aws_events"
    key, etag = put(buckets.uploads)
    broken, broken_etag = put(buckets.uploads, b"no picture")
    source = files / "powertools_s3Event.json"
    bodies = [
        events.notification(source, buckets.uploads, key, PICTURE, etag),
        events.notification(source, buckets.uploads, broken, b"no picture", broken_etag),
        events.notification(source, "strangers", key, PICTURE, etag),
    ]
    answer = function.invoke(events.queued(files / "powertools_s3SqsEvent.json", *map(json.dumps, bodies)))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "message-2"}]}


def test_a_picture_that_is_in_a_bucket_already(
    function: Function, buckets: Buckets, put: Callable[..., tuple[str, str]]
) -> None:
    assert events.caption_of(ask_about(function, "archive", put("archive")[0])) == CAPTION
    assert ask_about(function, "archive", "never.png")["statusCode"] == 404
    refused = ask_about(function, buckets.uploads, put(buckets.uploads)[0])  # its role may read it
    assert (refused["statusCode"], json.loads(refused["body"])["type"]) == (403, "/docs#bucket-not-allowed")


def ask_about(function: Function, bucket: str, key: str) -> dict[str, Any]:
    body = json.dumps({"s3_uri": f"s3://{bucket}/{key}"})
    answer: dict[str, Any] = function.invoke(events.http_call("POST", "/caption", body))
    return answer


def test_the_role_is_what_lets_it_read(function: Function, aws: Aws, put: Callable[..., tuple[str, str]]) -> None:
    """A bucket on the list that the template does not know."""
    aws.client("s3").create_bucket(Bucket="private")
    key, _ = put("private")
    answer = function.invoke(events.batch_job("private", key))
    assert answer["results"][0]["resultCode"] == "PermanentFailure"
    assert answer["results"][0]["resultString"] == "403"
    refused = ask_about(function, "private", key)
    assert (refused["statusCode"], json.loads(refused["body"])["type"]) == (502, "/docs#storage-refused")


def test_the_test_event_of_s3_is_no_error(function: Function, refdata: Path) -> None:
    assert function.invoke(json.loads((refdata / "aws_events" / "s3_test_event_composed.json").read_text())) == {}


@pytest.mark.parametrize("file", ["s3EventDeleteObject", "s3EventBridgeNotificationObjectDeletedEvent"])
def test_deletions_are_no_errors(function: Function, refdata: Path, file: str) -> None:
    assert function.invoke(json.loads((refdata / "aws_events" / f"powertools_{file}.json").read_text())) == {}


def test_events_of_other_services_are_refused(function: Function, refdata: Path) -> None:
    for file in ("eventBridgeEvent", "snsEvent"):
        with pytest.raises(Failed, match="UnknownEvent"):
            function.invoke(json.loads((refdata / "aws_events" / f"powertools_{file}.json").read_text()))


def test_from_the_bucket_through_the_queue_to_the_result(
    function: Function,
    aws: Aws,
    buckets: Buckets,
    put: Callable[..., tuple[str, str]],
    latest: Callable[[str, str], dict[str, Any]],
) -> None:
    """The template's notification fills the queue; its messages are handed over as Lambda's poller does."""
    sqs, queue = aws.client("sqs"), aws.queue("Pictures")
    sqs.purge_queue(QueueUrl=queue)
    keys = [put(buckets.uploads)[0] for _ in range(3)]
    received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert len(received) == 3
    records = [
        {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "eventSource": "aws:sqs",
        }
        for message in received
    ]
    assert function.invoke({"Records": records}) == {"batchItemFailures": []}
    assert [caption(latest(buckets.uploads, key)) for key in keys] == [CAPTION] * 3


def test_a_large_picture_is_uploaded_and_its_result_asked_for(
    function: Function, refdata: Path, aws: Aws, buckets: Buckets
) -> None:
    """Signed with the role's credentials: the client has none. (That the role may write there: test_template.)"""
    asked = {"content_type": "image/png", "bytes": len(PICTURE)}
    made = function.invoke(events.http_call("POST", "/uploads", json.dumps(asked)))
    assert made["statusCode"] == 201, made
    ticket = json.loads(made["body"])
    assert function.invoke(events.http_call("GET", ticket["result"]))["statusCode"] == 202
    put = urllib.request.Request(
        ticket["upload"]["url"], PICTURE, ticket["upload"]["headers"], method=ticket["upload"]["method"]
    )
    with aws.lenient(), urllib.request.urlopen(put, timeout=30) as answer:
        assert answer.status == 200
    key = f"uploads/{ticket['id']}"
    etag = aws.client("s3").head_object(Bucket=buckets.uploads, Key=key)["ETag"].strip('"')
    source = refdata / "aws_events" / "powertools_s3Event.json"
    function.invoke(events.notification(source, buckets.uploads, key, PICTURE, etag))
    got = function.invoke(events.http_call("GET", ticket["result"]))
    assert got["statusCode"] == 200
    assert caption(json.loads(got["body"])) == CAPTION
