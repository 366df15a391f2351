"""Pictures in buckets: which one it is, and its bytes, never more than the limit.

The object that is read is the one that was named: a version by its id, else by its ETag (`If-Match`), so that an answer
never stands under the name of other bytes. Does not decode anything.
"""

import contextlib
import functools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..florence.errors import FlorenceError, ImageTooLarge
from ..florence.image import MAX_BYTES
from .errors import NotSetUp, ObjectGone, StorageRefused, StorageUnavailable
from .events import StoredObject

# Codes that S3 gives for what passes by itself, whatever their status (Amazon S3 API reference, error responses).
TEMPORARY = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "InternalError"}
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS = 3, 10, 4  # seconds, seconds, tries in botocore's standard retry mode


@dataclass(frozen=True)
class Found:
    """An object that is named beyond doubt."""

    bucket: str
    key: str
    version: str | None  # None where the bucket has no versions
    etag: str  # without quotes
    size: int | None  # bytes; None where the object is gone
    sequencer: str

    @property
    def name(self) -> str:
        """What tells this object from others under its key."""
        return self.version or self.etag


@functools.cache
def client() -> Any:
    """The S3 client, made at the first use and after a restore. Raises `NotSetUp`."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise NotSetUp("Buckets need boto3: python -m pip install -r requirements/lambda.txt") from None
    return boto3.client(
        "s3",
        config=Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            signature_version="s3v4",
            s3={"addressing_style": "virtual"},  # with it, signed addresses name the region's own host
        ),
    )


def forget() -> None:
    """Closes the connections: none may go into a snapshot."""
    if client.cache_info().currsize:
        client().close()
    client.cache_clear()


def reseed() -> None:
    """After a restore: clones of one snapshot must not wait in step when they try again."""
    random.seed(time.time_ns())


def status(error: Exception) -> int:
    """The HTTP status of a botocore `ClientError`; 0 for anything else."""
    return int(_response(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def code(error: Exception) -> str:
    """S3's own name for an error; the error's type where S3 did not answer."""
    return str(_response(error).get("Error", {}).get("Code", "")) or type(error).__name__


def _response(error: Exception) -> dict[str, Any]:
    return getattr(error, "response", None) or {}  # ConnectionClosedError's is None


def is_temporary(error: Exception) -> bool:
    """Whether the same call may go well later: throttled, a fault of the service, or no connection."""
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    if isinstance(error, NoConnection | HTTPClientError | IncompleteReadError | FlexibleChecksumError):
        return True
    return status(error) >= 500 or status(error) in (409, 429) or code(error) in TEMPORARY


@contextlib.contextmanager
def told() -> Iterator[None]:
    """For requests, which cannot try again later: turns botocore's errors into ours.

    Raises `StorageUnavailable` for what is temporary, `StorageRefused` where S3 says no, `NotSetUp` where botocore does
    not come so far (no credentials, an unknown profile). None quotes S3's message, which may name account and role.
    """
    try:
        yield
    except FlorenceError:
        raise
    except Exception as error:
        from botocore.exceptions import BotoCoreError, ClientError

        if is_temporary(error):
            raise StorageUnavailable("S3 cannot be reached at the moment, or is overloaded.") from error
        if isinstance(error, ClientError):
            raise StorageRefused(_refusal(error)) from error
        if isinstance(error, BotoCoreError):
            raise NotSetUp(f"S3 cannot be asked from here: {type(error).__name__}.{_mend(error)}") from error
        raise


def _refusal(error: Exception) -> str:
    said = code(error)
    if said == "NoSuchBucket":
        return "S3 has no such bucket."
    if status(error) == 403:
        return (
            "S3 does not let this server in: its role needs s3:GetObject there, and s3:ListBucket to learn what is "
            "not there."
        )
    return f"S3 refuses what this server asks: {said}."


def _mend(error: Exception) -> str:
    known = {"NoCredentialsError": " Give it AWS credentials, as AWS's own tools take them."}
    return known.get(type(error).__name__, "")


def look(named: StoredObject) -> Found:
    """What `named` is; asks S3 (HEAD) only for what the event did not say. Raises `ObjectGone`."""
    version = named.version if named.version not in ("", "null") else None  # "null": from before versioning
    if named.etag and named.size is not None:
        return Found(named.bucket, named.key, version, named.etag, named.size, named.sequencer)
    which = {"VersionId": version} if version else {}
    head = _ask("head_object", Bucket=named.bucket, Key=named.key, **which)
    return Found(
        named.bucket,
        named.key,
        version or (None if head.get("VersionId") in (None, "null") else head["VersionId"]),
        head["ETag"].strip('"'),
        head["ContentLength"],
        named.sequencer,
    )


def read(found: Found) -> bytes:
    """The object's bytes. Raises `ImageTooLarge`, before anything is downloaded, and `ObjectGone`."""
    if found.size is not None and found.size > MAX_BYTES:
        raise _too_large(found.size)
    which = {"VersionId": found.version} if found.version else {"IfMatch": f'"{found.etag}"'}
    answer = _ask("get_object", Bucket=found.bucket, Key=found.key, **which)
    # Not `with answer["Body"]`: that hands out the bare connection, and nothing compares length and checksum.
    with contextlib.closing(answer["Body"]) as body:
        if answer["ContentLength"] > MAX_BYTES:  # the event, which anyone allowed to invoke may write, said less
            raise _too_large(answer["ContentLength"])
        data: bytes = body.read()
        return data


def tag(found: Found, tags: dict[str, str]) -> bool:
    """Adds `tags` to the object's own; False, and nothing done, where S3's limit of ten would be passed.

    Raises `ObjectGone`. S3 can only replace all tags: one that another writes between the reading and the writing is
    lost.
    """
    if not found.version:  # then S3 tags what is there now: it must still be this one
        _ask("head_object", Bucket=found.bucket, Key=found.key, IfMatch=f'"{found.etag}"')
    which = {"Bucket": found.bucket, "Key": found.key} | ({"VersionId": found.version} if found.version else {})
    there = {each["Key"]: each["Value"] for each in _ask("get_object_tagging", **which)["TagSet"]}
    if len(there | tags) > 10:
        return False
    if there | tags != there:
        _ask(
            "put_object_tagging",
            **which,
            Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in (there | tags).items()]},
        )
    return True


def _ask(operation: str, **arguments: Any) -> Any:
    """One call to S3. Raises `ObjectGone` where the object, but not the bucket, is the cause."""
    from botocore.exceptions import ClientError

    try:
        return getattr(client(), operation)(**arguments)
    except ClientError as error:
        if code(error) != "NoSuchBucket" and status(error) in (404, 405, 412):  # 405: a deletion's marker
            raise ObjectGone("The picture is not there, or not any more: it was deleted or replaced.") from error
        if code(error) == "InvalidObjectState":
            raise ObjectGone("The picture is in an archive: restore it first.") from error
        raise


def _too_large(size: int) -> ImageTooLarge:
    return ImageTooLarge(f"The picture has {size:,} bytes; at most {MAX_BYTES:,} are allowed.")
