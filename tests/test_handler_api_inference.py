"""What is remembered, and what is not."""

import threading
from dataclasses import replace

import pytest
from fakes import FakePredictor
from images import encoded, noise
from starlette.testclient import TestClient

from handler import questions
from handler.api import create_app
from handler.api.inference import Cache, _size

FIRST, SECOND = (encoded(noise((200, 100), seed), "PNG") for seed in (0, 1))


@pytest.fixture
def remembering(predictor: FakePredictor) -> TestClient:
    return TestClient(create_app(predictor, cache_bytes=1_000_000))


def test_the_same_question_about_the_same_bytes_is_answered_once(
    remembering: TestClient, predictor: FakePredictor
) -> None:
    first = remembering.post("/detect", content=FIRST)
    again = remembering.post("/detect", params={"min_score": 0.5, "format": "coco"}, content=FIRST)
    assert len(predictor.asked) == 1
    assert (first.headers["cache-status"], again.headers["cache-status"]) == ("florence; fwd=miss", "florence; hit")
    assert len(again.json()) == 1  # cut after it was remembered
    once_more = remembering.post("/detect", content=FIRST)
    assert once_more.json() == first.json() | {"cached": True}
    assert "total;dur=0" in once_more.headers["server-timing"]


def test_another_question_or_image_is_asked(remembering: TestClient, predictor: FakePredictor) -> None:
    for path, image in [("/detect", FIRST), ("/detect", SECOND), ("/caption", FIRST), ("/detect?classes=a", FIRST)]:
        assert remembering.post(path, content=image).json()["cached"] is False
    for region in ("1,1,9,9", "1,1,9,8"):
        remembering.post("/segment", params={"region": region}, content=FIRST)
    assert len(predictor.asked) == 6


def test_another_artifact_is_asked(remembering: TestClient, predictor: FakePredictor) -> None:
    remembering.post("/detect", content=FIRST)
    predictor.manifest.id = "1" * 64
    assert remembering.post("/detect", content=FIRST).json()["cached"] is False


def test_an_error_is_not_remembered(remembering: TestClient, predictor: FakePredictor) -> None:
    for _ in range(2):
        assert remembering.post("/detect", content=b"text").status_code == 400
    assert predictor.asked == []


def test_what_a_deadline_cut_is_not_remembered(predictor: FakePredictor) -> None:
    class Context:
        aws_request_id = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"

        def get_remaining_time_in_millis(self) -> int:
            return 10_000

    app = create_app(predictor, cache_bytes=1_000_000)

    async def on_lambda(scope, receive, send):  # type: ignore[no-untyped-def]
        await app(scope | {"aws.context": Context()}, receive, send)

    cut = TestClient(on_lambda)
    for _ in range(2):  # the stand-in's answers to `read` are truncated
        answer = cut.post("/read", params={"regions": False}, content=FIRST)
        assert answer.json()["truncated"]
        assert answer.headers["x-florence-truncated"] == "true"
        assert answer.headers["x-request-id"] == Context.aws_request_id
    assert len(predictor.asked) == 2


def test_who_waited_for_the_same_answer_takes_it(remembering: TestClient, predictor: FakePredictor) -> None:
    started, release = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        assert release.wait(30)

    predictor.before = wait
    cached: list[bool] = []
    threads = [
        threading.Thread(target=lambda: cached.append(remembering.post("/detect", content=FIRST).json()["cached"]))
        for _ in range(3)
    ]
    with remembering:
        for thread in threads:
            thread.start()
        assert started.wait(30)
        release.set()
        for thread in threads:
            thread.join(30)
    assert sorted(cached) == [False, True, True]
    assert len(predictor.asked) == 1


def test_memory_is_bounded_and_the_oldest_go(predictor: FakePredictor) -> None:
    question = questions.detect()
    result = predictor.predict(FIRST, question.asks)
    each = _size(result)
    assert 500 < each < 10_000
    cache = Cache(3 * each)
    keys = [("artifact", str(number), question.asks) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, result)
    assert cache.get(keys[0]) is result  # asked for: now the youngest
    cache.put(keys[3], result)
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    cache.put(keys[0], replace(result, format="x" * 4 * each))  # larger than the whole cache
    assert cache.get(keys[2]) is result
    Cache(0).put(keys[0], result)
