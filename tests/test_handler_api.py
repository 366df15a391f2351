"""The API against a stand-in predictor: routes, answers, limits, and its description of itself."""

import hashlib
import io
import json
import re
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import jsonschema  # type: ignore[import-untyped]
import pytest
from fakes import NOTICE, FakePredictor
from fastapi.testclient import TestClient
from openapi_spec_validator import validate
from PIL import Image

import handler
from handler.api import create_app
from handler.api.inference import GATEWAY_SECONDS, RESERVE_SECONDS
from handler.florence import image
from handler.florence.tasks import TASKS, find
from handler.problems import KINDS

WIDTH, HEIGHT = 200, 100


def png(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "navy").save(buffer, "PNG")
    return buffer.getvalue()


def test_caption(client: TestClient) -> None:
    answer = client.post("/caption", content=png())
    assert answer.status_code == 200
    assert answer.json() == {
        "caption": "a fake answer to caption",
        "score": 0.8765,
        "truncated": False,
        "cached": False,
        "image": {"width": WIDTH, "height": HEIGHT, "format": "PNG", "sha256": hashlib.sha256(png()).hexdigest()},
        "model": {"name": "fake", "artifact": "0" * 64, "precision": "fp32", "notice": NOTICE},
        "version": handler.__version__,
        "milliseconds": {"image": 1.2, "vision": 2.0, "encoder": 3.0, "decoder": 4.0, "total": 10.2},
    }


def test_detect(client: TestClient) -> None:
    answer = client.post("/detect", content=png()).json()
    assert answer["objects"] == [
        {"label": "red circle", "score": 0.9877, "box": [20, 10, 100, 50]},
        {"label": "blue square", "score": 0.4, "box": [120, 20, 180, 95]},
    ]
    assert "caption" not in answer


@pytest.mark.parametrize("path", ["/detect", "/analyze", "/tasks/detect"])
def test_objects_below_the_minimum_score_are_left_out(client: TestClient, path: str) -> None:
    answer = client.post(path, params={"min_score": 0.5}, content=png()).json()
    assert [found["label"] for found in answer["objects"]] == ["red circle"]


def test_analyze_asks_both_in_one_pass(client: TestClient, predictor: FakePredictor) -> None:
    answer = client.post("/analyze", content=png()).json()
    assert answer["caption"] == "a fake answer to caption"
    assert answer["score"] == 0.8765
    assert len(answer["objects"]) == 2
    assert [ask.task.name for ask in predictor.asked] == ["caption", "detect"]


def test_a_model_without_a_notice_has_none(client: TestClient, predictor: FakePredictor) -> None:
    predictor.manifest.notice = ""
    assert "notice" not in client.post("/caption", content=png()).json()["model"]
    assert "notice" not in client.get("/ready").json()["model"]


def test_a_form_answers_as_a_body_does(client: TestClient) -> None:
    form = client.post("/analyze", files={"image": ("photo.png", png(), "image/png")})
    assert form.json() == client.post("/analyze", content=png()).json()


def test_curls_default_content_type_is_an_image_too(client: TestClient) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/caption", content=png(), headers=headers).status_code == 200


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task(client: TestClient, predictor: FakePredictor, task: Any) -> None:
    params = {"none": {}, "text": {"input": "a red circle"}, "region": {"region": "20,10,100,50"}}[task.input]
    by_name = client.post(f"/tasks/{task.name}", params=params, content=png())
    assert by_name.status_code == 200, by_name.text
    assert by_name.json()["task"] == task.name
    assert by_name.json()["truncated"] == (task.name == "read")
    assert client.post(f"/tasks/{task.token}", params=params, content=png()).json() == by_name.json()
    expected = {"none": None, "text": "a red circle", "region": (20, 10, 100, 50)}
    assert [ask.input for ask in predictor.asked] == [expected[task.input]] * 2


def test_tasks_are_listed_as_the_core_has_them(client: TestClient) -> None:
    listed = client.get("/tasks").json()
    assert [each["name"] for each in listed] == [task.name for task in TASKS]
    assert all(find(each["token"]).prompt == each["prompt"] for each in listed)


def test_ready_names_the_model(client: TestClient) -> None:
    assert client.get("/ready").json() == {
        "model": {"name": "fake", "artifact": "0" * 64, "precision": "fp32", "notice": NOTICE},
        "max_image_bytes": image.MAX_BYTES,
    }


def test_health_answers_while_an_inference_runs_and_inferences_do_not_overlap(
    client: TestClient, predictor: FakePredictor
) -> None:
    started, release = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        assert release.wait(30)

    predictor.before = wait
    statuses: list[int] = []

    def post() -> None:
        statuses.append(client.post("/caption", content=png()).status_code)

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    try:
        assert client.get("/health").json() == {"status": "ok"}
    finally:
        release.set()
    for thread in threads:
        thread.join(30)
    assert statuses == [200, 200, 200]
    assert predictor.most_running == 1


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/health", "/ready", "/tasks", "/samples", "/samples/shapes-1.png", "/openapi.json", "/nowhere"],
)
def test_head_is_get_without_the_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert len(get.content) > 10
    for answer in (head, get):
        del answer.headers["x-request-id"]
    if path != "/nowhere":  # its problem document has the request's id in it
        assert head.headers == get.headers
    assert client.head("/caption").status_code == 405


