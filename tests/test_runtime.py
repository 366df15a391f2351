"""The function as Lambda runs it: AWS's runtime client around the handler, requests and pictures from outside.

S3 and SQS are moto's server on the loopback; the events it sends are what its buckets and queues make of real calls.
"""

import base64
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aws import PICTURES, RESULTS, UPLOADS, Aws, account
from emulator import Failed, Function, running
from test_handler_entrypoint import CAPTION, SAMPLE

INIT = 5.0  # seconds at most, of Lambda's ten; about 0.7 on an idle machine


def request(method: str, path: str, body: bytes = b"", kind: str = "image/png") -> dict[str, Any]:
    """An HTTP API's event, payload version 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": kind},
        "requestContext": {
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def post(path: str, body: bytes = SAMPLE) -> dict[str, Any]:
    """The same with a picture."""
    return request("POST", path, body)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with account() as aws:
        yield aws


@pytest.fixture(scope="module")
def function(emulator: Path, aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    log_file = tmp_path_factory.mktemp("function") / "log"
    settings = {
        "FLORENCE_RESULTS_BUCKET": RESULTS,
        "FLORENCE_UPLOADS_BUCKET": UPLOADS,
        "FLORENCE_SOURCE_BUCKETS": PICTURES,
        "AWS_ENDPOINT_URL": aws.address,
    }
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
    listed = aws.s3.list_objects_v2(Bucket=RESULTS, Prefix=f"results/{PICTURES}/")["Contents"]
    assert len(listed) == 4


def test_from_an_upload_to_its_result(function: Function, aws: Aws) -> None:
    """The picture goes over HTTP to the signed address, as any client would send it."""
    asked = json.dumps({"content_type": "image/png", "bytes": len(SAMPLE)}).encode()
    answer = function.invoke(request("POST", "/uploads", asked, "application/json"))
    assert answer["statusCode"] == 201, answer
    said = json.loads(answer["body"])
    ask = request("GET", said["result"])
    assert json.loads(function.invoke(ask)["body"]) == {"status": "waiting"}
    put = said["upload"]
    sent = urllib.request.Request(put["url"], SAMPLE, put["headers"], method=put["method"])
    with urllib.request.urlopen(sent, timeout=20) as taken:
        assert taken.status == 200
    answer = function.invoke(ask)
    assert (answer["statusCode"], json.loads(answer["body"])) == (202, {"status": "working"})
    assert function.invoke({"Records": aws.received()}) == {"batchItemFailures": []}
    answer = function.invoke(ask)
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["answers"]["caption"]["text"] == CAPTION


def test_a_picture_that_is_in_a_bucket_already(function: Function, aws: Aws) -> None:
    key = "archive/été 1+1=2 100%.png"
    aws.s3.put_object(Bucket=PICTURES, Key=key, Body=SAMPLE)

    def ask(uri: str) -> tuple[int, Any]:
        body = json.dumps({"s3_uri": uri}).encode()
        answer = function.invoke(request("POST", "/caption", body, "application/json"))
        return answer["statusCode"], json.loads(answer["body"])

    status, answer = ask(f"s3://{PICTURES}/{key}")
    assert (status, answer["caption"]) == (200, CAPTION)
    status, answer = ask(f"s3://{RESULTS}/{key}")
    assert (status, answer["type"]) == (403, "/docs#bucket-not-allowed")
    assert key not in function.log()


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
                assert function.invoke(request("GET", "/health"))["statusCode"] == 200
                break
        else:
            pytest.fail(function.log())
        yield function


def test_the_time_that_is_left_cuts_the_answer(emulator: Path, tmp_path: Path) -> None:
    """Four seconds, and a decoder that needs 0.22 s for each of 18 tokens: what is there after 3.5 s is the answer."""
    with slow(emulator, tmp_path, 4, SLOW_STEP="0.22") as function:
        answer = function.invoke(post("/caption"))
        assert answer["statusCode"] == 200
        body = json.loads(answer["body"])
        assert body["truncated"] is True
        assert CAPTION.startswith(body["caption"].strip())
        assert 0 < len(body["caption"]) < len(CAPTION)
        assert function.lines("answered")[0]["truncated"] is True


def test_too_little_time_is_a_503(emulator: Path, tmp_path: Path) -> None:
    with slow(emulator, tmp_path, 20, SLOW_LAST="99") as function:
        answer = function.invoke(post("/caption"))
        assert answer["statusCode"] == 503
        assert answer["headers"]["retry-after"] == "1"


def test_a_time_out_ends_the_invocation_and_the_environment(emulator: Path, tmp_path: Path) -> None:
    """Vision cannot be cut: what hangs there ends with Lambda's own time-out."""
    with slow(emulator, tmp_path, 6, SLOW_VISION="30") as function:
        with pytest.raises(Failed, match=r"Task timed out after 6\.00 seconds"):
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
