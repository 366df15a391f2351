"""Buckets of moto's, in this process, and the events that S3 would send about what is put into them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import boto3
import pytest
from moto import mock_aws
from moto.s3.models import s3_backends

from handler.storage import objects

REGION = "eu-central-1"
PLAIN, VERSIONED, RESULTS, UPLOADS = "plain-pictures", "versioned-pictures", "the-results", "the-uploads"


@dataclass
class Put:
    """An object that was put, and its S3 notification's record."""

    bucket: str
    key: str
    etag: str
    version: str | None
    size: int
    sequencer: str

    @property
    def record(self) -> dict[str, Any]:
        named = {"key": quote_plus(self.key), "size": self.size, "eTag": self.etag, "sequencer": self.sequencer}
        return {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-central-1",
            "eventTime": "2026-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": self.bucket, "arn": f"arn:aws:s3:::{self.bucket}"},
                "object": named | ({"versionId": self.version} if self.version else {}),
            },
        }

    @property
    def event(self) -> dict[str, Any]:
        return {"Records": [self.record]}

    @property
    def name(self) -> str:
        return self.version or self.etag


@dataclass
class Store:
    """What tests do to buckets, and how often the function asked S3."""

    client: Any
    puts: int = 0
    calls: list[str] = field(default_factory=list)

    def put(self, bucket: str, key: str, body: bytes) -> Put:
        answer = self.client.put_object(Bucket=bucket, Key=key, Body=body)
        self.puts += 1
        sequencer = f"{0x0055AED6DCD90281E5 + self.puts:018X}"
        return Put(bucket, key, answer["ETag"].strip('"'), answer.get("VersionId"), len(body), sequencer)

    def reset(self) -> None:
        """Makes the buckets again, empty."""
        s3_backends["123456789012"]["aws"].reset()
        _make(self.client)
        self.puts = 0

    def get(self, bucket: str, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]

    def everything(self, bucket: str) -> dict[str, bytes]:
        return {key: self.get(bucket, key) for key in self.keys(bucket)}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Four empty buckets; one has versions. No request leaves this process."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "testing", "DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        client = boto3.client("s3")
        made = Store(client)
        _make(client)
        objects.forget()
        objects.client().meta.events.register("before-call.s3.*", lambda model, **_: made.calls.append(model.name))
        yield made
        objects.forget()


def _make(client: Any) -> None:
    for bucket in (PLAIN, VERSIONED, RESULTS, UPLOADS):
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    client.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})
