"""Hostile events over real connections: moto's server behind a proxy that breaks what passes, a queue, dead letters.

Every message that the queue took ends in exactly one result, or among the dead letters with its reason in the log.
"""

import json
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_plus

import pytest
from aws import PICTURES, REGION, RESULTS, Aws, account
from conftest import ROOT
from fakes import FakePredictor
from fastapi.testclient import TestClient
from faults import Fault, at_random, before
from stack import MINUTE, STORAGE, Stack
from test_storage_work import png
from torture import amount, record

from handler.api import create_app
from handler.settings import Storage
from handler.storage import objects
from handler.storage.delivery import DeliveryFailed, deliver

RECEIVES = 5  # before a message is dead, as in template.yaml
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}


@pytest.fixture(scope="module")
def server() -> Iterator[Aws]:
    with account() as aws:
        yield aws


@pytest.fixture
def stack(server: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for bucket in (PICTURES, RESULTS):
        for each in server.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            server.s3.delete_object(Bucket=bucket, Key=each["Key"])
    dead = server.sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:123456789012:dead-letters"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": RECEIVES})
    server.sqs.set_queue_attributes(
        QueueUrl=server.queue, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"}
    )
    with before(server.address) as proxy:
        for name, value in (KEYS | {"AWS_ENDPOINT_URL": proxy.address}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(objects, "READ_TIMEOUT", 0.5)
        monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        objects.forget()
        stack = Stack(server, proxy, dead)
        for queue in (server.queue, dead):
            stack.taken(queue)
        yield stack
        objects.forget()


def pictures(fault: Fault | None, times: float = float("inf")) -> Callable[[str, str], Fault | None]:
    """A rule: so many readings of pictures meet this fault."""
    left = [times]

    def rule(method: str, path: str) -> Fault | None:
        if method == "GET" and path.startswith(f"/{PICTURES}/") and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return rule


ODD = [
    *("".join(map(chr, range(start, start + 32))) for start in (32, 64)),
    "`abcdefghijklmnopqrstuvwxyz{|}~",
    "\x01\x02\x1f\x7f",
    "été 1+1=2 100%25.png",
    "\u202e\U0001f600\u0301\ufeff",
    "../../etc/passwd",
    "./a/../b",
    "//a//b",
    "?versionId=1&acl#x",
    "<script>&amp;\"'",
    "%2e%2e%2f%00",
    " ",
    "{{key}} ${key} $(key) %s",
    "x" * 1024,
    "é" * 512,
    "a/" * 500,
    "latest.json",
    "sha256-0/latest",
]


@pytest.mark.parametrize("key", ODD, ids=ascii)
def test_any_key_has_its_result(stack: Stack, predictor: FakePredictor, key: str) -> None:
    tag = stack.put(key, png())
    assert stack.work(predictor) == []
    found = stack.results(key)
    assert found.keys() == {f"{tag}.json", "latest.json"}
    assert found[f"{tag}.json"]["outcome"] == "answered"
    assert found[f"{tag}.json"]["source"]["key"] == key


@pytest.mark.parametrize("body", [b"", b"\0" * 100, b"no picture", png()[:60]], ids=["nothing", "zeros", "text", "cut"])
def test_what_is_no_picture_is_refused_once(stack: Stack, predictor: FakePredictor, body: bytes) -> None:
    tag = stack.put("a.png", body)
    assert stack.work(predictor) == []
    assert stack.results("a.png")[f"{tag}.json"]["outcome"] == "refused"


def test_what_was_deleted_before_it_was_read_is_gone(stack: Stack, predictor: FakePredictor) -> None:
    tag = stack.put("a.png", png())
    stack.aws.s3.delete_object(Bucket=PICTURES, Key="a.png")
    assert stack.work(predictor) == []
    assert stack.results("a.png")[f"{tag}.json"]["outcome"] == "gone"


AT_ONCE = (Fault.STALLED, Fault.CUT, Fault.FLIPPED, Fault.CONFLICT)  # botocore itself does not try again
PASSING = [fault for fault in Fault if fault not in (Fault.DENIED, Fault.ELSEWHERE, Fault.SLOW)]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("times", [1, 6], ids=["once", "for a while"])
def test_what_passes_costs_time_and_nothing_else(
    stack: Stack, predictor: FakePredictor, fault: Fault, times: int
) -> None:
    tag = stack.put("a.png", png(size=(97, 61)) + bytes(5000))
    stack.proxy.rule = pictures(fault, min(times, 3) if fault in AT_ONCE else times)
    assert stack.work(predictor) == []
    found = stack.results("a.png")
    assert found.keys() == {f"{tag}.json", "latest.json"}
    assert found["latest.json"] == found[f"{tag}.json"]
    assert found["latest.json"]["outcome"] == "answered"
    assert found["latest.json"]["image"]["width"] == 97


def test_a_slow_body_is_waited_for(stack: Stack, predictor: FakePredictor) -> None:
    stack.put("a.png", png() + bytes(5000))
    stack.proxy.rule = pictures(Fault.SLOW)
    assert stack.work(predictor) == []
    assert stack.results("a.png")["latest.json"]["outcome"] == "answered"


LASTING = [
    (Fault.THROTTLED, "SlowDown"),
    (Fault.FAILED, "InternalError"),
    (Fault.DENIED, "AccessDenied"),
    (Fault.ELSEWHERE, "PermanentRedirect"),
    (Fault.DROPPED, "ConnectionClosedError"),
    (Fault.STALLED, "ReadTimeoutError"),
    (Fault.CUT, "ResponseStreamingError"),
    (Fault.FLIPPED, "FlexibleChecksumError"),
]


@pytest.mark.parametrize(("fault", "reason"), LASTING)
def test_what_lasts_ends_among_the_dead_with_its_reason(
    stack: Stack, predictor: FakePredictor, capsys: pytest.CaptureFixture[str], fault: Fault, reason: str
) -> None:
    """The log's lines have the message's id and S3's reason, and no word of S3's own message."""
    stack.put("a.png", png())
    stack.proxy.rule = pictures(fault)
    (dead,) = stack.work(predictor)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    told = [(line["part"], line["reason"]) for line in lines if line["message"] == "object failed"]
    assert told == [(dead["MessageId"], reason)] * RECEIVES
    assert "secret" not in json.dumps(lines)
    assert stack.results("a.png") == {}
    with pytest.raises(DeliveryFailed, match=rf"^1 of 1 objects failed: {reason}\.$"):  # as it came, without a queue
        deliver(json.loads(dead["Body"]), predictor, STORAGE, MINUTE)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.DENIED, "PermanentFailure"),
        (Fault.ELSEWHERE, "PermanentFailure"),
        *((fault, "TemporaryFailure") for fault in PASSING),
    ],
)
def test_batch_operations_learn_what_passes_and_what_does_not(
    stack: Stack, predictor: FakePredictor, fault: Fault, code: str
) -> None:
    stack.put("a.png", png())
    stack.proxy.rule = pictures(fault)
    task = {"taskId": "t", "s3Key": "a.png", "s3VersionId": None, "s3BucketArn": f"arn:aws:s3:::{PICTURES}"}
    job = {"invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"}, "tasks": [task]}
    (answer,) = deliver(job, predictor, STORAGE, MINUTE)["results"]
    assert answer["resultCode"] == code


