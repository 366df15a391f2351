"""Results in their bucket, each written so that duplicates and any order of events leave the same.

::

    results/<bucket>/<key>/<version or ETag>.json    the answer to these very bytes; a maker's first one stays
    results/<bucket>/<key>/<version or ETag>.jpg     a smaller picture with the objects drawn in, if asked for
    results/<bucket>/<key>/latest.json               a copy of the newest object's, by the sequencer of its event
    results/_answers/<maker>/<sha256>.json           the answer to a picture with these bytes, whatever its key

A maker is what an answer depends on beside the picture: our version, the artifact and the tasks. No bucket's name has
a `_`.

Each object carries a rank and its maker in its metadata. Only a greater rank replaces it, or the same of another maker:
a new artifact's answer takes the place of an old one's. A conditional write (If-None-Match, If-Match) makes reading and
writing one step, so that writers at the same time cannot go backwards. A key too long for S3 (1,024 bytes in all) is
replaced by `sha256-` and its hash.

The role needs s3:ListBucket on the results: without it S3 answers 403 where nothing is there yet.
"""

import contextlib
import hashlib
import random
import time
from dataclasses import dataclass, replace
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
    maker: str = ""  # an older version's say none


def folder(bucket: str, key: str) -> str:
    """Where the results of all objects under a key are."""
    plain = f"results/{bucket}/{key}/"
    longest = len(plain.encode()) + 80  # a version's id has 32 characters, an ETag up to 38
    return plain if longest <= MAX_KEY else f"results/{bucket}/sha256-{hashlib.sha256(key.encode()).hexdigest()}/"


def address(found: Found, suffix: str = ".json") -> str:
    """The key of this object's result."""
    return f"{folder(found.bucket, found.key)}{found.name}{suffix}"


def answer(maker: str, sha256: str) -> str:
    """The key of this maker's answer to a picture of these bytes."""
    return f"results/_answers/{maker}/{sha256}.json"


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


def order_again(bucket: str, found: Found, rank: str) -> str:
    """`order` by the sequencer that the latest copy, if it is this very object's, has from an earlier event: S3 Batch
    Operations, which name none, then renew it where another maker's result is to take its place."""
    kept = None if found.sequencer else read(bucket, latest(found.bucket, found.key))
    sequencer, _, rest = kept.rank.partition(" ") if kept else ("", "", "")
    return order(replace(found, sequencer=sequencer) if rest.startswith(f"{found.name} ") else found, rank)


def read(bucket: str, where: str) -> Kept | None:
    """What is stored there; None if nothing is."""
    from botocore.exceptions import ClientError

    try:
        answer = client().get_object(Bucket=bucket, Key=where)
    except ClientError as error:
        if status(error) == 404 and code(error) != "NoSuchBucket":
            return None
        raise
    with contextlib.closing(answer["Body"]) as body:
        said = answer["Metadata"]
        return Kept(said.get("rank", ""), answer["ETag"], body.read(), said.get("maker", ""))


def write(
    bucket: str, where: str, body: bytes, rank: str, maker: str = "", content_type: str = "application/json"
) -> bytes:
    """Stores `body` unless something of a greater rank is there, or of the same and by the same maker; returns what is
    there afterwards.

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
                ContentType=content_type,
                Metadata={"rank": rank, "maker": maker},
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
        if kept is not None and (kept.rank > rank or (kept.rank == rank and kept.maker == maker)):
            return kept.body
        condition = {"IfNoneMatch": "*"} if kept is None else {"IfMatch": kept.etag}
    raise Contended("A result was written by others each time; it is tried again later.")
