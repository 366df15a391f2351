"""The log says what happened and never what was seen: each line is searched for what must not be in it."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from buckets import PLAIN, RESULTS, UPLOADS, Store
from conftest import ROOT
from fakes import FakePredictor
from fastapi import FastAPI
from starlette.testclient import TestClient
from test_handler_entrypoint import CAPTION, SAMPLE, Context

from handler import telemetry
from handler.api import create_app
from handler.florence import tasks
from handler.florence.predictor import Ask, Predictor
from handler.settings import Storage
from handler.storage import objects
from handler.storage.delivery import DeliveryFailed, deliver

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in an environment that has just started."""
    monkeypatch.setattr(telemetry, "_used", False)
    monkeypatch.delenv("AWS_LAMBDA_INITIALIZATION_TYPE", raising=False)
    telemetry.forget()
    yield
    telemetry.forget()


def lines(capsys: Captured) -> list[dict[str, Any]]:
    """What went to stdout, each line a JSON object."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("type_", "starts", "metric"),
    [
        ("on-demand", ["cold", "warm"], "ColdStarts"),
        ("", ["cold", "warm"], "ColdStarts"),
        ("snap-start", ["restored", "warm"], "RestoredStarts"),
        ("provisioned-concurrency", ["warm", "warm"], None),
    ],
)
def test_cold_restored_and_warm(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, type_: str, starts: list[str], metric: str | None
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", type_)
    for number in (1, 2):
        telemetry.begin(Context(aws_request_id=f"request-{number}"))
        telemetry.handled("bucket", "key", "answered", 12.34)
        telemetry.end()
    said = lines(capsys)
    logged = [line for line in said if "_aws" not in line]
    assert [(line["request_id"], line["start"]) for line in logged] == [
        ("request-1", starts[0]),
        ("request-2", starts[1]),
    ]
    counted = [line for line in said if "_aws" in line]
    assert [line[metric] for line in counted if metric] == ([[1.0]] if metric else [])


def test_an_answer_is_logged_and_counted(capsys: Captured) -> None:
    predictor = telemetry.WatchedPredictor(Predictor(ROOT / "models" / "mini", 1))
    telemetry.begin(Context())
    asks = [Ask(tasks.find("caption")), Ask(tasks.find("ground"), "a purple cross")]
    assert predictor.predict(SAMPLE, asks).predictions[0].text == CAPTION
    telemetry.end()
    answered, counted = lines(capsys)
    assert answered["message"] == "answered"
    assert answered["request_id"] == "request-1"
    assert answered["tasks"] == ["caption", "ground"]
    assert (answered["format"], answered["width"], answered["height"], answered["bytes"]) == (
        "PNG",
        144,
        192,
        len(SAMPLE),
    )
    assert answered["truncated"] is False
    assert set(answered["milliseconds"]) == {"image", "vision", "encoder", "decoder"}
    assert all(spent > 0 for spent in answered["milliseconds"].values())
    (described,) = counted["_aws"]["CloudWatchMetrics"]
    assert described["Namespace"] == "FlorenceLambda"
    assert described["Dimensions"] == [["service"]]
    named = {each["Name"]: each["Unit"] for each in described["Metrics"]}
    assert named == {
        "ColdStarts": "Count",
        "Pictures": "Count",
        "ImageMilliseconds": "Milliseconds",
        "VisionMilliseconds": "Milliseconds",
        "EncoderMilliseconds": "Milliseconds",
        "DecoderMilliseconds": "Milliseconds",
    }
    assert all(isinstance(counted[name][0], float) for name in named)


def test_a_request_is_logged_by_its_route(capsys: Captured, predictor: FakePredictor) -> None:
    client = TestClient(telemetry.watch(create_app(predictor)))
    client.post("/tasks/ground", params={"input": "my secret"}, content=SAMPLE)
    client.get("/secret/path")
    requests = [(line["method"], line["route"], line["status"]) for line in lines(capsys)]
    assert requests == [("POST", "/tasks/{task}", 200), ("GET", "", 404)]


def test_an_unforeseen_error_is_logged_by_type_and_place(
    capsys: Captured, predictor: FakePredictor, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a secret")

    predictor.before = fail
    with caplog.at_level(logging.DEBUG):
        answer = TestClient(telemetry.watch(create_app(predictor))).post("/caption", content=SAMPLE)
    assert answer.status_code == 500
    failed, request = lines(capsys)
    assert (failed["level"], failed["error"]) == ("ERROR", "RuntimeError")
    assert "fail" in failed["traceback"][-1]
    assert request["status"] == 500
    assert "secret" not in caplog.text


SECRETS = ("purple", "cross", "secret", "me.png", "red circle", "blue", "iVBOR", "PNG\\r")


def test_neither_image_nor_text_nor_names_are_logged(
    capsys: Captured, caplog: pytest.LogCaptureFixture, store: Store
) -> None:
    """Everything at every level, of every library, while pictures come over HTTP and from buckets, well and badly."""
    predictor = telemetry.WatchedPredictor(Predictor(ROOT / "models" / "mini", 1))
    app: FastAPI = create_app(predictor)
    client = TestClient(telemetry.watch(app))
    puts = [store.put(PLAIN, "secret/me.png", SAMPLE), store.put(PLAIN, "secret/text.png", b"secret text")]
    caplog.set_level(logging.INFO)
    telemetry.begin(Context())
    assert client.post("/analyze", content=SAMPLE).status_code == 200
    assert client.post("/tasks/ground", params={"input": "a secret purple cross"}, content=SAMPLE).status_code == 200
    assert client.post("/tasks/secret", content=SAMPLE).status_code == 404
    assert client.post("/caption", content=b"a secret text").status_code == 400
    storage = Storage(results_bucket=RESULTS, tags=True, preview=True)
    for put in puts:
        deliver(put.event, predictor, storage, 60_000)
    message = {"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": "a secret body"}]}
    assert deliver(message, predictor, storage, 60_000)["batchItemFailures"]
    with pytest.raises(Exception, match="objects failed"):
        deliver(puts[0].event, predictor, Storage(results_bucket="no-such-bucket"), 60_000)
    telemetry.end()
    said = capsys.readouterr()
    assert '"message":"answered"' in said.out
    assert '"message":"object failed"' in said.out
    assert "FailedPictures" in said.out
    others = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]  # the client's
    for secret in SECRETS:
        assert secret not in said.out + said.err + "\n".join(others), secret


def test_no_key_token_or_address_is_logged(
    capsys: Captured, caplog: pytest.LogCaptureFixture, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lets someone in: in headers, queries, addresses, credentials; and what errors quote, tracebacks included."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-credential")
    objects.forget()
    predictor = FakePredictor()
    storage = Storage(results_bucket=RESULTS, uploads_bucket=UPLOADS, source_buckets=(PLAIN,))
    client = TestClient(telemetry.watch(create_app(predictor, storage=storage)))
    headers = {"Authorization": "Bearer hush-token", "Cookie": "session=hush-cookie", "X-Api-Key": "hush-key"}
    caplog.set_level(logging.INFO)
    telemetry.begin(Context())
    assert client.post("/caption", content=SAMPLE, headers=headers).status_code == 200
    assert client.post("/caption?token=hush-query", content=SAMPLE, headers=headers).status_code == 422
    lent = client.post("/uploads", json={"content_type": "image/png", "bytes": len(SAMPLE)}, headers=headers)
    assert lent.status_code == 201, lent.text
    signature = re.findall(r"X-Amz-Signature=([0-9a-f]{64})", lent.text)
    assert signature
    for uri in ("s3://hush-bucket/x", f"s3://{PLAIN}/hush-object", "hush-no-address"):
        assert client.post("/caption", json={"s3_uri": uri}, headers=headers).status_code >= 400
    assert client.get("/hush-path?hush-query=1", headers=headers).status_code == 404
    put = store.put(PLAIN, "hush/me.png", SAMPLE)

    def fail() -> None:
        raise RuntimeError("hush-message about hush/me.png")

    predictor.before = fail
    assert client.post("/detect", content=SAMPLE, headers=headers).status_code == 500
    message = {"messageId": "m", "eventSource": "aws:sqs", "body": json.dumps(put.event)}
    assert deliver({"Records": [message]}, predictor, storage, 60_000)["batchItemFailures"]
    with pytest.raises(DeliveryFailed) as told:
        deliver(put.event, predictor, storage, 60_000)
    telemetry.end()
    said = capsys.readouterr()
    others = [record.getMessage() for record in caplog.records if not record.name.startswith("httpx2")]  # the client's
    everything = said.out + said.err + "\n".join(others) + str(told.value)
    assert everything.count('"error":"RuntimeError"') == 3
    assert "hush" not in everything
    assert signature[0] not in everything


def test_an_object_is_named_by_what_the_docstring_says() -> None:
    expected = hashlib.sha256(b"my-bucket/photos/me.jpg").hexdigest()[:16]
    assert telemetry.name("my-bucket", "photos/me.jpg") == expected
