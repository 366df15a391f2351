"""What Lambda calls, with the miniature: real events of every source, each served or refused on purpose."""

import asyncio
import base64
import gc
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from buckets import PLAIN, RESULTS, Store
from conftest import ROOT

from handler.settings import Storage
from handler.storage.errors import NotSetUp, UnknownEvent

CAPTION = "A purple cross, a blue circle, a yellow star and a red circle."
SAMPLE = (ROOT / "handler" / "page" / "samples" / "shapes-1.png").read_bytes()


@dataclass
class Context:
    """Lambda's, as far as it is used."""

    milliseconds: int = 20_000
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@pytest.fixture(scope="module")
def entrypoint() -> ModuleType:
    """The module as Lambda imports it, with the miniature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLORENCE_ARTIFACT", str(ROOT / "models" / "mini"))
        patch.setenv("FLORENCE_CACHE_MB", "0")
        import handler.entrypoint

    try:
        asyncio.get_event_loop()
    except RuntimeError:  # other tests imported the module, and others took the thread's loop away as they ended theirs
        asyncio.set_event_loop(asyncio.new_event_loop())
    return handler.entrypoint


@pytest.fixture
def storage(entrypoint: ModuleType, store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """With a bucket for results."""
    monkeypatch.setattr(entrypoint, "settings", replace(entrypoint.settings, storage=Storage(results_bucket=RESULTS)))
    return store


def test_garbage_is_collected_again_after_the_start(entrypoint: ModuleType) -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000  # what the start made is not looked through again


# Each file of the reference data and what comes of it. A status: an answer over HTTP; these events ask for paths that
# are not there, but for two. A list: the objects of storage that are looked at, all gone. A text: refused with it.
EXPECTED: dict[str, int | list[str] | str] = {
    "powertools_albEvent": 404,
    "powertools_albMultiValueHeadersEvent": 404,
    "powertools_albMultiValueQueryStringEvent": 404,
    "powertools_apiGatewayProxyEvent": 404,
    "powertools_apiGatewayProxyEventPathTrailingSlash": "its body is base64, and it is not",  # "Hello from Lambda!"
    "powertools_apiGatewayProxyEvent_noVersionAuth": "its body is base64, and it is not",
    "powertools_apiGatewayProxyV2Event": 404,
    "powertools_apiGatewayProxyV2EventPathTrailingSlash": 404,
    "powertools_apiGatewayProxyV2Event_GET": 404,
    "powertools_apiGatewayProxyV2IamEvent": 404,
    "powertools_apiGatewayProxyV2LambdaAuthorizerEvent": 404,
    "powertools_lambdaFunctionUrlEvent": 200,  # GET /
    "powertools_lambdaFunctionUrlEventPathTrailingSlash": 404,
    "powertools_lambdaFunctionUrlEventWithHeaders": 200,  # GET /
    "powertools_lambdaFunctionUrlIAMEvent": 404,
    "powertools_s3Event": ["lambda-artifacts-deafc19498e3f2df/b21b84d653bb07b05b1e6b33684dc11b"],
    "powertools_s3EventDecodedKey": ["sourcebucket/Happy Face.jpg"],
    "powertools_s3EventBridgeNotificationObjectCreatedEvent": ["example-bucket/IMG_m7fzo3.jpg"],
    "powertools_s3SqsEvent": ["xxx/test.pdf"],
    "powertools_s3EventBridgeNotificationObjectDeletedEvent": [],
    "powertools_s3EventDeleteObject": [],
    "s3_test_event_composed": [],
    "powertools_eventBridgeEvent": "from aws.ec2 has the keys account, detail, detail-type, id, region, replay-name",
    "powertools_snsEvent": "from aws:sns has the keys Records",
    "powertools_snsSqsEvent": "batchItemFailures",
    "powertools_sqsDlqTriggerEvent": "batchItemFailures",
    "powertools_sqsEvent": "batchItemFailures",
}


def test_every_file_is_expected(refdata: Path) -> None:
    assert {path.stem for path in (refdata / "aws_events").glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_real_events(
    entrypoint: ModuleType, storage: Store, refdata: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = json.loads((refdata / "aws_events" / f"{name}.json").read_text())
    expected = EXPECTED[name]
    if isinstance(expected, int):
        answer = entrypoint.handle(event, Context())
        assert answer["statusCode"] == expected
        assert answer["isBase64Encoded"] is False
        if expected == 404:
            assert json.loads(answer["body"])["type"] == "about:blank"
    elif isinstance(expected, list):
        seen = looked_at(monkeypatch)
        assert entrypoint.handle(event, Context()) in ({}, {"batchItemFailures": []})
        assert seen == expected
    elif expected == "batchItemFailures":
        failures = entrypoint.handle(event, Context())["batchItemFailures"]
        assert [each["itemIdentifier"] for each in failures] == [each["messageId"] for each in event["Records"]]
    else:
        with pytest.raises(UnknownEvent, match=expected):
            entrypoint.handle(event, Context())


def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that are worked on from now on."""
    from handler.storage import work

    seen: list[str] = []

    def handle(named: Any, *_: Any) -> work.Outcome:
        seen.append(f"{named.bucket}/{named.key}")
        return work.Outcome.GONE

    monkeypatch.setattr(work, "handle", handle)
    return seen


