"""Reading pictures, telling what is temporary, and letting go of connections, against moto's buckets and botocore."""

import subprocess
import sys
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    FlexibleChecksumError,
    IncompleteReadError,
    NoCredentialsError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from buckets import PLAIN, VERSIONED, Store
from conftest import ROOT

from handler.storage import objects
from handler.storage.errors import NotSetUp, ObjectGone
from handler.storage.events import StoredObject


def error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.mark.parametrize(
    ("raised", "temporary"),
    [
        (error("SlowDown", 503), True),
        (error("InternalError", 500), True),
        (error("RequestTimeout", 400), True),
        (error("TooManyRequests", 429), True),
        (error("ConditionalRequestConflict", 409), True),
        (EndpointConnectionError(endpoint_url="http://x"), True),
        (ConnectTimeoutError(endpoint_url="http://x"), True),
        (ReadTimeoutError(endpoint_url="http://x"), True),
        (ConnectionClosedError(endpoint_url="http://x"), True),
        (ResponseStreamingError(error="cut"), True),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
        (FlexibleChecksumError(error_msg="differs"), True),
        (error("AccessDenied", 403), False),
        (error("NoSuchBucket", 404), False),
        (NoCredentialsError(), False),
        (RuntimeError(), False),
    ],
)
def test_what_is_temporary(raised: Exception, temporary: bool) -> None:
    assert objects.is_temporary(raised) is temporary
    assert objects.code(raised)  # an answer that never came has no code


def test_s3_is_asked_only_for_what_the_event_did_not_say(store: Store) -> None:
    put = store.put(VERSIONED, "a", b"body")
    told = StoredObject(VERSIONED, "a", put.version, put.etag, put.size, "0A")
    store.calls.clear()
    found = objects.look(told)
    assert store.calls == []
    assert (found.name, found.size, found.sequencer) == (put.version, 4, "0A")
    assert objects.look(StoredObject(VERSIONED, "a")) == objects.Found(VERSIONED, "a", put.version, put.etag, 4, "")
    assert store.calls == ["HeadObject"]


@pytest.mark.parametrize("version", [None, "", "null"])
def test_an_object_without_a_version_is_named_by_its_etag(store: Store, version: str | None) -> None:
    put = store.put(PLAIN, "a", b"body")
    assert objects.look(StoredObject(PLAIN, "a", version)).name == put.etag


def test_reading_is_bound_to_what_was_named(store: Store) -> None:
    put = store.put(PLAIN, "a", b"old")
    found = objects.look(StoredObject(PLAIN, "a"))
    assert objects.read(found) == b"old"
    store.put(PLAIN, "a", b"new")
    with pytest.raises(ObjectGone, match="deleted or replaced"):
        objects.read(found)
    assert objects.read(objects.look(StoredObject(PLAIN, "a"))) == b"new"
    assert put.etag == found.etag


def test_what_is_not_there_is_gone(store: Store) -> None:
    with pytest.raises(ObjectGone):
        objects.look(StoredObject(PLAIN, "never"))
    with pytest.raises(ClientError, match="NoSuchBucket"):  # no one's picture is at fault
        objects.read(objects.Found("no-such-bucket", "a", None, "abc", 3, ""))


def test_what_is_in_an_archive_is_told(store: Store) -> None:
    store.client.put_object(Bucket=PLAIN, Key="a", Body=b"body", StorageClass="GLACIER")
    with pytest.raises(ObjectGone, match="archive: restore it"):
        objects.read(objects.look(StoredObject(PLAIN, "a")))


def test_throttling_is_tried_again_before_it_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    put = store.put(PLAIN, "a", b"body")
    sent: list[Any] = []

    def throttle(request: Any, **_: Any) -> Any:
        from botocore.awsrequest import AWSResponse

        sent.append(request)
        if len(sent) < failing:
            return AWSResponse(request.url, 503, {}, Body(b"<Error><Code>SlowDown</Code></Error>"))
        return None

    objects.client().meta.events.register_first("before-send.s3", throttle)
    found = objects.Found(PLAIN, "a", None, put.etag, 4, "")
    failing = objects.ATTEMPTS
    assert objects.read(found) == b"body"
    assert len(sent) == objects.ATTEMPTS
    sent.clear()
    failing = 99
    with pytest.raises(ClientError) as caught:
        objects.read(found)
    assert objects.is_temporary(caught.value)
    assert len(sent) == objects.ATTEMPTS


class Body:
    """As urllib3's, for botocore."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self, **_: Any) -> list[bytes]:
        return [self.content]


def test_without_boto3_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    objects.forget()
    with pytest.raises(NotSetUp, match=r"boto3: python -m pip install -r requirements/lambda.txt"):
        objects.client()


def test_a_client_is_made_once_and_forgotten(store: Store) -> None:
    first = objects.client()
    assert objects.client() is first
    objects.forget()
    assert objects.client() is not first


def test_boto3_is_not_imported_before_a_bucket_is_used() -> None:
    script = (
        "import sys, handler.entrypoint; assert not {'boto3', 'botocore.session', 'botocore.client'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