class _Context:
    def __init__(self, left: int) -> None:
        self.left = left

    def get_remaining_time_in_millis(self) -> int:
        return self.left


@pytest.mark.parametrize(
    ("left", "allowed"),
    [(10_000, 10 - RESERVE_SECONDS), (60_000, GATEWAY_SECONDS), (None, None)],
    ids=["what Lambda leaves", "what the gateway leaves", "no limit on this machine"],
)
def test_the_time_that_is_left_limits_the_answer(
    predictor: FakePredictor, left: int | None, allowed: float | None
) -> None:
    app = create_app(predictor)

    async def in_lambda(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | ({"aws.context": _Context(left)} if left is not None else {}), receive, send)

    before = time.perf_counter()
    assert TestClient(in_lambda).post("/caption", content=png()).status_code == 200
    if allowed is None:
        assert predictor.deadline is None
    else:
        assert predictor.deadline is not None
        assert before + allowed <= predictor.deadline <= time.perf_counter() + allowed


async def _ask(app: Any, headers: list[tuple[bytes, bytes]], receive: Callable[[], Any]) -> int:
    """The status that `app` answers to a POST /caption whose body comes from `receive`."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/caption",
        "raw_path": b"/caption",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    await app(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
@pytest.mark.parametrize("form", [True, False], ids=["form", "body"])
def test_a_body_over_the_limit_is_not_read_whole(predictor: FakePredictor, announced: bool, form: bool) -> None:

    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' if form else b""
    headers = [(b"content-type", b"multipart/form-data; boundary=x" if form else b"image/png")]
    if announced:
        headers.append((b"content-length", str(image.MAX_BYTES * 3).encode()))
    chunks = iter([head])
    taken = 0

    async def receive() -> dict[str, Any]:
        nonlocal taken
        chunk = next(chunks, bytes(1_000_000))
        taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": taken < image.MAX_BYTES * 3}

    assert anyio.run(_ask, create_app(predictor), headers, receive) == 413
    assert taken == 0 if announced else taken <= image.MAX_BYTES + 1_000_000 + len(head)
    assert predictor.asked == []


def test_the_openapi_document_is_valid(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    validate(document)
    assert document["info"]["version"] == handler.__version__
    operations = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert operations == {
        "POST /caption",
        "POST /detect",
        "POST /analyze",
        "POST /classify",
        "POST /ground",
        "POST /segment",
        "POST /read",
        "POST /tasks/{task}",
        "POST /batch",
        "GET /tasks",
        "GET /health",
        "GET /ready",
        "POST /uploads",
        "GET /results/{id}",
    }


def test_the_guide_names_every_route_and_problem(client: TestClient) -> None:
    guide = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    paths = client.get("/openapi.json").json()["paths"]
    routes = [f"{method.upper()} {path}" for path, item in paths.items() for method in item]
    assert sorted(re.findall(r"^\| `((?:GET|POST) [^`]+)`", guide, re.MULTILINE)) == sorted(routes)
    problems = re.findall(r"^\| `(/docs#[^`]+)` \| (\d+)", guide, re.MULTILINE)
    assert sorted(problems) == sorted((kind.type, str(kind.status.value)) for kind in KINDS.values())
    examples = map(json.loads, re.findall(r"```json\n(.*?)```", guide, re.DOTALL))
    (shown,) = (example for example in examples if "caption" in example)
    assert set(shown) == set(client.post("/analyze", content=png()).json())


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert handler.__version__ == project["project"]["version"]


@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("POST", "/caption", {}),
        ("POST", "/detect", {}),
        ("POST", "/analyze", {}),
        ("POST", "/classify", {"classes": "dog,cat"}),
        ("POST", "/ground", {"text": "a dog"}),
        ("POST", "/segment", {"region": "1,1,9,9"}),
        ("POST", "/read", {}),
        ("POST", "/tasks/{task}", {"region": "1,1,9,9"}),
        *[
            ("POST", path, {"format": form})
            for path, forms in {
                "/caption": ("hf", "coco"),
                "/detect": ("hf", "coco", "rekognition"),
                "/classify": ("hf", "rekognition"),
                "/read": ("hf", "coco", "rekognition"),
            }.items()
            for form in forms
        ],
        ("POST", "/segment", {"text": "dog", "format": "hf"}),
        ("POST", "/segment", {"text": "dog", "format": "coco"}),
        ("GET", "/tasks", {}),
        ("GET", "/health", {}),
        ("GET", "/ready", {}),
    ],
)
def test_answers_are_what_the_document_says(client: TestClient, method: str, path: str, params: dict[str, str]) -> None:
    document = client.get("/openapi.json").json()
    described = document["paths"][path][method.lower()]["responses"]
    assert set(described) >= {"200"}
    url = path.replace("{task}", "region-segmentation")
    answer = client.request(method, url, params=params, content=png() if method == "POST" else None)
    schema = described["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answer.json(), schema | {"components": document["components"]})
    if method == "POST":
        problem = client.request(method, url, params=params, content=b"")
        content = described[str(problem.status_code)]["content"]["application/problem+json"]
        jsonschema.validate(problem.json(), content["schema"] | {"components": document["components"]})
