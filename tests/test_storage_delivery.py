"""Whole events: what is reported of them, and that duplicates, any order and any failure lead to one end."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from buckets import PLAIN, RESULTS, VERSIONED, Put, Store
from fakes import FakePredictor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_storage_work import png

from handler.florence.predictor import Ask, Result
from handler.settings import Storage
from handler.storage import delivery, objects, work
from handler.storage.delivery import DeliveryFailed, deliver
from handler.storage.errors import NotSetUp, UnknownEvent

STORAGE = Storage(results_bucket=RESULTS)
MINUTE = 60_000  # milliseconds


def queue(*events: Any) -> dict[str, Any]:
    return {
        "Records": [
            {"messageId": f"message-{number}", "eventSource": "aws:sqs", "body": json.dumps(event)}
            for number, event in enumerate(events)
        ]
    }


def failed(report: dict[str, Any]) -> list[str]:
    return [each["itemIdentifier"] for each in report["batchItemFailures"]]


def batch(*puts: Put) -> dict[str, Any]:
    tasks = [
        {"taskId": f"task-{n}", "s3Key": quote_plus(put.key), "s3BucketArn": f"arn:aws:s3:::{put.bucket}"}
        | {"s3VersionId": put.version}
        for n, put in enumerate(puts)
    ]
    return {"invocationSchemaVersion": "1.0", "invocationId": "invocation", "job": {"id": "job"}, "tasks": tasks}


def throttled(code: str = "SlowDown", status: int = 503) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    """Work on the object with this key fails."""
    handle, errors = work.handle, dict[str, Exception]()

    def failing(named: Any, *others: Any) -> Any:
        if named.key in errors:
            raise errors[named.key]
        return handle(named, *others)

    monkeypatch.setattr(work, "handle", failing)
    return errors.__setitem__


def test_a_queue_gets_back_the_messages_that_failed(
    store: Store, predictor: FakePredictor, fail: Callable[[str, Exception], None]
) -> None:
    good, bad, slow = store.put(PLAIN, "a", png()), store.put(PLAIN, "b", b"text"), store.put(PLAIN, "c", png())
    both = {"Records": [good.record, slow.record]}
    test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": PLAIN}
    fail("c", throttled())
    report = deliver(queue(good.event, bad.event, slow.event, both, {"a": 1}, test_event), predictor, STORAGE, MINUTE)
    assert failed(report) == ["message-2", "message-3", "message-4"]
    assert len(store.keys(RESULTS, f"results/{PLAIN}/")) == 4  # two for a, two for b


def test_all_went_well(store: Store, predictor: FakePredictor) -> None:
    event = store.put(PLAIN, "a", png()).event
    assert deliver(queue(event), predictor, STORAGE, MINUTE) == {"batchItemFailures": []}
    assert deliver(event, predictor, STORAGE, MINUTE) == {}
    assert deliver({"Event": "s3:TestEvent", "Bucket": PLAIN}, predictor, STORAGE, MINUTE) == {}


def test_batch_operations_get_a_code_for_each_task(
    store: Store, predictor: FakePredictor, fail: Callable[[str, Exception], None]
) -> None:
    names = ("good", "text", "slow", "forbidden", "late", "cut off", "gone")
    puts = [store.put(VERSIONED, name, b"text" if name == "text" else png()) for name in names]
    fail("slow", throttled())
    fail("forbidden", throttled("AccessDenied", 403))
    fail("late", delivery.OutOfTime("No time is left."))
    fail("cut off", EndpointConnectionError(endpoint_url="http://x"))
    store.client.delete_object(Bucket=VERSIONED, Key="gone", VersionId=puts[-1].version)
    report = deliver(batch(*puts), predictor, STORAGE, MINUTE)
    assert {name: report[name] for name in report if name != "results"} == {
        "invocationSchemaVersion": "1.0",
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": "invocation",
    }
    assert [(each["taskId"], each["resultCode"], each["resultString"]) for each in report["results"]] == [
        ("task-0", "Succeeded", "answered"),
        ("task-1", "PermanentFailure", "refused"),
        ("task-2", "TemporaryFailure", "SlowDown"),
        ("task-3", "PermanentFailure", "AccessDenied"),
        ("task-4", "TemporaryFailure", "OutOfTime"),
        ("task-5", "TemporaryFailure", "EndpointConnectionError"),
        ("task-6", "PermanentFailure", "gone"),
    ]


def test_a_malformed_task_is_a_permanent_failure(store: Store, predictor: FakePredictor) -> None:
    event = batch(store.put(PLAIN, "a", png()))
    event["tasks"].append({"taskId": "x"})
    codes = [each["resultCode"] for each in deliver(event, predictor, STORAGE, MINUTE)["results"]]
    assert codes == ["Succeeded", "PermanentFailure"]


def test_an_event_without_a_report_fails_after_all_was_tried(
    store: Store, predictor: FakePredictor, fail: Callable[[str, Exception], None]
) -> None:
    puts = [store.put(PLAIN, name, png()) for name in ("first", "second", "third")]
    fail("first", throttled())
    fail("second", RuntimeError("says what it should not"))
    with pytest.raises(DeliveryFailed, match=r"^2 of 3 objects failed: RuntimeError, SlowDown\.$"):
        deliver({"Records": [put.record for put in puts]}, predictor, STORAGE, MINUTE)
    left = store.keys(RESULTS, f"results/{PLAIN}/")
    assert left == [f"results/{PLAIN}/third/{puts[2].etag}.json", f"results/{PLAIN}/third/latest.json"]


def test_a_picture_that_can_never_be_answered_is_no_failure(store: Store, predictor: FakePredictor) -> None:
    assert deliver(store.put(PLAIN, "a", b"text").event, predictor, STORAGE, MINUTE) == {}


def test_time_that_runs_out_leaves_the_rest_to_the_queue(store: Store, predictor: FakePredictor) -> None:
    puts = [store.put(PLAIN, name, png()) for name in ("a", "b", "c")]
    predictor.before = lambda: time.sleep(0.5)
    left = int(delivery.RESERVE_SECONDS * 1000) + 450
    report = deliver(queue(*(put.event for put in puts)), predictor, STORAGE, left)
    assert failed(report) == ["message-1", "message-2"]
    predictor.before = lambda: None
    report = deliver(queue(*(put.event for put in puts)), predictor, STORAGE, MINUTE)
    assert failed(report) == []
    assert len(store.keys(RESULTS, f"results/{PLAIN}/")) == 6


def test_without_a_bucket_for_results_the_setting_is_named(predictor: FakePredictor) -> None:
    with pytest.raises(NotSetUp, match="FLORENCE_RESULTS_BUCKET"):
        deliver({"Event": "s3:TestEvent"}, predictor, Storage(), MINUTE)
    with pytest.raises(UnknownEvent):  # said first: no setting would mend it
        deliver({"a": 1}, predictor, Storage(), MINUTE)


@contextmanager
def faults(plan: list[str]) -> Iterator[None]:
    """Makes chosen calls to S3 fail, before or after they are carried out, once each."""

    def fail(where: str, passed: tuple[str, ...]) -> Callable[..., None]:
        def consult(**_: Any) -> None:
            if plan and plan[0] in (where, *passed) and plan.pop(0) == where:
                raise EndpointConnectionError(endpoint_url="http://x")

        return consult

    listeners = {"before-send.s3": fail("before", ("none",)), "after-call.s3": fail("after", ())}
    events = objects.client().meta.events
    for name, listener in listeners.items():
        events.register_first(name, listener)
    yield
    for name, listener in listeners.items():
        events.unregister(name, listener)


class Counting(FakePredictor):
    """Each inference takes another time and tells it, so that the first result can be told from a second."""

    inferences = 0

    def predict(self, image: bytes, asks: Sequence[Ask], deadline: float | None = None) -> Result:
        result = super().predict(image, asks, deadline)
        self.inferences += 1
        result.milliseconds["image"] = float(self.inferences)
        return result


BODIES = (png(size=(20, 10)), png(size=(30, 20)), png(size=(40, 30)), b"no picture", b"")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_duplicates_any_order_and_any_failure_lead_to_one_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    """Some keys are written several times; then the events come, each at least once, in any order and company, while
    calls to S3 fail; what failed is delivered again, as a queue would. In the end the results are those of one
    delivery, in order and without failures."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    store.reset()
    wanted = data.draw(
        st.lists(
            st.tuples(st.sampled_from([PLAIN, VERSIONED]), st.sampled_from("ab"), st.sampled_from(BODIES)),
            min_size=1,
            max_size=5,
        )
    )
    puts = [store.put(bucket, key, body) for bucket, key, body in wanted]
    storage = Storage(results_bucket=RESULTS, tags=data.draw(st.booleans()), preview=data.draw(st.booleans()))
    deliver(queue(*(put.event for put in puts)), Counting(), storage, MINUTE)
    expected = seen(store)
    for key in store.keys(RESULTS):
        store.client.delete_object(Bucket=RESULTS, Key=key)
    for put in puts:
        store.client.delete_object_tagging(Bucket=put.bucket, Key=put.key)

    again = data.draw(st.lists(st.sampled_from(puts), max_size=4))
    waiting = data.draw(st.permutations([*puts, *again]))
    plan = data.draw(st.lists(st.sampled_from(["none", "none", "before", "after"]), max_size=30))
    predictor, rounds = Counting(), 0
    with faults(plan):
        while waiting:
            size = data.draw(st.integers(1, 3))
            taken, waiting = waiting[:size], waiting[size:]
            report = deliver(queue(*(put.event for put in taken)), predictor, storage, MINUTE)
            waiting += [taken[int(id_.removeprefix("message-"))] for id_ in failed(report)]
            rounds += 1
            assert rounds < 100
    assert seen(store) == expected
    for put in puts:  # each latest copy is to the byte the result of the newest
        newest = max(
            (one for one in puts if (one.bucket, one.key) == (put.bucket, put.key)), key=lambda one: one.sequencer
        )
        folder = f"results/{put.bucket}/{put.key}/"
        assert store.get(RESULTS, f"{folder}latest.json") == store.get(RESULTS, f"{folder}{newest.name}.json")


def seen(store: Store) -> dict[str, Any]:
    """All results, without how long each took, and all tags."""
    found: dict[str, Any] = {}
    for key, body in store.everything(RESULTS).items():
        found[key] = json.loads(body) if key.endswith(".json") else body
        if key.endswith(".json"):
            found[key].pop("milliseconds", None)
    for bucket in (PLAIN, VERSIONED):
        for key in store.keys(bucket):
            found[f"{bucket}/{key}"] = store.client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return found