@pytest.mark.parametrize("fault", [*PASSING, Fault.DENIED, Fault.ELSEWHERE])
def test_a_request_about_an_object_is_told_whether_to_try_again(
    stack: Stack, predictor: FakePredictor, fault: Fault
) -> None:
    stack.put("a.png", png())
    stack.proxy.rule = pictures(fault)
    app = create_app(predictor, storage=Storage(source_buckets=(PICTURES,)))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/caption", json={"s3_uri": f"s3://{PICTURES}/a.png"})
    assert answer.status_code == (503 if fault in PASSING else 502), answer.text
    assert "secret" not in answer.text


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DROPPED, Fault.CONFLICT, Fault.THROTTLED])
def test_writing_a_result_may_break_off_anywhere(stack: Stack, predictor: FakePredictor, fault: Fault) -> None:
    """The answer to every second write to the results is lost, or the write itself."""
    tag = stack.put("a.png", png())
    writes = iter(range(1_000))

    def rule(method: str, path: str) -> Fault | None:
        return fault if method == "PUT" and path.startswith(f"/{RESULTS}/") and next(writes) % 2 == 0 else None

    stack.proxy.rule = rule
    assert stack.work(predictor) == []
    assert stack.results("a.png").keys() == {f"{tag}.json", "latest.json"}


