"""Conditional writes: the first of a rank stays, a greater one replaces it, whoever comes between."""

import threading

import pytest
from botocore.exceptions import ClientError
from buckets import RESULTS, Store
from hypothesis import given
from hypothesis import strategies as st

from handler.storage import results
from handler.storage.errors import Contended
from handler.storage.objects import Found


def found(sequencer: str = "", etag: str = "abc", key: str = "a.png") -> Found:
    return Found("bucket", key, None, etag, 1, sequencer)


def test_the_first_of_a_rank_stays(store: Store) -> None:
    assert results.write(RESULTS, "a", b"first", "1") == b"first"
    assert results.write(RESULTS, "a", b"second", "1") == b"first"
    assert results.write(RESULTS, "a", b"lesser", "0") == b"first"
    assert results.write(RESULTS, "a", b"greater", "2") == b"greater"
    assert store.get(RESULTS, "a") == b"greater"


def test_writers_at_the_same_time_leave_the_greatest(store: Store) -> None:
    ranks = [f"{number:03}" for number in (5, 3, 9, 1, 7, 9, 2, 8)]
    there: list[bytes] = []
    ready = threading.Barrier(len(ranks))

    def write(rank: str) -> None:
        ready.wait(10)
        there.append(results.write(RESULTS, "a", rank.encode(), rank))

    threads = [threading.Thread(target=write, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert store.get(RESULTS, "a") == b"009"
    assert len(there) == len(ranks)
    assert all(body >= rank.encode() for body, rank in zip(sorted(there), sorted(ranks), strict=True))


@pytest.mark.parametrize("by", ["another write", "a deletion"])
def test_who_comes_between_is_seen(store: Store, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    results.write(RESULTS, "a", b"1", "1")
    read, left = results.read, [1]

    def interrupted(bucket: str, where: str) -> results.Kept | None:
        kept = read(bucket, where)
        if left and left.pop():
            store.client.delete_object(Bucket=bucket, Key=where)
            if by == "another write":
                store.client.put_object(Bucket=bucket, Key=where, Body=b"2", Metadata={"rank": "2"})
        return kept

    monkeypatch.setattr(results, "read", interrupted)
    assert results.write(RESULTS, "a", b"3", "3") == b"3"
    assert store.get(RESULTS, "a") == b"3"


def test_endless_contention_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write(RESULTS, "a", b"1", "1")
    monkeypatch.setattr(results, "read", lambda *_: results.Kept("1", '"of another"', b"1"))
    with pytest.raises(Contended):
        results.write(RESULTS, "a", b"2", "2")


def test_a_conflict_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """409: S3's answer while another conditional write to the key is under way."""
    monkeypatch.setattr(results, "WAIT", 0)
    put, failing = results.client().put_object, [409, 409]

    class Conflicting:
        get_object = results.client().get_object

        @staticmethod
        def put_object(**arguments: object) -> object:
            if failing:
                response = {"Error": {"Code": "ConditionalRequestConflict"}}
                raise ClientError(response | {"ResponseMetadata": {"HTTPStatusCode": failing.pop()}}, "PutObject")  # type: ignore[arg-type]
            return put(**arguments)

    monkeypatch.setattr(results, "client", Conflicting)
    assert results.write(RESULTS, "a", b"1", "1") == b"1"
    assert failing == []


def test_a_missing_bucket_is_no_empty_place(store: Store) -> None:
    with pytest.raises(ClientError, match="NoSuchBucket"):
        results.read("no-such-bucket", "a")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        results.write("no-such-bucket", "a", b"", "1")
    assert results.read(RESULTS, "nothing") is None


@given(st.integers(0, 16**20 - 1), st.integers(0, 16**20 - 1), st.booleans(), st.booleans())
def test_sequencers_are_compared_as_aws_says(one: int, other: int, short: bool, lower: bool) -> None:
    """As strings, the shorter one padded with zeros on the right; the greater hexadecimal value is the newer one."""
    first, second = f"{one:020X}", f"{other:020X}"
    if short:
        first = first.rstrip("0") or "0"
    if lower:
        second = second.lower()
    expected = (one > other) - (one < other)
    left, right = (results.order(found(text), "1") for text in (first, second))
    assert (left > right) - (left < right) == expected


def test_what_has_no_sequencer_is_oldest() -> None:
    assert results.order(found("", "zzz"), "1") < results.order(found("00", "aaa"), "0")
    assert results.order(found("", "a"), "1") < results.order(found("", "b"), "0")


def test_addresses() -> None:
    one = found(key="a b/ü+.png")
    assert results.address(one) == "results/bucket/a b/ü+.png/abc.json"
    assert results.address(one, ".jpg") == "results/bucket/a b/ü+.png/abc.jpg"
    assert results.latest("bucket", "a b/ü+.png") == "results/bucket/a b/ü+.png/latest.json"
    assert results.latest("bucket", "k" * 1024).startswith("results/bucket/sha256-")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1024))
def test_no_address_is_too_long(key: str) -> None:
    one = Found("b" * 63, key, "v" * 32, "e" * 38, 1, "")
    assert len(results.address(one).encode()) <= results.MAX_KEY
