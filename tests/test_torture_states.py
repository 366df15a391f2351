"""Any sequence of what may happen to buckets, queue and function, against a model of what must come of it.

Objects are put, replaced, deleted, hidden by a deletion's marker and locked; messages come twice, late, in any order
and company; calls to S3 break before or after they are carried out, environments die in the middle of one, and another
does the same meanwhile. In the end every message has led to one result, or lies among the dead letters with its reason.
"""

import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from buckets import PLAIN, RESULTS, VERSIONED, Put, Store
from fakes import FakePredictor
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from test_storage_delivery import failed
from test_storage_work import png
from torture import LONG, amount, record

from handler import telemetry
from handler.settings import Storage
from handler.storage import objects, results
from handler.storage.delivery import deliver

RECEIVES = 5  # before a message is dead, as in template.yaml
BUCKETS = st.sampled_from([PLAIN, VERSIONED])
KEYS = ["a b+c%25/é\n?#&.png", "k" * 1024]
BODIES = {png(size=(20, 10)): "answered", png(size=(30, 20)): "answered", b"no picture": "refused", b"": "refused"}
MEANWHILE = ["nothing"] * 4 + ["lost before", "lost after", "throttled", "killed", "another environment"]


class Killed(BaseException):
    """The environment is gone in the middle of a call: nothing catches it, and nothing is reported."""


@dataclass
class Message:
    """One in the queue; `put` is None if it is no event."""

    id: str
    put: Put | None
    receives: int = 0


