"""The function as Lambda runs it: AWS's runtime client around the handler, requests and pictures from outside.

S3 and SQS are moto's server on the loopback; the events it sends are what its buckets and queues make of real calls.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from emulator import Failed, Function, running
from moto.server import ThreadedMotoServer
from test_handler_entrypoint import CAPTION, SAMPLE

INIT = 5.0  # seconds at most, of Lambda's ten; about 0.7 on an idle machine
PICTURES, RESULTS = "my-pictures", "my-results"


def post(path: str, body: bytes = SAMPLE, **query: str) -> dict[str, Any]:
    """An HTTP API's event, payload version 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "&".join("=".join(pair) for pair in query.items()),
        "headers": {"content-type": "image/png"},
        "requestContext": {
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


@dataclass
class Aws:
    """moto's server: S3 with two buckets, the first of which tells a queue of each new object."""

    address: str
    s3: Any
    sqs: Any
    queue: str

    def received(self) -> list[dict[str, Any]]:
        """Waiting messages, as Lambda's poller hands them to a function."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", [])
        return [
            {
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:pictures",
                "awsRegion": "eu-central-1",
            }
            for each in found
        ]

    def result(self, key: str) -> Any:
        body = self.s3.get_object(Bucket=RESULTS, Key=f"results/{PICTURES}/{key}/latest.json")["Body"].read()
        return json.loads(body)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing", "region_name": "eu-central-1"}
    s3, sqs = (boto3.client(name, endpoint_url=address, **keys) for name in ("s3", "sqs"))
    try:
        for bucket in (PICTURES, RESULTS):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        queue = sqs.create_queue(QueueName="pictures")["QueueUrl"]
        notification = {"QueueArn": "arn:aws:sqs:eu-central-1:123456789012:pictures", "Events": ["s3:ObjectCreated:*"]}
        s3.put_bucket_notification_configuration(
            Bucket=PICTURES, NotificationConfiguration={"QueueConfigurations": [notification]}
        )
        yield Aws(address, s3, sqs, queue)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def function(emulator: Path, aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    log_file = tmp_path_factory.mktemp("function") / "log"
    settings = {"FLORENCE_RESULTS_BUCKET": RESULTS, "AWS_ENDPOINT_URL": aws.address}
    with running(emulator, log_file, **settings) as started:
        yield started


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capture."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}")

    return tell


def test_the_first_request_and_the_next(function: Function, tell: Callable[[str], None]) -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        answer = function.invoke(post("/caption"))
        times.append(time.perf_counter() - started)
        assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
        assert json.loads(answer["body"])["caption"] == CAPTION
    starts = [line["start"] for line in function.lines("answered")]
    assert (starts[0], starts[-2:]) == ("cold", ["warm", "warm"])
    tell(
        f"init {function.init_seconds():.2f} s, first answer after {times[0]:.2f} s, the next {times[2] * 1000:.0f} ms"
    )
    assert function.init_seconds() < INIT


def test_a_problem_is_an_answer(function: Function) -> None:
    answer = function.invoke(post("/caption", b"text"))
    assert answer["statusCode"] == 400
    assert json.loads(answer["body"])["type"] == "/docs#not-an-image"


def test_pictures_from_the_bucket_through_the_queue(function: Function, aws: Aws) -> None:
    aws.received()  # S3's test event may be there
    key = "holiday/été 1+1=2 100%.png"
    aws.s3.put_object(Bucket=PICTURES, Key=key, Body=SAMPLE)
    aws.s3.put_object(Bucket=PICTURES, Key="text.png", Body=b"no picture")
    records = aws.received()
    assert len(records) == 2
    bad = records[0] | {"messageId": "bad", "body": "hello"}
    assert function.invoke({"Records": [*records, bad]}) == {"batchItemFailures": [{"itemIdentifier": "bad"}]}
    assert aws.result(key)["answers"]["caption"]["text"] == CAPTION
    assert aws.result(key)["source"]["key"] == key
    assert aws.result("text.png")["problem"]["type"] == "/docs#not-an-image"
    assert function.invoke({"Records": records}) == {"batchItemFailures": []}  # once more
    assert len(aws.s3.list_objects_v2(Bucket=RESULTS)["Contents"]) == 4


def test_an_error_is_told_and_the_next_request_is_answered(function: Function) -> None:
    with pytest.raises(Failed, match=r"UnknownEvent: No event that is served here has the keys key1, key2\."):
        function.invoke({"key2": "a value", "key1": 1})
    assert "a value" not in function.log()
    assert function.invoke(post("/caption"))["statusCode"] == 200


def test_a_failing_event_is_tried_again_by_lambda(function: Function, aws: Aws) -> None:
    """Without a queue the whole invocation fails; the message names errors and no keys."""
    named = {"bucket": {"name": "no-such-bucket"}, "object": {"key": "secret.png", "size": 9, "eTag": "abc"}}
    event = {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": named}]}
    with pytest.raises(Failed, match=r"DeliveryFailed: 1 of 1 objects failed: NoSuchBucket\.$"):
        function.invoke(event)
    assert "secret.png" not in function.log()


@contextmanager
def slow(emulator: Path, tmp_path: Path, timeout: int, **seconds: str) -> Iterator[Function]:
    """The function on a slow machine, its start behind it: the emulator counts it into the first request."""
    with running(emulator, tmp_path / "log", "slow_machine.handle", timeout, **seconds) as function:
        for _ in range(5):  # the start may take longer than the time-out
            with suppress(Failed):
                assert function.invoke(post("/health") | {"body": ""})["statusCode"] == 405
                break
        else:
            pytest.fail(function.log())
        yield function


def test_the_time_that_is_left_cuts_the_answer(emulator: Path, tmp_path: Path) -> None:
    """Four seconds, and a decoder that needs 0.4 s for a token: what is written after 3.5 s is the answer."""
    with slow(emulator, tmp_path, 4, SLOW_STEP="0.4") as function:
        answer = function.invoke(post("/caption"))
        assert answer["statusCode"] == 200
        body = json.loads(answer["body"])
        assert body["truncated"] is True
        assert CAPTION.startswith(body["caption"].strip())
        assert 0 < len(body["caption"]) < len(CAPTION)
        assert function.lines("answered")[0]["truncated"] is True


def test_too_little_time_is_a_503(emulator: Path, tmp_path: Path) -> None:
    with slow(emulator, tmp_path, 4, SLOW_LAST="9") as function:
        answer = function.invoke(post("/caption"))
        assert answer["statusCode"] == 503
        assert answer["headers"]["retry-after"] == "1"


def test_a_time_out_ends_the_invocation_and_the_environment(emulator: Path, tmp_path: Path) -> None:
    """Vision cannot be cut: what hangs there ends with Lambda's own time-out."""
    with slow(emulator, tmp_path, 3, SLOW_VISION="30") as function:
        with pytest.raises(Failed, match=r"Task timed out after 3\.00 seconds"):
            function.invoke(post("/caption"))
        assert len(function.lines("answered")) == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FLORENCE_ARTIFACT": "/nowhere"}, "SettingsError.*FLORENCE_ARTIFACT must name the folder"),
        ({"FLORENCE_RESULT_BUCKET": "x"}, "SettingsError.*no setting FLORENCE_RESULT_BUCKET"),
    ],
)
def test_a_start_that_cannot_work_says_why(
    emulator: Path, tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    with running(emulator, tmp_path / "log", **environment) as function, pytest.raises(Failed, match=message):
        function.invoke(post("/caption"))
