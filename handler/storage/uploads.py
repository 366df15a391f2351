"""Pictures too large for a request: a place in a bucket that is lent for one of them, and what came of it.

Who has the signed address puts a picture there; S3 takes it only with the type and the size that were asked for, and
only once. The bucket's event brings it to this function. Ids cannot be guessed: who has one may read its result.
"""

import time
import uuid
from dataclasses import dataclass
from enum import StrEnum

from ..settings import UPLOADS_BUCKET, Storage
from . import objects, results
from .errors import NotSetUp, ObjectGone, UnknownResult
from .events import StoredObject

EXPIRES = 900  # seconds that a signed address is good for
ID = r"^[0-9a-f]{40}$"  # the time in seconds, 8 digits, and 122 bits of the kernel's random numbers


class Pending(StrEnum):
    """What is waited for."""

    UPLOAD = "waiting"
    ANSWER = "working"


@dataclass(frozen=True)
class Place:
    """Where one picture may be put."""

    id: str
    url: str  # signed
    headers: dict[str, str]  # that are part of the signature
    expires: int  # seconds since 1970


def lend(storage: Storage, content_type: str, size: int) -> Place:
    """A place for a picture of this type and of `size` bytes. Raises `NotSetUp`, and what `objects.told` raises."""
    bucket = _bucket(storage)
    now = int(time.time())
    id_ = f"{now:08x}{uuid.uuid4().hex}"
    signed = {"ContentType": content_type, "ContentLength": size, "IfNoneMatch": "*"}
    with objects.told():
        url = objects.client().generate_presigned_url(
            "put_object", Params={"Bucket": bucket, "Key": _key(id_)} | signed, ExpiresIn=EXPIRES
        )
    headers = {"Content-Type": content_type, "Content-Length": str(size), "If-None-Match": "*"}
    return Place(id_, url, headers, now + EXPIRES)


def outcome(storage: Storage, id_: str) -> bytes | Pending:
    """The result, as `documents.to_json` wrote it, or what is still waited for.

    Raises `UnknownResult`, `NotSetUp`, and what `objects.told` raises.
    """
    bucket = _bucket(storage)
    with objects.told():
        kept = results.read(storage.results_bucket, results.latest(bucket, _key(id_)))
        if kept:
            return kept.body
        uploaded = _is_there(bucket, _key(id_))
    if uploaded:
        return Pending.ANSWER
    if abs(time.time() - int(id_[:8], 16)) > EXPIRES:  # over, or a time to come: made up
        raise UnknownResult("Nothing was uploaded under this id, or its result was deleted.")
    return Pending.UPLOAD


def _bucket(storage: Storage) -> str:
    if not storage.uploads_bucket:
        raise NotSetUp(f"Uploads are not set up here: {UPLOADS_BUCKET} names no bucket.")
    return storage.uploads_bucket


def _key(id_: str) -> str:
    return f"uploads/{id_}"


def _is_there(bucket: str, key: str) -> bool:
    try:
        objects.look(StoredObject(bucket, key))
    except ObjectGone:
        return False
    return True
