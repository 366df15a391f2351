"""`/uploads` and `/results/{id}` over HTTP, against moto's buckets."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from buckets import RESULTS, UPLOADS, Store
from fakes import FakePredictor
from fastapi.testclient import TestClient
from test_storage_work import png

import handler
from handler.api import create_app
from handler.api.large_images import UploadAnswer
from handler.api.uploads import MAX_JSON
from handler.florence.errors import ImageTooLarge
from handler.florence.image import MAX_BYTES
from handler.problems import KINDS, MalformedBody
from handler.settings import Storage
from handler.storage import objects, uploads
from handler.storage.delivery import deliver
from handler.storage.errors import NotSetUp, StorageRefused, StorageUnavailable, UnknownResult

STORAGE = Storage(results_bucket=RESULTS, uploads_bucket=UPLOADS)
ASKED = {"content_type": "image/png", "bytes": 1234}


@pytest.fixture
def service(store: Store, predictor: FakePredictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor, storage=STORAGE), raise_server_exceptions=False) as client:
        yield client


def check(answer: Any, status: int, error: type[Exception]) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == KINDS[error].type
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


def as_described(service: TestClient, answer: Any, method: str, path: str) -> None:
    """That the answer is what the OpenAPI document says."""
    document = service.get("/openapi.json").json()
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    schema = described["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), schema | {"components": document["components"]})


def test_an_upload_is_told_where_to_go(service: TestClient) -> None:
    answer = service.post("/uploads", json=ASKED)
    assert answer.status_code == 201
    said = answer.json()
    assert said["result"] == f"/results/{said['id']}"
    assert said["upload"]["method"] == "PUT"
    assert said["upload"]["headers"] == {"Content-Type": "image/png", "Content-Length": "1234", "If-None-Match": "*"}
    assert f"/uploads/{said['id']}?" in said["upload"]["url"]
    assert int(datetime.fromisoformat(said["upload"]["expires"]).timestamp()) == int(said["id"][:8], 16) + 900
    as_described(service, answer, "post", "/uploads")


def test_the_guide_shows_such_an_answer() -> None:
    guide = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    examples = map(json.loads, re.findall(r"```json\n(.*?)```", guide, re.DOTALL))
    (shown,) = (example for example in examples if "upload" in example)
    assert UploadAnswer.model_validate(shown, extra="forbid").result == f"/results/{shown['id']}"
    assert set(shown["upload"]["headers"]) == {"Content-Type", "Content-Length", "If-None-Match"}


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"content_type": "image/tiff", "bytes": 9}, "content_type"),
        ({"content_type": "text/html", "bytes": 9}, "content_type"),
        ({"content_type": "image/png", "bytes": 0}, "bytes"),
        ({"content_type": "image/png", "bytes": MAX_BYTES + 1}, "bytes"),
        ({"content_type": "image/png", "bytes": "9"}, "bytes"),
        ({"content_type": "image/png"}, "bytes"),
        (ASKED | {"task": "caption"}, "task"),
        ({}, "content_type"),
    ],
)
def test_what_could_not_be_answered_gets_no_place(service: TestClient, asked: dict[str, Any], names: str) -> None:
    answer = service.post("/uploads", json=asked)
    assert (answer.status_code, answer.json()["type"]) == (422, "/docs#invalid-request")
    assert names in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_json_is_told(service: TestClient, body: bytes) -> None:
    check(service.post("/uploads", content=body, headers={"Content-Type": "application/json"}), 400, MalformedBody)


def test_a_body_over_the_limit_is_refused(service: TestClient) -> None:
    check(service.post("/uploads", content=b"{}" + b" " * MAX_JSON), 413, ImageTooLarge)


def test_from_the_upload_to_the_result(service: TestClient, store: Store, predictor: FakePredictor) -> None:
    said = service.post("/uploads", json={"content_type": "image/png", "bytes": len(png())}).json()
    waiting = service.get(said["result"])
    assert (waiting.status_code, waiting.json(), waiting.headers["retry-after"]) == (202, {"status": "waiting"}, "2")
    as_described(service, waiting, "get", "/results/{id}")
    put = store.put(UPLOADS, f"uploads/{said['id']}", png())
    working = service.get(said["result"])
    assert (working.status_code, working.json()) == (202, {"status": "working"})
    deliver(put.event, predictor, STORAGE, 60_000)
    answer = service.get(said["result"])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["outcome"] == "answered"
    assert answer.json()["answers"]["caption"]["text"] == "a fake answer to caption"
    told = {name: answer.headers[f"x-florence-{name}"] for name in ("model", "artifact", "version", "truncated")}
    assert told == {"model": "fake", "artifact": "0" * 64, "version": handler.__version__, "truncated": "false"}
    assert answer.headers["x-florence-image-sha256"] == answer.json()["image"]["sha256"]
    assert answer.json() == json.loads(store.get(RESULTS, f"results/{UPLOADS}/uploads/{said['id']}/latest.json"))
    as_described(service, answer, "get", "/results/{id}")


def test_a_refused_upload_has_a_result_too(service: TestClient, store: Store, predictor: FakePredictor) -> None:
    said = service.post("/uploads", json=ASKED).json()
    deliver(store.put(UPLOADS, f"uploads/{said['id']}", b"text").event, predictor, STORAGE, 60_000)
    answer = service.get(said["result"])
    assert answer.status_code == 200
    assert answer.json()["problem"]["type"] == "/docs#not-an-image"
    as_described(service, answer, "get", "/results/{id}")


def test_an_id_whose_time_is_over_is_unknown(service: TestClient) -> None:
    check(service.get("/results/" + "0" * 8 + "ab" * 16), 404, UnknownResult)


@pytest.mark.parametrize("id_", ["x", "..%2f..%2fsecret", "A" * 40, "0" * 39, "0" * 41, "0" * 40 + "%0a"])
def test_what_is_no_id_is_not_looked_for(service: TestClient, store: Store, id_: str) -> None:
    store.calls.clear()
    assert service.get(f"/results/{id_}").status_code in (404, 422)
    assert store.calls == []


ROUTES = [("POST", "/uploads"), ("GET", "/results/" + "0" * 40)]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_bucket_the_setting_is_named(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, json=ASKED if method == "POST" else None)
    check(answer, 501, NotSetUp)
    assert "FLORENCE_UPLOADS_BUCKET" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_boto3_the_package_is_named(
    predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    objects.forget()
    client = TestClient(create_app(predictor, storage=STORAGE), raise_server_exceptions=False)
    answer = client.request(method, path, json=ASKED if method == "POST" else None)
    check(answer, 501, NotSetUp)
    assert "pip install -r requirements/lambda.txt" in answer.json()["detail"]


def refused(code: str, status: int) -> ClientError:
    said = {"Error": {"Code": code, "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "GetObject")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (EndpointConnectionError(endpoint_url="http://secret"), 503, StorageUnavailable),
        (refused("SlowDown", 503), 503, StorageUnavailable),
        (refused("AccessDenied", 403), 502, StorageRefused),
        (refused("NoSuchBucket", 404), 502, StorageRefused),
        (NoCredentialsError(), 501, NotSetUp),
        (RuntimeError("secret"), 500, Exception),
    ],
    ids=str,
)
def test_a_bucket_that_fails(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, kind: type[Exception]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(uploads.results, "read", fail)
    answer = service.get("/results/" + "0" * 40)
    check(answer, status, kind)
    assert "secret" not in answer.text
