"""Where an answer comes from, in its headers; and the id of each request."""

import json
import os
import re
import uuid
from pathlib import Path

import pytest
from buckets import RESULTS, UPLOADS, Store
from fakes import FakePredictor
from images import encoded, noise
from starlette.testclient import TestClient

import handler
from handler.api import create_app
from handler.api.responses import HEADERS
from handler.florence.predictor import Predictor
from handler.settings import Storage
from handler.storage.delivery import deliver

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "handler" / "api" / "examples.json"
SAMPLE = (ROOT / "handler" / "page" / "samples" / "shapes-1.png").read_bytes()
PNG = encoded(noise((200, 100)), "PNG")


@pytest.mark.parametrize("form", ["native", "hf", "coco", "rekognition"])
def test_the_headers_say_what_the_native_answer_says(client: TestClient, predictor: FakePredictor, form: str) -> None:
    predictor.manifest.adapter = {"id": "Über COCO", "sha256": "1" * 64}
    native = client.post("/detect", content=PNG).json()
    assert native["model"]["adapter"] == "Über COCO"
    headers = client.post("/detect", params={"format": form}, content=PNG).headers
    assert headers["x-florence-model"] == native["model"]["name"]
    assert headers["x-florence-adapter"] == "%C3%9Cber%20COCO"
    assert headers["x-florence-artifact"] == native["model"]["artifact"]
    assert headers["x-florence-version"] == native["version"] == handler.__version__
    assert headers["x-florence-image-sha256"] == native["image"]["sha256"]
    assert headers["x-florence-truncated"] == "false"
    timing = dict(re.findall(r"(\w+);dur=([\d.]+)", headers["server-timing"]))
    assert {stage: float(took) for stage, took in timing.items()} == native["milliseconds"]
    assert {name.lower() for name in HEADERS} <= set(headers)


def test_without_an_adapter_there_is_no_header(client: TestClient) -> None:
    assert "x-florence-adapter" not in client.post("/detect", content=PNG).headers


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/health"), ("GET", "/nowhere"), ("POST", "/caption"), ("GET", "/")]
)
def test_every_response_has_an_id_of_its_own(client: TestClient, method: str, path: str) -> None:
    first, second = (client.request(method, path).headers["x-request-id"] for _ in range(2))
    assert uuid.UUID(first) != uuid.UUID(second)


def test_the_id_of_a_proxy_is_kept_and_nonsense_is_not(client: TestClient) -> None:
    given = "Root=1-67891233-abcdef012345678912345678"
    answer = client.post("/caption", content=b"", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == given
    for nonsense in ("", "a b", "é", "x" * 129, '"><script>'):
        assert client.get("/health", headers={"X-Request-Id": nonsense.encode()}).headers["x-request-id"] != nonsense


def test_an_unforeseen_error_has_the_id_too(predictor: FakePredictor) -> None:
    def fail() -> None:
        raise RuntimeError("secret")

    predictor.before = fail
    client = TestClient(create_app(predictor), raise_server_exceptions=False)
    answer = client.post("/caption", content=PNG, headers={"X-Request-Id": "abc"})
    assert (answer.status_code, answer.json()["request_id"], answer.headers["x-request-id"]) == (500, "abc", "abc")


def test_the_examples_are_the_miniatures_answers() -> None:
    """UPDATE=1 in the environment writes them anew."""
    client = TestClient(create_app(Predictor(ROOT / "models" / "mini", 1)))
    image = SAMPLE
    shown = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    for path in ("/caption", "/detect", "/analyze", "/classify", "/tasks/{task}"):
        answer = client.post(path.replace("{task}", "detect"), params=shown[path]["asked"], content=image).json()
        if os.environ.get("UPDATE") == "1":
            shown[path]["answer"] = dict(answer)
        expected = dict(shown[path]["answer"])
        assert set(answer) == set(expected), path
        for varying in ("milliseconds", "model"):
            assert set(answer.pop(varying)) == set(expected.pop(varying))
        assert answer == expected, path
    if os.environ.get("UPDATE") == "1":
        EXAMPLES.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def test_the_example_of_a_result_is_the_miniatures(store: Store) -> None:
    """As above."""
    put = store.put(UPLOADS, "uploads/6926e2c1f4d29a4be8a84b1c97f6a1d2e3b4c5d6", SAMPLE)
    deliver(put.event, Predictor(ROOT / "models" / "mini", 1), Storage(results_bucket=RESULTS), 60_000)
    result = json.loads(store.get(RESULTS, f"results/{UPLOADS}/{put.key}/latest.json"))
    shown = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    if os.environ.get("UPDATE") == "1":
        shown["/results/{id}"] = dict(result)
        EXAMPLES.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    expected = shown["/results/{id}"]
    for varying in ("milliseconds", "model"):
        assert set(result.pop(varying)) == set(expected.pop(varying))
    assert result == expected
