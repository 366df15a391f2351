"""Places that are lent for uploads, and what came of them, against moto's buckets."""

import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from buckets import REGION, RESULTS, UPLOADS, Store
from fakes import FakePredictor
from test_storage_work import png

from handler.settings import Storage
from handler.storage import documents, uploads
from handler.storage.delivery import deliver
from handler.storage.errors import NotSetUp, StorageRefused, UnknownResult

STORAGE = Storage(results_bucket=RESULTS, uploads_bucket=UPLOADS)


def lend() -> uploads.Place:
    return uploads.lend(STORAGE, "image/png", 1234)


def test_a_place_is_for_this_type_and_size_and_once(store: Store) -> None:
    before = int(time.time())
    place = lend()
    assert place.headers == {"Content-Type": "image/png", "Content-Length": "1234", "If-None-Match": "*"}
    address = urlsplit(place.url)
    assert address.hostname == f"{UPLOADS}.s3.{REGION}.amazonaws.com"  # the region's own: no redirect on the way
    assert address.path == f"/uploads/{place.id}"
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert query["X-Amz-SignedHeaders"] == "content-length;content-type;host;if-none-match"
    assert query["X-Amz-Expires"] == str(uploads.EXPIRES)
    assert not any("checksum" in name.lower() for name in query)
    assert before + uploads.EXPIRES <= place.expires <= time.time() + uploads.EXPIRES


def test_no_two_ids_are_alike(store: Store) -> None:
    ids = {lend().id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch(uploads.ID, id_) for id_ in ids)


def test_from_the_upload_to_the_result(store: Store, predictor: FakePredictor) -> None:
    place = lend()
    assert uploads.outcome(STORAGE, place.id) is uploads.Pending.UPLOAD
    put = store.put(UPLOADS, f"uploads/{place.id}", png())
    assert uploads.outcome(STORAGE, place.id) is uploads.Pending.ANSWER
    deliver(put.event, predictor, STORAGE, 60_000)
    body = uploads.outcome(STORAGE, place.id)
    assert body == store.get(RESULTS, f"results/{UPLOADS}/uploads/{place.id}/latest.json")
    assert documents.from_json(body).outcome == "answered"


def test_an_id_whose_time_is_over_is_unknown(store: Store) -> None:
    old = f"{int(time.time()) - uploads.EXPIRES - 5:08x}" + "ab" * 16
    for made_up in (old, "f" * 40):
        with pytest.raises(UnknownResult):
            uploads.outcome(STORAGE, made_up)
    store.put(UPLOADS, f"uploads/{old}", png())  # uploaded in time: it waits in the queue
    assert uploads.outcome(STORAGE, old) is uploads.Pending.ANSWER


def test_without_a_bucket_the_setting_is_named() -> None:
    for call in (lambda: uploads.lend(Storage(), "image/png", 1), lambda: uploads.outcome(Storage(), "0" * 40)):
        with pytest.raises(NotSetUp, match="FLORENCE_UPLOADS_BUCKET names no bucket"):
            call()


def test_a_bucket_that_does_not_exist(store: Store) -> None:
    with pytest.raises(StorageRefused, match="no such bucket"):
        uploads.outcome(Storage(results_bucket="never-made", uploads_bucket=UPLOADS), "0" * 40)