@pytest.mark.slow
def test_a_hundred_duplicates_in_any_order_and_company(stack: Stack) -> None:
    """Four environments at once, and 100 copies of the message about each of three objects, shuffled."""
    tags = {f"{name}.png": stack.put(f"{name}.png", png(size=(20 + i, 30))) for i, name in enumerate("ab")}
    tags["c.png"] = stack.put("c.png", b"no picture")
    messages = []
    while received := stack.aws.received():
        messages += received
        for each in received:
            stack.aws.sqs.delete_message(QueueUrl=stack.aws.queue, ReceiptHandle=each["receiptHandle"])
    assert len(messages) == len(tags)
    copies = [each | {"messageId": f"{each['messageId']}-{n}"} for each in messages for n in range(100)]
    random.Random(7).shuffle(copies)
    parts = [copies[start : start + 10] for start in range(0, len(copies), 10)]
    with ThreadPoolExecutor(4) as environments:
        failed = set().union(*environments.map(lambda part: stack.deliver(part, FakePredictor()), parts))
    assert failed == set()
    for key, tag in tags.items():
        found = stack.results(key)
        assert found.keys() == {f"{tag}.json", "latest.json"}
        assert found["latest.json"] == found[f"{tag}.json"]
        assert found["latest.json"]["outcome"] == ("refused" if key == "c.png" else "answered")


def test_two_environments_at_once_on_one_object(stack: Stack) -> None:
    """Both have read the picture and found no result before either writes one."""
    tag = stack.put("a.png", png())
    (message,) = stack.aws.received()
    both = threading.Barrier(2)

    def together() -> None:
        both.wait(20)

    predictors = [FakePredictor(), FakePredictor()]
    for each in predictors:
        each.before = together
    with ThreadPoolExecutor(2) as environments:
        failed = list(environments.map(lambda predictor: stack.deliver([message], predictor), predictors))
    assert failed == [set(), set()]
    assert [len(each.asked) for each in predictors] == [2, 2]  # caption and detect: both did the work
    found = stack.results("a.png")
    assert found.keys() == {f"{tag}.json", "latest.json"}
    assert found["latest.json"] == found[f"{tag}.json"]


WORKER = """
import json, sys
sys.path.append("tests")
from fakes import FakePredictor
from handler.settings import Storage
from handler.storage.delivery import deliver
deliver({"Records": json.load(sys.stdin)}, FakePredictor(), Storage(results_bucket=sys.argv[1]), 60_000)
"""


