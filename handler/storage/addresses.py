"""`s3://bucket/key` in a request -> the object's bytes: for the buckets on the list alone.

The key stands as it is, not encoded; `?versionId=` after it names a version, as s3fs writes it. The list keeps whoever
may ask this function from reading all that its role may read.
"""

import re
import time

import anyio
import anyio.to_thread

from ..florence.errors import OutOfTime
from ..problems import MalformedBody
from ..settings import SOURCE_BUCKETS, Storage
from . import objects
from .errors import BucketNotAllowed
from .events import StoredObject
from .results import MAX_KEY

_ADDRESS = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+?)(\?versionId=(?P<version>[^?]+))?", re.DOTALL)


async def read(address: str, storage: Storage, deadline: float | None = None) -> bytes:
    """The object's bytes, read in a thread; `deadline` is a time of `time.perf_counter`.

    Raises `MalformedBody`, `BucketNotAllowed`, `ObjectGone`, `ImageTooLarge` (before anything is downloaded),
    `OutOfTime`, and what `objects.told` raises.
    """
    named = parse(address, storage.source_buckets)
    left = None if deadline is None else max(0.0, deadline - time.perf_counter())
    with anyio.move_on_after(left):
        # A thread that waits for S3 cannot be stopped, but its answer need not be waited for.
        return await anyio.to_thread.run_sync(_read, named, abandon_on_cancel=True)
    raise OutOfTime("The picture did not come from its bucket in time.")


def parse(address: str, allowed: tuple[str, ...]) -> StoredObject:
    """What an address names. Raises `MalformedBody` and `BucketNotAllowed`."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise MalformedBody("The field 's3_uri' must be s3://bucket/key, of a version s3://bucket/key?versionId=id.")
    bucket, key, version = found["bucket"], found["key"], found["version"]
    if not allowed:
        raise BucketNotAllowed(f"No bucket is read here: {SOURCE_BUCKETS} names none. Send the image itself.")
    if bucket not in allowed:
        raise BucketNotAllowed(f"The bucket {bucket!r} is not read here: it is not one that {SOURCE_BUCKETS} names.")
    if len(key.encode()) > MAX_KEY:
        raise MalformedBody(f"The key in 's3_uri' has more than the {MAX_KEY:,} bytes that S3 allows.")
    return StoredObject(bucket, key, version)


def _read(named: StoredObject) -> bytes:
    with objects.told():
        return objects.read(objects.look(named))
