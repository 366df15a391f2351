"""`s3_uri` in requests, against moto's buckets: what is on the list is read, and nothing else."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from buckets import PLAIN, RESULTS, VERSIONED, Store
from fakes import FakePredictor
from fastapi.testclient import TestClient
from test_storage_work import png

from handler.api import create_app
from handler.florence.errors import OutOfTime
from handler.florence.image import MAX_BYTES
from handler.settings import Storage
from handler.storage import addresses, objects

SETTINGS = Storage(results_bucket=RESULTS, source_buckets=(PLAIN, VERSIONED))
ROUTES = {
    "/caption": {},
    "/detect": {"classes": "a dog"},
    "/analyze": {},
    "/classify": {},
    "/ground": {"text": "a dog"},
    "/segment": {"text": "a dog"},
    "/read": {},
    "/tasks/detect": {},
}


@pytest.fixture
def service(store: Store, predictor: FakePredictor) -> Iterator[TestClient]:
    with TestClient(create_app(predictor, storage=SETTINGS), raise_server_exceptions=False) as client:
        yield client


def kind(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("/docs#")


@pytest.mark.parametrize("bucket", [PLAIN, VERSIONED])
@pytest.mark.parametrize("key", ["a.png", "holiday/été 1+1=2 100%25.png", "//a", "?versionId=1", "a?b#c", "a\nb"])
def test_an_object_is_an_image(service: TestClient, store: Store, bucket: str, key: str) -> None:
    store.put(bucket, key, png(size=(30, 20)))
    answer = service.post("/caption", json={"s3_uri": f"s3://{bucket}/{key}"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["image"]["width"] == 30


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_that_takes_an_image_takes_an_address(service: TestClient, store: Store, route: str) -> None:
    routes = {path for path, item in service.get("/openapi.json").json()["paths"].items() if "post" in item}
    assert {path.replace("detect", "{task}") if "tasks" in path else path for path in ROUTES} == routes - {
        "/batch",
        "/uploads",
    }
    store.put(PLAIN, "a.png", png(size=(30, 20)))
    answer = service.post(route, json={"s3_uri": f"s3://{PLAIN}/a.png"} | ROUTES[route])
    assert answer.status_code == 200, answer.text
    assert answer.json()["image"]["width"] == 30


def test_a_version_is_the_one_that_is_named(service: TestClient, store: Store) -> None:
    old = store.put(VERSIONED, "a.png", png(size=(30, 20)))
    store.put(VERSIONED, "a.png", png(size=(60, 20)))
    address = f"s3://{VERSIONED}/a.png"
    assert service.post("/caption", json={"s3_uri": address}).json()["image"]["width"] == 60
    answer = service.post("/caption", json={"s3_uri": f"{address}?versionId={old.version}"})
    assert answer.json()["image"]["width"] == 30
    store.client.delete_object(Bucket=VERSIONED, Key="a.png")
    assert kind(service.post("/caption", json={"s3_uri": address})) == (404, "object-gone")
    assert service.post("/caption", json={"s3_uri": f"{address}?versionId={old.version}"}).status_code == 200


def test_a_version_that_is_not_there(service: TestClient, store: Store) -> None:
    store.put(VERSIONED, "a.png", png())
    uri = f"s3://{VERSIONED}/a.png?versionId=11111111-1111-1111-1111-111111111111"
    assert kind(service.post("/caption", json={"s3_uri": uri})) == (404, "object-gone")


def test_a_bucket_that_is_not_on_the_list_is_not_asked(service: TestClient, store: Store) -> None:
    store.put(RESULTS, "a.png", png())
    store.calls.clear()
    answer = service.post("/caption", json={"s3_uri": f"s3://{RESULTS}/a.png"})
    assert kind(answer) == (403, "bucket-not-allowed")
    assert "FLORENCE_SOURCE_BUCKETS" in answer.json()["detail"]
    assert PLAIN not in answer.text  # nor is the list told
    assert store.calls == []


@pytest.mark.parametrize(
    "uri",
    [
        *("a.png", "s3:/x/a", "s3://", f"s3://{PLAIN}", f"s3://{PLAIN}/", "http://x/a", "s3:///a"),
        f"s3://{PLAIN}/{'é' * 513}",  # more bytes than a key has
    ],
)
def test_what_is_no_address(service: TestClient, store: Store, uri: str) -> None:
    store.calls.clear()
    assert kind(service.post("/caption", json={"s3_uri": uri})) == (400, "malformed-body")
    assert store.calls == []


def test_what_is_not_there(service: TestClient) -> None:
    assert kind(service.post("/caption", json={"s3_uri": f"s3://{PLAIN}/never.png"})) == (404, "object-gone")


def test_what_is_no_image(service: TestClient, store: Store) -> None:
    store.put(PLAIN, "a.txt", b"text")
    assert kind(service.post("/caption", json={"s3_uri": f"s3://{PLAIN}/a.txt"})) == (400, "not-an-image")


def test_a_large_object_is_not_downloaded(service: TestClient, store: Store) -> None:
    store.put(PLAIN, "large.png", bytes(MAX_BYTES + 1))
    store.calls.clear()
    assert kind(service.post("/caption", json={"s3_uri": f"s3://{PLAIN}/large.png"})) == (413, "image-too-large")
    assert store.calls == ["HeadObject"]


def test_a_batch_says_which_object_failed(service: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(PLAIN, "a.png", png())
    look = objects.look

    def fail_for_b(named: Any) -> Any:
        if named.key == "b":
            raise EndpointConnectionError(endpoint_url="http://secret")
        return look(named)

    monkeypatch.setattr(objects, "look", fail_for_b)
    images = [{"s3_uri": f"s3://{PLAIN}/{name}"} for name in ("a.png", "never.png", "b")] + [{"s3_uri": "s3://other/a"}]
    items = service.post("/batch", json={"images": images}).json()["items"]
    assert [item["status"] for item in items] == [200, 404, 503, 403]
    assert items[1]["name"] == f"s3://{PLAIN}/never.png"


REFUSAL = ClientError(
    {"Error": {"Code": "403", "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": 403}},  # type: ignore[typeddict-item]
    "HeadObject",
)


@pytest.mark.parametrize(
    ("error", "status", "slug", "says"),
    [
        (EndpointConnectionError(endpoint_url="http://secret"), 503, "storage-unavailable", "S3"),
        (REFUSAL, 502, "storage-refused", "s3:GetObject"),
        (NoCredentialsError(), 501, "not-set-up", "credentials"),
    ],
    ids=["no connection", "no permission", "no credentials"],
)
def test_a_bucket_that_cannot_be_read(
    service: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, slug: str, says: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(objects, "look", fail)
    answer = service.post("/caption", json={"s3_uri": f"s3://{PLAIN}/a.png"})
    assert kind(answer) == (status, slug)
    assert says in answer.json()["detail"]
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


def test_a_bucket_that_hangs_is_not_waited_for_longer_than_there_is_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    monkeypatch.setattr(objects, "look", lambda _: held.wait(20))

    async def ask() -> None:
        with pytest.raises(OutOfTime):
            await addresses.read(f"s3://{PLAIN}/a.png", SETTINGS, time.perf_counter() + 0.05)
        assert not held.is_set()
        held.set()

    started = time.perf_counter()
    anyio.run(ask)
    assert time.perf_counter() - started < 10


def test_without_boto3_the_package_is_named(predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    objects.forget()
    client = TestClient(create_app(predictor, storage=SETTINGS), raise_server_exceptions=False)
    answer = client.post("/caption", json={"s3_uri": f"s3://{PLAIN}/a.png"})
    assert kind(answer) == (501, "not-set-up")
    assert "requirements/lambda.txt" in answer.json()["detail"]


def test_rekognitions_clients_name_objects_too(service: TestClient, store: Store) -> None:
    """In the words of Rekognition's own API."""
    old = store.put(VERSIONED, "a.png", png())
    store.put(VERSIONED, "a.png", b"text")
    headers = {"X-Amz-Target": "RekognitionService.DetectLabels", "Content-Type": "application/x-amz-json-1.1"}

    def ask(bucket: str, **named: str | None) -> Any:
        body = {"Image": {"S3Object": {"Bucket": bucket, **named}}}
        return service.post("/", json=body, headers=headers).json()

    assert [each["Name"] for each in ask(VERSIONED, Name="a.png", Version=old.version)["Labels"]][:1] == ["Red Circle"]
    assert ask(VERSIONED, Name="a.png")["__type"] == "InvalidImageFormatException"
    assert ask(VERSIONED, Name="never.png")["__type"] == "InvalidS3ObjectException"
    assert ask("another", Name="a.png")["__type"] == "InvalidS3ObjectException"