class Account(RuleBasedStateMachine):
    """Two buckets, a queue, a function."""

    store: Store
    reasons: dict[str, str]
    done: Counter[str]

    @initialize()
    def begin(self) -> None:
        self.store.reset()
        self.reasons.clear()
        self.puts: list[tuple[Put, bytes]] = []
        self.there: set[tuple[str, str, str]] = set()  # bucket, key, name
        self.locked: set[str] = set()  # keys that may not be read
        self.waiting: list[Message] = []
        self.dead: list[Message] = []
        self.messages = 0
        self.plan: list[str] = []  # what happens at the next calls to S3
        self.taken: dict[str, Any] = {}
        events = objects.client().meta.events
        events.register_first("before-send.s3", self.before)
        events.register_first("after-call.s3", self.after)

    def send(self, put: Put | None) -> None:
        self.messages += 1
        self.done["messages"] += 1
        self.waiting.append(Message(f"message-{self.messages}", put))

    @rule(bucket=BUCKETS, key=st.sampled_from(KEYS), body=st.sampled_from(list(BODIES)), copies=st.integers(1, 2))
    def put(self, bucket: str, key: str, body: bytes, copies: int) -> None:
        if bucket == PLAIN:
            self.there -= {one for one in self.there if one[:2] == (bucket, key)}
        put = self.store.put(bucket, key, body)
        self.puts.append((put, body))
        self.there.add((bucket, key, put.name))
        for _ in range(copies):
            self.send(put)

    @precondition(lambda self: self.puts)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        """The same bytes under the same key: without versions it is the same object."""
        put, body = data.draw(st.sampled_from(self.puts))
        self.put(put.bucket, put.key, body, 1)

    @rule(bucket=BUCKETS, key=st.sampled_from(KEYS))
    def delete(self, bucket: str, key: str) -> None:
        """Where there are versions this leaves a marker, and they can still be read by their ids."""
        self.store.client.delete_object(Bucket=bucket, Key=key)
        if bucket == PLAIN:
            self.there -= {one for one in self.there if one[:2] == (bucket, key)}

    @precondition(lambda self: any(one[0] == VERSIONED for one in self.there))
    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(sorted(one for one in self.there if one[0] == VERSIONED)))
        self.store.client.delete_object(Bucket=VERSIONED, Key=one[1], VersionId=one[2])
        self.there.remove(one)

    @rule(key=st.sampled_from(KEYS))
    def lock(self, key: str) -> None:
        self.locked ^= {key}

    @rule()
    def nonsense(self) -> None:
        self.send(None)

    @precondition(lambda self: self.puts)
    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """A duplicate, however late."""
        self.send(data.draw(st.sampled_from([put for put, _ in self.puts])))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), size=st.integers(1, 4), plan=st.lists(st.sampled_from(MEANWHILE), max_size=16))
    def work(self, data: st.DataObject, size: int, plan: list[str]) -> None:
        """An environment takes some of the messages."""
        order = data.draw(st.permutations(self.waiting))
        self.invoke(order[:size], plan)

    def invoke(self, taken: list[Message], plan: list[str]) -> None:
        self.done["invocations"] += 1
        self.taken = {
            "Records": [
                {
                    "messageId": each.id,
                    "eventSource": "aws:sqs",
                    "body": json.dumps(each.put.event if each.put else {"a": 1}),
                }
                for each in taken
            ]
        }
        self.plan = list(plan)
        try:
            back = set(failed(deliver(self.taken, FakePredictor(), Storage(results_bucket=RESULTS), 60_000)))
        except Killed:
            back = {each.id for each in taken}
            for each in taken:
                self.reasons[each.id] = "killed"  # which Lambda's own log says
        self.plan = []
        for each in taken:
            self.waiting.remove(each)
            each.receives += 1
            if each.id in back:
                (self.waiting if each.receives < RECEIVES else self.dead).append(each)

    def before(self, request: Any, event_name: str, **_: Any) -> None:
        """Of every call that the function sends to S3."""
        if event_name.endswith("GetObject") and request.url.split("?")[0].rsplit("/", 1)[-1] in self.doors:
            raise ClientError(
                {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject"
            )
        if not self.plan:
            return
        match self.plan[0]:
            case "lost before":
                self.plan.pop(0)
                raise EndpointConnectionError(endpoint_url="http://x")
            case "throttled":
                self.plan.pop(0)
                raise ClientError(
                    {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "GetObject"
                )
            case "killed":
                raise Killed
            case "another environment":
                left, self.plan = self.plan[1:], []
                deliver(self.taken, FakePredictor(), Storage(results_bucket=RESULTS), 60_000)
                self.plan = left
            case "nothing":
                self.plan.pop(0)

    def after(self, **_: Any) -> None:
        if self.plan and self.plan[0] == "lost after":
            self.plan.pop(0)
            raise EndpointConnectionError(endpoint_url="http://x")

    @property
    def doors(self) -> set[str]:
        """The last parts of the locked pictures' addresses."""
        return {quote(key, safe="/~").rsplit("/", 1)[-1] for key in self.locked}

    def teardown(self) -> None:
        if not hasattr(self, "waiting"):
            return
        while self.waiting:
            self.invoke(self.waiting[:3], [])
        events = objects.client().meta.events
        events.unregister("before-send.s3", self.before)
        events.unregister("after-call.s3", self.after)
        self.check()

    def check(self) -> None:
        self.done["sequences"] += 1
        self.done["dead"] += len(self.dead)
        for message in self.dead:
            assert self.reasons.get(message.id), message
        assert all(message.put or message in self.dead for message in self.dead)
        stored = self.store.everything(RESULTS)
        dead = {message.put.sequencer for message in self.dead if message.put}
        expected = set()
        for key in {(put.bucket, put.key) for put, _ in self.puts}:
            folder = results.folder(*key)
            newest = max((put for put, _ in self.puts if (put.bucket, put.key) == key), key=lambda put: put.sequencer)
            mine = [(put, body) for put, body in self.puts if (put.bucket, put.key) == key]
            for put, body in mine:
                where = f"{folder}{put.name}.json"
                if put.sequencer in dead and where not in stored:
                    continue
                document = json.loads(stored[where])
                expected |= {where, f"{folder}latest.json"}
                assert document["source"]["key"] == put.key
                assert document["outcome"] in (BODIES[body], "gone")
                last = max(other.sequencer for other, _ in mine if other.name == put.name)
                if (*key, put.name) in self.there and last not in dead:
                    assert document["outcome"] == BODIES[body]
            if not any(put.sequencer in dead for put, _ in mine):
                assert stored[f"{folder}latest.json"] == stored[f"{folder}{newest.name}.json"]
        others = {key for key in stored if not key.startswith("results/_answers/")}
        assert others <= expected
        assert {key for key in expected if not key.endswith("latest.json")} <= others


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_happens_every_message_has_one_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr(results, "WAIT", 0)
    reasons: dict[str, str] = {}

    def note(message: str, error: Exception, **facts: Any) -> None:
        reasons[facts["part"]] = facts["reason"]

    monkeypatch.setattr(telemetry, "failed", note)
    done: Counter[str] = Counter()
    attributes = {"store": store, "reasons": reasons, "done": done}
    machine: Callable[[], RuleBasedStateMachine] = type("Machine", (Account,), attributes)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=amount(60, 300),
            stateful_step_count=amount(25, 40),
            deadline=None,
            derandomize=not LONG and os.environ.get("HYPOTHESIS_RANDOM") is None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    record("states", **done)
    assert done["dead"] > 0