def http(name: str, refdata: Path, method: str, path: str, body: bytes, query: dict[str, str]) -> dict[str, Any]:
    """A real event of this kind, with another request in it."""
    event: dict[str, Any] = json.loads((refdata / "aws_events" / f"powertools_{name}.json").read_text())
    headers = {"content-type": "image/png", "content-length": str(len(body))}
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    if "rawPath" in event:
        event |= {"rawPath": path, "rawQueryString": "&".join("=".join(pair) for pair in query.items())}
        event |= {"headers": headers, "queryStringParameters": query, "cookies": []}
        event["requestContext"]["http"] |= {"method": method, "path": path}
    else:
        event |= {"path": path, "httpMethod": method, "headers": headers, "queryStringParameters": query}
        event |= {"multiValueHeaders": {key: [value] for key, value in headers.items()}}
        event |= {"multiValueQueryStringParameters": {key: [value] for key, value in query.items()}}
    return event


KINDS = ["albEvent", "albMultiValueHeadersEvent", "apiGatewayProxyEvent", "apiGatewayProxyV2Event"]
KINDS += ["lambdaFunctionUrlEvent"]


def header(answer: dict[str, Any], name: str) -> str:
    return str((answer.get("headers") or {}).get(name) or answer["multiValueHeaders"][name][0])


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_over_http(entrypoint: ModuleType, refdata: Path, kind: str) -> None:
    answer = entrypoint.handle(http(kind, refdata, "POST", "/caption", SAMPLE, {}), Context())
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (200, False)
    assert json.loads(answer["body"])["caption"] == CAPTION
    query = {"min_score": "0.999"}
    answer = entrypoint.handle(http(kind, refdata, "POST", "/detect", SAMPLE, query), Context())
    assert json.loads(answer["body"])["objects"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_problems_are_text_and_the_icon_is_not_broken(entrypoint: ModuleType, refdata: Path, kind: str) -> None:
    answer = entrypoint.handle(http(kind, refdata, "POST", "/caption", b"text", {}), Context())
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (400, False)
    assert json.loads(answer["body"])["type"] == "/docs#not-an-image"
    assert header(answer, "content-type") == "application/problem+json"
    answer = entrypoint.handle(http(kind, refdata, "GET", "/page/samples/shapes-1.png", b"", {}), Context())
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == SAMPLE


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_learns_how_much_lambda_takes(entrypoint: ModuleType, refdata: Path, kind: str) -> None:
    answer = entrypoint.handle(http(kind, refdata, "GET", "/ready", b"", {}), Context())
    largest = json.loads(answer["body"])["max_image_bytes"]
    event = http(kind, refdata, "POST", "/caption", bytes(largest), {})
    assert 5_900_000 < len(json.dumps(event)) < 6 * 1024 * 1024


def test_too_little_time_is_a_503_that_may_be_tried_again(entrypoint: ModuleType, refdata: Path) -> None:
    event = http("apiGatewayProxyV2Event", refdata, "POST", "/caption", SAMPLE, {})
    answer = entrypoint.handle(event, Context(milliseconds=100))
    assert answer["statusCode"] == 503
    assert header(answer, "retry-after") == "1"
    assert json.loads(answer["body"])["type"] == "/docs#out-of-time"


def test_a_stored_picture(entrypoint: ModuleType, storage: Store) -> None:
    put = storage.put(PLAIN, "a b.png", SAMPLE)
    body = json.dumps(put.event)
    event = {"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]}
    assert entrypoint.handle(event, Context()) == {"batchItemFailures": []}
    result = json.loads(storage.get(RESULTS, f"results/{PLAIN}/a b.png/{put.etag}.json"))
    assert result["answers"]["caption"]["text"] == CAPTION
    assert {found["label"] for found in result["answers"]["detect"]["objects"]} == {"circle", "cross", "star"}


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"key1": "value1", "key2": "value2"},  # the console's own test event
        {"requestContext": {"connectionId": "c", "eventType": "MESSAGE"}, "body": "x", "isBase64Encoded": False},
        {"version": "1.0", "requestContext": {"functionArn": "f"}, "requestPayload": {}, "responsePayload": {}},
        {"requestContext": None},
    ],
    ids=["nothing", "the console's", "WebSocket", "a destination", "no context"],
)
def test_an_unknown_event_is_an_error_that_shows_its_keys(entrypoint: ModuleType, event: dict[str, Any]) -> None:
    keys = ", ".join(sorted(event)) or r"\(none\)"
    with pytest.raises(UnknownEvent, match=f"has the keys {keys}"):
        entrypoint.handle(event, Context())


def test_events_of_storage_need_a_bucket_for_results(entrypoint: ModuleType, refdata: Path) -> None:
    event = json.loads((refdata / "aws_events" / "powertools_s3Event.json").read_text())
    with pytest.raises(NotSetUp, match="FLORENCE_RESULTS_BUCKET"):
        entrypoint.handle(event, Context())
