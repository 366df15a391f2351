"""What a request may look like: raw, form or JSON, options in the query or beside the image; and what it may not."""

import base64
from typing import Any

import pytest
from buckets import PLAIN, Store
from fakes import FakePredictor
from images import encoded, noise
from starlette.testclient import TestClient

from handler.api import create_app
from handler.api.uploads import MAX_IMAGES, MAX_JSON
from handler.florence.image import MAX_BYTES
from handler.problems import MEDIA_TYPE
from handler.settings import Storage

PNG = encoded(noise((200, 100)), "PNG")
BASE64 = base64.b64encode(PNG).decode()


def problem(answer: Any, status: int, slug: str) -> str:
    """That `answer` is this problem; its sentence."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, MEDIA_TYPE), answer.text
    assert answer.json()["type"] == f"/docs#{slug}"
    return str(answer.json()["detail"])


@pytest.mark.parametrize(
    "image",
    [
        BASE64,
        f"data:image/png;base64,{BASE64}",
        f"data:;base64,{BASE64}",
        base64.encodebytes(PNG).decode(),  # with line breaks, as the command `base64` writes it
    ],
    ids=["base64", "data-url", "bare-data-url", "lines"],
)
def test_json_answers_as_a_body_does(client: TestClient, image: str) -> None:
    assert client.post("/analyze", json={"image": image}).json() == client.post("/analyze", content=PNG).json()


def test_options_stand_in_the_query_the_form_or_json(client: TestClient) -> None:
    expected = client.post("/detect", params={"min_score": 0.5}, content=PNG).json()
    assert [found["label"] for found in expected["objects"]] == ["red circle"]
    form = client.post("/detect", files={"image": ("a.png", PNG)}, data={"min_score": "0.5"})
    sent = client.post("/detect", json={"image": BASE64, "min_score": 0.5})
    assert form.json() == sent.json() == expected


def test_the_body_comes_before_the_query(client: TestClient) -> None:
    answer = client.post("/detect", params={"min_score": 1, "max_objects": 1}, json={"image": BASE64, "min_score": 0})
    assert [found["label"] for found in answer.json()["objects"]] == ["red circle"]


@pytest.mark.parametrize(
    ("detail", "task"),
    [("brief", "caption"), ("detailed", "detailed-caption"), ("paragraph", "more-detailed-caption")],
)
def test_captions_of_three_lengths(client: TestClient, predictor: FakePredictor, detail: str, task: str) -> None:
    assert client.post("/caption", params={"detail": detail}, content=PNG).json()["caption"].endswith(task)
    client.post("/analyze", params={"detail": detail}, content=PNG)
    assert [ask.task.name for ask in predictor.asked] == [task, task, "detect"]


@pytest.mark.parametrize(
    "sent",
    [
        {"params": {"classes": "a dog, a cat,,a dog"}, "content": PNG},
        {"params": {"classes": ["a dog", "a cat"]}, "content": PNG},
        {"files": {"image": ("a.png", PNG)}, "data": {"classes": ["a dog", "a cat"]}},
        {"json": {"image": BASE64, "classes": ["a dog", "a cat"]}},
        {"json": {"image": BASE64, "classes": "a dog,a cat"}},
    ],
    ids=["commas", "repeated", "form", "list", "text"],
)
def test_classes_are_looked_for_side_by_side(client: TestClient, predictor: FakePredictor, sent: Any) -> None:
    objects = client.post("/detect", **sent).json()["objects"]
    assert [found["label"] for found in objects] == ["a dog", "a dog", "a cat", "a cat"]
    asked = [(ask.task.name, ask.input) for ask in predictor.asked]
    assert asked == [("open-vocabulary-detection", "a dog"), ("open-vocabulary-detection", "a cat")]


def test_the_surest_objects_are_kept_in_their_order(client: TestClient) -> None:
    whole = client.post("/detect", params={"classes": "a,b"}, content=PNG).json()["objects"]
    kept = client.post("/detect", params={"classes": "a,b", "max_objects": 3}, content=PNG).json()["objects"]
    assert [found["score"] for found in whole] == [0.9877, 0.4, 0.9877, 0.4]
    assert kept == whole[:3]


def test_classify_names_each_once(client: TestClient) -> None:
    labels = client.post("/classify", content=PNG).json()["labels"]
    assert labels[0] == {"label": "red circle", "score": 0.9877, "count": 1}
    labels = client.post("/classify", params={"classes": "a,b", "max_labels": 1}, content=PNG).json()["labels"]
    assert labels == [{"label": "a", "score": 0.9877, "count": 2}]


def test_segment_takes_a_text_or_a_region(client: TestClient, predictor: FakePredictor) -> None:
    (found,) = client.post("/segment", params={"text": "the dog"}, content=PNG).json()["objects"]
    assert found["label"] == "the dog"
    assert found["polygons"]
    for region in ("20,10,100,50", [20, 10, 100, 50]):
        (found,) = client.post("/segment", json={"image": BASE64, "region": region}).json()["objects"]
        assert found["label"] == ""
    assert [ask.task.name for ask in predictor.asked] == ["referring-segmentation"] + ["region-segmentation"] * 2
    problem(client.post("/segment", content=PNG), 422, "task-input")
    problem(client.post("/segment", params={"text": "a", "region": "1,1,9,9"}, content=PNG), 422, "task-input")


def test_read_with_and_without_regions(client: TestClient) -> None:
    answer = client.post("/read", content=PNG).json()
    assert answer["text"] == "text"
    assert len(answer["objects"][0]["quad"]) == 8
    plain = client.post("/read", params={"regions": False}, content=PNG).json()
    assert (plain["text"], plain["objects"]) == ("a fake answer to read", [])
    refused = client.post("/read", params={"regions": False, "format": "rekognition"}, content=PNG)
    assert "rekognition" in problem(refused, 422, "task-input")


def test_ground_needs_a_text(client: TestClient, predictor: FakePredictor) -> None:
    assert client.post("/ground", params={"text": "a dog"}, content=PNG).json()["objects"]
    assert predictor.asked[0].input == "a dog"
    assert client.post("/ground", json={"image": BASE64, "text": "a cat"}).json()["objects"]
    assert predictor.asked[1].input == "a cat"
    assert "text" in problem(client.post("/ground", content=PNG), 422, "task-input")


@pytest.mark.parametrize(
    ("path", "sent", "names"),
    [
        ("/detect", {"params": {"min_scor": 1}, "content": PNG}, "min_scor"),
        ("/detect", {"json": {"image": BASE64, "min_scor": 1}}, "min_scor"),
        ("/detect", {"json": {"image": BASE64, "min_score": "much"}}, "min_score"),
        ("/detect", {"json": {"image": BASE64, "min_score": "0.5"}}, "min_score"),
        ("/detect", {"json": {"image": BASE64, "classes": [1]}}, "classes"),
        ("/read", {"json": {"image": BASE64, "regions": 0}}, "regions"),
        ("/detect", {"json": {"image": BASE64, "classes": [str(each) for each in range(33)]}}, "classes"),
        ("/detect", {"params": {"max_objects": 0}, "content": PNG}, "max_objects"),
        ("/caption", {"params": {"detail": "much"}, "content": PNG}, "detail"),
        ("/caption", {"params": {"format": "rekognition"}, "content": PNG}, "format"),
        ("/analyze", {"params": {"format": "hf"}, "content": PNG}, "format"),
        ("/detect", {"files": {"image": ("a.png", PNG)}, "data": {"format": "xml"}}, "format"),
        ("/detect", {"json": {"inputs": BASE64, "parameters": {"depth": 2}}}, "depth"),
    ],
)
def test_options_that_cannot_be_are_named(client: TestClient, path: str, sent: Any, names: str) -> None:
    assert names in problem(client.post(path, **sent), 422, "invalid-request")


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        (b"", "malformed-body"),
        (b"{", "malformed-body"),
        (b"[" * 100_000, "malformed-body"),
        (b'{"image": ' * 5_000, "malformed-body"),
        (b"\xff\xfe", "malformed-body"),
        (b"null", "malformed-body"),
        (b'["image"]', "malformed-body"),
        (b"{}", "missing-image"),
        (b'{"image": null}', "missing-image"),
        (b'{"image": ""}', "missing-image"),
        (b'{"image": 1}', "malformed-body"),
        (b'{"image": "@@"}', "malformed-body"),
        (b'{"image": "YWJ"}', "malformed-body"),
        (b'{"image": "data:image/png,abc"}', "malformed-body"),
        (b'{"image": "\\u00e9"}', "malformed-body"),
        (b'{"image": "YWJj", "s3_uri": "s3://a/b"}', "missing-image"),
        (b'{"image": "YWJj"}', "not-an-image"),
        (b'{"inputs": "YWJj", "parameters": 1}', "malformed-body"),
    ],
)
def test_json_that_cannot_be(client: TestClient, body: bytes, slug: str) -> None:
    problem(client.post("/caption", content=body, headers={"Content-Type": "application/json"}), 400, slug)


def test_json_may_be_larger_than_the_image_in_it_and_no_more(client: TestClient, predictor: FakePredictor) -> None:
    padded = PNG + bytes(MAX_BYTES - len(PNG))  # what follows a PNG is no part of it
    assert client.post("/caption", json={"image": base64.b64encode(padded).decode()}).status_code == 200
    larger = base64.b64encode(padded + bytes(3)).decode()
    assert "bytes" in problem(client.post("/caption", json={"image": larger}), 413, "image-too-large")
    problem(client.post("/caption", json={"image": "a" * MAX_JSON}), 413, "image-too-large")
    assert len(predictor.asked) == 1


# ---- buckets: test_storage_addresses has the rest


def test_unless_told_otherwise_no_bucket_is_read(client: TestClient) -> None:
    answer = client.post("/caption", json={"s3_uri": "s3://a/b"})
    assert "FLORENCE_SOURCE_BUCKETS" in problem(answer, 403, "bucket-not-allowed")


def test_an_object_of_a_bucket(predictor: FakePredictor, store: Store) -> None:
    client = TestClient(create_app(predictor, storage=Storage(source_buckets=(PLAIN,))))
    store.put(PLAIN, "a.png", PNG)
    stored = client.post("/analyze", json={"s3_uri": f"s3://{PLAIN}/a.png", "min_score": 0.5})
    assert stored.json() == client.post("/analyze", params={"min_score": 0.5}, content=PNG).json()


# ---- batches


def test_a_batch_answers_each_image_or_says_why_not(client: TestClient, predictor: FakePredictor) -> None:
    files = [("image", (name, data)) for name, data in [("a.png", PNG), ("b.txt", b"text"), ("c.png", PNG)]]
    answer = client.post("/batch", files=files, data={"min_score": "0.5"})
    assert answer.status_code == 200
    first, second, third = answer.json()["items"]
    assert first == {
        "name": "a.png",
        "status": 200,
        "answer": client.post("/analyze", params={"min_score": 0.5}, content=PNG).json(),
    }
    assert third == first | {"name": "c.png"}
    assert (second["name"], second["status"], second["problem"]["type"]) == ("b.txt", 400, "/docs#not-an-image")
    assert second["problem"]["request_id"] == answer.headers["x-request-id"]
    model = first["answer"]["model"]
    assert (answer.headers["x-florence-model"], answer.headers["x-florence-artifact"]) == (
        model["name"],
        model["artifact"],
    )
    assert "answer" not in second


def test_a_batch_in_json_asks_any_task(client: TestClient) -> None:
    images = [{"name": "a", "image": BASE64}, BASE64, {"s3_uri": "s3://a/b"}, {}]
    body = {"images": images, "task": "ground", "input": "a dog"}
    items = client.post("/batch", json=body).json()["items"]
    assert [(item.get("name"), item["status"]) for item in items] == [
        ("a", 200),
        (None, 200),
        ("s3://a/b", 403),
        (None, 400),
    ]
    assert items[0]["answer"]["task"] == "ground"


@pytest.mark.parametrize(
    ("sent", "status", "slug"),
    [
        ({"content": PNG}, 400, "missing-image"),
        ({"json": {"images": []}}, 400, "missing-image"),
        ({"json": {"images": 1}}, 400, "malformed-body"),
        ({"json": {"images": [1]}}, 400, "malformed-body"),
        ({"json": {"images": [{"image": BASE64, "name": 1}]}}, 400, "malformed-body"),
        ({"json": {"images": [BASE64] * (MAX_IMAGES + 1)}}, 400, "malformed-body"),
        ({"files": {"picture": ("a.png", PNG)}}, 400, "missing-image"),
        ({"files": [("image", ("a.png", PNG))] * (MAX_IMAGES + 1)}, 400, "malformed-body"),
        ({"json": {"images": [BASE64], "task": "sing"}}, 422, "invalid-request"),
        ({"json": {"images": [BASE64], "task": "ground"}}, 422, "task-input"),
        ({"json": {"images": [BASE64], "input": "a dog"}}, 422, "task-input"),
    ],
)
def test_batches_that_cannot_be(
    client: TestClient, predictor: FakePredictor, sent: Any, status: int, slug: str
) -> None:
    problem(client.post("/batch", **sent), status, slug)
    assert predictor.asked == []


def test_a_batch_over_the_limit(client: TestClient) -> None:
    half = bytes(MAX_BYTES // 2)
    problem(client.post("/batch", files=[("image", ("a", half))] * 2), 413, "image-too-large")
