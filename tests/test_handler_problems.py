"""Every error is a problem document, whoever raised it, and the table has no row that cannot be reached."""

import io
import logging
from http import HTTPStatus
from typing import Any

import httpx2
import pytest
from fakes import FakePredictor
from fastapi.testclient import TestClient
from PIL import Image

from handler.florence.errors import ArtifactError, DamagedImage, ImageTooLarge, NotAnImage, OutOfTime, UnsupportedFormat
from handler.florence.image import MAX_BYTES
from handler.problems import KINDS, MEDIA_TYPE, Busy
from handler.storage.errors import NotSetUp, ObjectGone, StorageRefused, StorageUnavailable, UnknownResult


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "PNG")
    return buffer.getvalue()


def check(answer: httpx2.Response, status: int, slug: str | None) -> dict[str, Any]:
    """That `answer` is a problem document of this status and kind; what it says."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["status"] == status
    assert problem["type"] == ("about:blank" if slug is None else f"/docs#{slug}")
    assert problem["detail"].endswith(".")
    return problem


# One request for each row of the table: what the core raises, or what is asked.
RAISED = [
    (NotAnImage("These bytes are no image."), 400, "not-an-image"),
    (UnsupportedFormat("TIFF is not read."), 415, "unsupported-format"),
    (ImageTooLarge("20000 x 20000 pixels are too many."), 413, "image-too-large"),
    (DamagedImage("The image breaks off."), 422, "damaged-image"),
    (ObjectGone("The picture is not there any more."), 404, "object-gone"),
    (UnknownResult("Nothing was uploaded under this id."), 404, "unknown-result"),
    (NotSetUp("A setting names no bucket."), 501, "not-set-up"),
    (StorageRefused("S3 does not let this server in."), 502, "storage-refused"),
    (StorageUnavailable("S3 cannot be reached."), 503, "storage-unavailable"),
    (OutOfTime("Too little time is left."), 503, "out-of-time"),
    (Busy("16 requests are waiting already."), 503, "busy"),
]
ASKED: list[tuple[str, dict[str, str], bytes, int, str]] = [
    ("/caption", {}, b"", 400, "missing-image"),
    ("/caption", {}, bytes(MAX_BYTES + 1), 413, "image-too-large"),
    ("/caption", {}, b"[", 400, "malformed-body"),
    ("/caption", {}, b'{"s3_uri": "s3://a/b"}', 403, "bucket-not-allowed"),
    ("/tasks/sing", {}, png(), 404, "unknown-task"),
    ("/tasks/ground", {}, png(), 422, "task-input"),
    ("/tasks/caption", {"input": "a dog"}, png(), 422, "task-input"),
    ("/tasks/caption", {"region": "1,1,2,2"}, png(), 422, "task-input"),
    ("/tasks/ground", {"input": "</s>"}, png(), 422, "task-input"),
    ("/tasks/region-category", {}, png(), 422, "task-input"),
    ("/tasks/region-category", {"input": "a dog"}, png(), 422, "task-input"),
    ("/tasks/region-category", {"region": "1,2,3"}, png(), 422, "task-input"),
    ("/tasks/region-category", {"region": "1,2,3,x"}, png(), 422, "task-input"),
    ("/tasks/region-category", {"region": "9,2,3,4"}, png(), 422, "task-input"),
    ("/tasks/region-category", {"region": "0,0,nan,inf"}, png(), 422, "task-input"),
    ("/tasks/region-category", {"region": "1,1,2,2"}, b"text", 400, "not-an-image"),
    ("/detect", {"min_score": "2"}, png(), 422, "invalid-request"),
    ("/detect", {"min_score": "much"}, png(), 422, "invalid-request"),
]


@pytest.mark.parametrize(("error", "status", "slug"), RAISED, ids=lambda value: type(value).__name__)
def test_errors_of_the_core(
    client: TestClient, predictor: FakePredictor, error: Exception, status: int, slug: str
) -> None:
    def fail() -> None:
        raise error

    predictor.before = fail
    answer = client.post("/analyze", content=png())
    assert check(answer, status, slug)["detail"] == str(error)
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


@pytest.mark.parametrize(("path", "params", "body", "status", "slug"), ASKED)
def test_errors_of_the_request(
    client: TestClient, path: str, params: dict[str, str], body: bytes, status: int, slug: str
) -> None:
    headers = {"Content-Type": "application/json"} if slug in ("malformed-body", "bucket-not-allowed") else None
    check(client.post(path, params=params, content=body, headers=headers), status, slug)


@pytest.mark.parametrize("error", [RuntimeError("secret"), ArtifactError("secret")], ids=lambda error: type(error))
def test_what_no_one_foresaw_is_a_500_that_tells_nothing(
    client: TestClient, predictor: FakePredictor, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    predictor.before = fail
    with caplog.at_level(logging.CRITICAL):
        answer = client.post("/caption", content=png())
    check(answer, 500, "internal-error")
    assert "secret" not in answer.text
    with pytest.raises(type(error), match="secret"):  # raised on, so that the server can log it
        TestClient(client.app).post("/caption", content=png())


def test_every_row_of_the_table_is_reached_above() -> None:
    reached = {slug for *_, slug in RAISED} | {slug for *_, slug in ASKED} | {"internal-error"}
    assert {kind.slug for kind in KINDS.values()} == reached


def test_a_wrong_value_is_named(client: TestClient) -> None:
    assert "min_score" in client.post("/detect", params={"min_score": "2"}, content=png()).json()["detail"]


def test_a_form_without_the_field(client: TestClient) -> None:
    check(client.post("/caption", files={"picture": ("a.png", png())}), 400, "missing-image")
    check(client.post("/caption", files={"image": ("a.png", b"")}), 400, "missing-image")
    check(client.post("/caption", files={"image": (None, "text, not a file")}), 400, "missing-image")


def test_a_form_that_is_none(client: TestClient) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        check(client.post("/caption", content=b"--y nonsense", headers={"Content-Type": content_type}), 400, None)


def test_the_frameworks_own_errors(client: TestClient) -> None:
    assert "/nowhere" in check(client.get("/nowhere"), HTTPStatus.NOT_FOUND, None)["detail"]
    answer = client.get("/caption")
    assert "POST" in check(answer, HTTPStatus.METHOD_NOT_ALLOWED, None)["detail"]
    assert answer.headers["allow"] == "POST"
    check(client.get("/page/nothing.js"), HTTPStatus.NOT_FOUND, None)
    check(client.post("/page/app.js"), HTTPStatus.METHOD_NOT_ALLOWED, None)


@pytest.mark.parametrize("path", ["/page/../api.py", "/page/%2e%2e/api.py", "/page/..%2fapi.py", "/page//etc/passwd"])
def test_files_outside_the_page_are_not_served(client: TestClient, path: str) -> None:
    check(client.get(path), HTTPStatus.NOT_FOUND, None)


def test_each_problem_has_its_place_in_the_api_documentation(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    documented = {
        example["value"]["type"]
        for item in paths.values()
        for operation in item.values()
        for response in operation["responses"].values()
        for example in response["content"].get(MEDIA_TYPE, {}).get("examples", {}).values()
    }
    assert documented == {kind.type for kind in KINDS.values()}
