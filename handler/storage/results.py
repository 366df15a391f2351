"""Results in their bucket, each written so that duplicates and any order of events leave the same.

::

    results/<bucket>/<key>/<version or ETag>.json    the answer to these very bytes; the first one stays
    results/<bucket>/<key>/<version or ETag>.jpg     a smaller picture with the objects drawn in, if asked for
    results/<bucket>/<key>/latest.json               a copy of the newest object's, by the sequencer of its event

Each JSON object carries a rank in its metadata, and only a greater rank replaces it: a conditional write
(If-None-Match, If-Match) makes reading and writing one step, so that writers at the same time cannot go backwards. A
key too long for S3 (1,024 bytes in all) is replaced by `sha256-` and its hash.

The role needs s3:ListBucket on the results: without it S3 answers 403 where nothing is there yet.
"""

import hashlib
import random
import time
from dataclasses import dataclass
from typing import Any

from .errors import Contended
from .objects import Found, client, code, status

GONE, ANSWERED = "0", "1"  # ranks of a result: what was gone may come back, and is then answered
ATTEMPTS = 8  # of a conditional write; each fails only if another writer got between
WAIT = 0.05  # seconds, times the attempt and a random part
MAX_KEY = 1024  # bytes

_SEQUENCER = 64  # hex digits; S3 writes 16 to 18 today


@dataclass(frozen=True)
class Kept:
    """What is stored under a key."""

    rank: str
    etag: str
    body: bytes


def folder(bucket: str, key: str) -> str:
    """Where the results of all objects under a key are."""
    plain = f"results/{bucket}/{key}/"
    longest = len(plain.encode()) + 80  # a version's id has 32 characters, an ETag up to 38
    return plain if longest <= MAX_KEY else f"results/{bucket}/sha256-{hashlib.sha256(key.encode()).hexdigest()}/"


def address(found: Found, suffix: str = ".json") -> str:
    """The key of this object's result."""
    return f"{folder(found.bucket, found.key)}{found.name}{suffix}"


def latest(bucket: str, key: str) -> str:
    """The key of the latest copy."""
    return f"{folder(bucket, key)}latest.json"


def order(found: Found, rank: str) -> str:
    """The rank of an object's result among those under its key, for the latest copy: greater is newer, as strings.

    AWS's rule: sequencers are compared as strings, the shorter one padded with zeros on the right. An object without a
    sequencer (S3 Batch Operations) is older than all that have one; among those the names decide, so that all orders of
    arrival agree, though not on which one is newer.
    """
    sequencer = f"{found.sequencer.upper():0<{_SEQUENCER}}" if found.sequencer else ""
    return f"{sequencer} {found.name} {rank}"


def read(bucket: str, where: str) -> Kept | None:
    """What is stored there; None if nothing is."""
    from botocore.exceptions import ClientError

    try:
        answer = client().get_object(Bucket=bucket, Key=where)
    except ClientError as error:
        if status(error) == 404 and code(error) != "NoSuchBucket":
            return None
        raise
    with answer["Body"] as body:
        return Kept(answer["Metadata"].get("rank", ""), answer["ETag"], body.read())


def write(bucket: str, where: str, body: bytes, rank: str) -> bytes:
    """Stores `body` unless something of the same or a greater rank is there; returns what is there afterwards.

    Raises `Contended`.
    """
    from botocore.exceptions import ClientError

    condition: dict[str, Any] = {"IfNoneMatch": "*"}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            client().put_object(
                Bucket=bucket,
                Key=where,
                Body=body,
                ContentType="application/json",
                Metadata={"rank": rank},
                **condition,
            )
            return body
        except ClientError as error:
            # 409: another write is under way; 412: the condition failed; 404 to If-Match: it was deleted meanwhile.
            if code(error) == "NoSuchBucket" or status(error) not in (404, 409, 412):
                raise
            if status(error) == 409:
                time.sleep(WAIT * attempt * random.random())  # noqa: S311  # to part writers, not to hide anything
        kept = read(bucket, where)
        if kept is not None and kept.rank >= rank:
            return kept.body
        condition = {"IfNoneMatch": "*"} if kept is None else {"IfMatch": kept.etag}
    raise Contended("A result was written by others each time; it is tried again later.")


def write_preview(bucket: str, where: str, jpeg: bytes) -> None:
    """Stores a picture, unless one is there: duplicates draw the same."""
    from botocore.exceptions import ClientError

    try:
        client().put_object(Bucket=bucket, Key=where, Body=jpeg, ContentType="image/jpeg", IfNoneMatch="*")
    except ClientError as error:
        if status(error) != 412:
            raise