@pytest.mark.parametrize("write", [1, 2, 3], ids=["the answers", "the result", "the latest copy"])
@pytest.mark.parametrize("after", [False, True], ids=["before it is written", "after"])
def test_an_environment_killed_between_reading_and_writing(
    stack: Stack, predictor: FakePredictor, write: int, after: bool
) -> None:
    """A process of its own, killed while its first, second or third write is under way."""
    tag = stack.put("a.png", png())
    received = stack.aws.received()
    reached, killed = threading.Event(), threading.Event()
    writes = iter(range(1, 1_000))

    def wait() -> None:
        reached.set()
        killed.wait(60)

    def rule(method: str, path: str) -> Fault | None:
        if method != "PUT" or next(writes) != write:
            return None
        if after:
            return Fault.LOST
        wait()
        return Fault.DROPPED

    stack.proxy.lost = wait
    stack.proxy.rule = rule
    environment = KEYS | {"AWS_ENDPOINT_URL": stack.proxy.address, "PATH": "", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, RESULTS], cwd=ROOT, env=environment, stdin=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(received))
        worker.stdin.close()
        assert reached.wait(60)
        worker.kill()
        assert worker.wait(60) == -signal.SIGKILL
        killed.set()
    stack.proxy.rule = lambda method, path: None
    assert stack.work(predictor) == []  # it comes again
    found = stack.results("a.png")
    assert found.keys() == {f"{tag}.json", "latest.json"}
    assert found["latest.json"] == found[f"{tag}.json"]
    assert found["latest.json"]["outcome"] == "answered"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_bad_day_loses_nothing(stack: Stack, predictor: FakePredictor, capsys: pytest.CaptureFixture[str]) -> None:
    """A third of all calls break in some way, some objects are out of reach, some are deleted, and some messages are
    no events."""
    rng = random.Random(11)
    count = amount(40, 300)
    tags: dict[str, str] = {}
    for i in range(count):
        name = f"{'locked' if i % 10 == 9 else 'free'}/{i} {rng.choice(ODD[:10])}"
        tags[name] = stack.put(name, rng.choice([png(size=(20 + i % 50, 30)), b"no picture", b""]))
        if rng.random() < 0.1:
            stack.aws.s3.delete_object(Bucket=PICTURES, Key=name)
    nonsense = [
        stack.aws.sqs.send_message(QueueUrl=stack.aws.queue, MessageBody=body)["MessageId"]
        for body in ("no JSON", "[1]", '{"a": 1}', '{"Records": [{"eventSource": "aws:s3"}]}')
    ]
    some = at_random(12, 0.33, tuple(fault for fault in PASSING if fault is not Fault.STALLED))

    def rule(method: str, path: str) -> Fault | None:
        locked = method == "GET" and path.startswith(f"/{PICTURES}/locked")
        return Fault.DENIED if locked else some(method, path)

    stack.proxy.rule = rule
    buried = stack.work(predictor)
    dead = {message["MessageId"] for message in buried}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    reasons = {line["part"]: line["reason"] for line in lines if "part" in line}
    assert dead <= reasons.keys()
    assert set(nonsense) <= dead
    kept = {name: found for name in tags if (found := stack.results(name))}
    for name, found in kept.items():
        assert found.keys() >= {f"{tags[name]}.json"}, name
        assert found.keys() <= {f"{tags[name]}.json", "latest.json"}, name
        assert not name.startswith("locked"), name
    # A message may die after its result was written: then it is among both, and its object has one result all the same.
    bodies = [json.loads(message["Body"]) for message in buried if message["MessageId"] not in nonsense]
    lost = {unquote_plus(body["Records"][0]["s3"]["object"]["key"]) for body in bodies}
    assert lost | kept.keys() == tags.keys()
    outcomes = Counter(found[f"{tags[name]}.json"]["outcome"] for name, found in kept.items())
    record("events", objects=count, calls=len(stack.proxy.seen), dead=len(dead), **outcomes)
    assert min(outcomes[outcome] for outcome in ("answered", "refused")) > 0

    stack.proxy.rule = lambda method, path: None  # the mend; then the dead letters come again
    for message in buried:
        stack.aws.sqs.send_message(QueueUrl=stack.aws.queue, MessageBody=message["Body"])
    assert len(stack.work(predictor)) == len(nonsense)
    for name, tag in tags.items():
        assert stack.results(name).keys() == {f"{tag}.json", "latest.json"}, name
