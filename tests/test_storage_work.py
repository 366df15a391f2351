"""One stored picture against moto's buckets: each outcome, and what it leaves."""

import hashlib
import io
import json
import time
from typing import Any

import pytest
from buckets import PLAIN, RESULTS, VERSIONED, Put, Store
from fakes import FakePredictor
from PIL import Image

import handler
from handler.florence.errors import OutOfTime
from handler.florence.image import MAX_BYTES
from handler.settings import Storage
from handler.storage import events, results, work
from handler.storage.work import Outcome

STORAGE = Storage(results_bucket=RESULTS)


def png(colour: str = "navy", size: tuple[int, int] = (200, 100)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def named(put: Put, **changes: Any) -> events.StoredObject:
    fields = {name: getattr(put, name) for name in ("bucket", "key", "version", "etag", "size", "sequencer")}
    return events.StoredObject(**(fields | changes))


def handle(
    one: events.StoredObject, predictor: FakePredictor, storage: Storage = STORAGE, seconds: float = 60
) -> Outcome:
    return work.handle(one, predictor, storage, time.perf_counter() + seconds)


def result(store: Store, put: Put) -> Any:
    return json.loads(store.get(RESULTS, f"results/{put.bucket}/{put.key}/{put.name}.json"))


def latest(store: Store, put: Put) -> Any:
    return json.loads(store.get(RESULTS, f"results/{put.bucket}/{put.key}/latest.json"))


@pytest.mark.parametrize("bucket", [PLAIN, VERSIONED])
def test_a_picture_is_answered(store: Store, predictor: FakePredictor, bucket: str) -> None:
    put = store.put(bucket, "holiday/été 1+1=2 100%.png", png())
    assert handle(named(put), predictor) is Outcome.ANSWERED
    version = {"version": put.version} if put.version else {}
    box = {"label": "red circle", "score": 0.9877, "box": [20, 10, 100, 50]}
    other = {"label": "blue square", "score": 0.4, "box": [120, 20, 180, 95]}
    document = result(store, put)
    assert document == {
        "outcome": "answered",
        "source": {"bucket": bucket, "key": put.key, "etag": put.etag, "size": put.size} | version,
        "answers": {
            "caption": {"text": "a fake answer to caption", "score": 0.8765, "objects": []},
            "detect": {"text": "", "score": 0.8765, "objects": [box, other]},
        },
        "truncated": False,
        "image": {"width": 200, "height": 100, "format": "PNG", "sha256": hashlib.sha256(png()).hexdigest()},
        "model": document["model"],
        "version": handler.__version__,
        "milliseconds": document["milliseconds"],
    }
    assert document["model"]["name"] == "fake"
    assert set(document["milliseconds"]) == {"image", "vision", "encoder", "decoder", "total"}
    assert latest(store, put) == document
    keys = store.keys(RESULTS)
    assert len(keys) == 3
    assert keys[0].startswith("results/_answers/")
    assert "holiday" not in store.get(RESULTS, keys[0]).decode()  # it is not of this object alone
    assert {store.client.head_object(Bucket=RESULTS, Key=key)["ContentType"] for key in keys} == {"application/json"}


def test_the_version_that_was_named_is_read_though_it_was_replaced(store: Store, predictor: FakePredictor) -> None:
    old, new = (store.put(VERSIONED, "a.png", png(size=size)) for size in ((30, 20), (60, 50)))
    assert handle(named(new), predictor) is Outcome.ANSWERED
    assert handle(named(old), predictor) is Outcome.ANSWERED
    assert [result(store, put)["image"]["width"] for put in (old, new)] == [30, 60]
    assert latest(store, new) == result(store, new)


def test_what_was_replaced_where_there_are_no_versions_is_gone(store: Store, predictor: FakePredictor) -> None:
    old, new = (store.put(PLAIN, "a.png", png(size=size)) for size in ((30, 20), (60, 50)))
    assert handle(named(old), predictor) is Outcome.GONE
    assert result(store, old)["outcome"] == "gone"
    assert result(store, old)["problem"]["type"] == "/docs#object-gone"
    assert handle(named(new), predictor) is Outcome.ANSWERED
    assert latest(store, old) == result(store, new)


def test_what_was_gone_and_comes_back_is_answered(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png())
    store.client.delete_object(Bucket=PLAIN, Key="a.png")
    assert handle(named(put), predictor) is Outcome.GONE
    assert latest(store, put)["outcome"] == "gone"
    again = store.put(PLAIN, "a.png", png())
    assert handle(named(put), predictor) is Outcome.ANSWERED  # the first event, tried again
    assert latest(store, put)["outcome"] == result(store, put)["outcome"] == "answered"
    assert handle(named(again), predictor) is Outcome.ANSWERED
    assert len(predictor.asked) == 2


def test_a_deleted_version_is_gone(store: Store, predictor: FakePredictor) -> None:
    put = store.put(VERSIONED, "a.png", png())
    store.client.delete_object(Bucket=VERSIONED, Key="a.png", VersionId=put.version)
    assert handle(named(put), predictor) is Outcome.GONE
    assert handle(named(put, etag=None, size=None), predictor) is Outcome.GONE  # as S3 Batch Operations name it
    assert result(store, put)["outcome"] == "gone"


def test_what_has_no_name_and_is_not_there_leaves_nothing(store: Store, predictor: FakePredictor) -> None:
    one = events.StoredObject(PLAIN, "never.png")
    assert handle(one, predictor) is Outcome.GONE
    assert store.keys(RESULTS) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"a text", "not-an-image"),
        (b"", "not-an-image"),
        (b"II*\0" + bytes(60), "unsupported-format"),
        (png()[:80], "damaged-image"),
    ],
)
def test_what_can_never_be_answered_is_recorded(store: Store, predictor: FakePredictor, body: bytes, kind: str) -> None:
    put = store.put(PLAIN, "a.png", body)
    assert handle(named(put), predictor) is Outcome.REFUSED
    assert result(store, put)["problem"]["type"] == f"/docs#{kind}"
    assert result(store, put)["problem"]["detail"].endswith(".")
    assert latest(store, put) == result(store, put)


@pytest.mark.parametrize("told", [True, False], ids=["by the event", "by S3"])
def test_a_picture_that_is_too_large_is_not_downloaded(store: Store, predictor: FakePredictor, told: bool) -> None:
    put = store.put(PLAIN, "large.png", bytes(MAX_BYTES + 1))
    one = named(put) if told else named(put, size=None)
    assert handle(one, predictor) is Outcome.REFUSED
    assert result(store, put)["problem"]["type"] == "/docs#image-too-large"
    assert [call for call in store.calls if call == "HeadObject"] == ([] if told else ["HeadObject"])
    assert store.calls.count("GetObject") == 1  # of the result


def test_a_picture_larger_than_its_event_says_is_not_downloaded(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "large.png", bytes(MAX_BYTES + 1))
    assert handle(named(put, size=10), predictor) is Outcome.REFUSED
    assert predictor.asked == []


def test_what_was_done_is_not_done_again(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png())
    for _ in range(3):
        assert handle(named(put), predictor) is Outcome.ANSWERED
    assert len(predictor.asked) == 2  # caption and detect, once
    bad = store.put(PLAIN, "bad.png", b"text")
    assert [handle(named(bad), predictor) for _ in range(2)] == [Outcome.REFUSED] * 2


def test_the_same_bytes_are_answered_once_whatever_their_key(store: Store, predictor: FakePredictor) -> None:
    puts = [store.put(bucket, key, png()) for bucket in (PLAIN, VERSIONED) for key in ("a.png", "deep/b.png", "a.png")]
    for put in puts[1:]:  # the first was replaced
        assert handle(named(put), predictor) is Outcome.ANSWERED
    assert [ask.task.name for ask in predictor.asked] == ["caption", "detect"]
    for put in puts[1:]:
        document = result(store, put)
        assert (document["source"]["bucket"], document["source"]["key"]) == (put.bucket, put.key)
        assert document["answers"] == result(store, puts[1])["answers"]
    handle(named(store.put(PLAIN, "c.png", png("red"))), predictor)
    assert len(predictor.asked) == 4


def test_another_artifact_or_other_tasks_answer_anew_and_take_the_old_results_place(
    store: Store, predictor: FakePredictor
) -> None:
    """As when a whole bucket is gone through again after a deployment."""
    storage, put = Storage(results_bucket=RESULTS, preview=True), store.put(PLAIN, "a.png", png())
    newer = store.put(PLAIN, "b.png", png("red"))
    handle(named(put), predictor, storage)
    where = results.address(work.objects.look(named(put)), ".jpg")
    drawn = store.get(RESULTS, where)
    predictor.manifest.id = "1" * 64
    for sequencer in ("", put.sequencer, ""):  # S3 Batch Operations tell none
        assert handle(named(put, sequencer=sequencer), predictor, storage) is Outcome.ANSWERED
    assert result(store, put)["model"]["artifact"] == latest(store, put)["model"]["artifact"] == "1" * 64
    assert store.get(RESULTS, where) == drawn  # the same was found, and drawn anew
    assert results.read(RESULTS, where).maker.split("/")[1] == "1" * 64  # type: ignore[union-attr]
    captions = Storage(results_bucket=RESULTS, tasks=(work_task("detailed-caption"),))
    for _ in range(2):
        assert handle(named(put), predictor, captions) is Outcome.ANSWERED
    assert list(latest(store, put)["answers"]) == ["detailed-caption"]
    assert len(predictor.asked) == 2 + 2 + 1
    handle(named(newer), predictor, captions)
    assert len(predictor.asked) == 6


def test_another_artifact_does_not_bring_back_what_was_replaced(store: Store, predictor: FakePredictor) -> None:
    old, new = (store.put(VERSIONED, "a.png", png(size=size)) for size in ((30, 20), (60, 50)))
    for put in (old, new):
        handle(named(put), predictor)
    predictor.manifest.id = "1" * 64
    handle(named(old), predictor)
    handle(named(old, sequencer=""), predictor)
    assert result(store, old)["model"]["artifact"] == "1" * 64
    assert latest(store, new) == result(store, new)
    assert latest(store, new)["model"]["artifact"] == "0" * 64


def test_what_broke_off_after_the_result_is_finished(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png())
    handle(named(put), predictor)
    store.client.delete_object(Bucket=RESULTS, Key=results.latest(PLAIN, "a.png"))
    handle(named(put), predictor, Storage(results_bucket=RESULTS, tags=True))
    assert latest(store, put) == result(store, put)
    assert store.client.get_object_tagging(Bucket=PLAIN, Key="a.png")["TagSet"]
    assert len(predictor.asked) == 2


def test_its_own_results_do_not_trigger_it(store: Store, predictor: FakePredictor) -> None:
    put = store.put(RESULTS, "results/x/a.png/1.jpg", png())
    store.calls.clear()
    assert handle(named(put), predictor) is Outcome.OWN_RESULT
    assert store.calls == []


def test_a_folders_mark_is_no_picture(store: Store, predictor: FakePredictor) -> None:
    assert handle(named(store.put(PLAIN, "holiday/", b"")), predictor) is Outcome.NO_PICTURE
    assert store.keys(RESULTS) == []


def test_no_time_is_told_before_anything_is_asked(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png())
    store.calls.clear()
    with pytest.raises(OutOfTime):
        handle(named(put), predictor, seconds=0)
    assert store.calls == []


def test_an_answer_that_time_cut_is_not_kept(
    store: Store, predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `read` is truncated by the stand-in."""
    put = store.put(PLAIN, "a.png", png())
    storage = Storage(results_bucket=RESULTS, tasks=(work_task("read"),))
    predictor.before = lambda: time.sleep(0.2)
    with pytest.raises(OutOfTime):
        handle(named(put), predictor, storage, seconds=0.2)
    assert store.keys(RESULTS) == []
    assert handle(named(put), predictor, storage) is Outcome.ANSWERED  # the length limit may cut it
    assert result(store, put)["truncated"] is True


def work_task(name: str) -> Any:
    from handler.florence import tasks

    return tasks.find(name)


def test_other_tasks(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png())
    handle(named(put), predictor, Storage(results_bucket=RESULTS, tasks=(work_task("more-detailed-caption"),)))
    assert list(result(store, put)["answers"]) == ["more-detailed-caption"]


def tags(store: Store, put: Put) -> dict[str, str]:
    which = {"VersionId": put.version} if put.version else {}
    found = store.client.get_object_tagging(Bucket=put.bucket, Key=put.key, **which)["TagSet"]
    return {each["Key"]: each["Value"] for each in found}


TAGGING = Storage(results_bucket=RESULTS, tags=True)


@pytest.mark.parametrize("bucket", [PLAIN, VERSIONED])
def test_tags_are_added(store: Store, predictor: FakePredictor, bucket: str) -> None:
    put, bad = store.put(bucket, "a.png", png()), store.put(bucket, "b.png", b"text")
    store.client.put_object_tagging(Bucket=bucket, Key="a.png", Tagging={"TagSet": [{"Key": "mine", "Value": "1"}]})
    handle(named(put), predictor, TAGGING)
    handle(named(bad), predictor, TAGGING)
    caption = "a fake answer to caption"
    assert tags(store, put) == {"mine": "1", "florence-outcome": "answered", "florence-caption": caption}
    assert tags(store, bad) == {"florence-outcome": "refused"}


def test_tags_stay_within_what_s3_allows(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png())
    mine = [{"Key": f"mine-{number}", "Value": "1"} for number in range(9)]
    store.client.put_object_tagging(Bucket=PLAIN, Key="a.png", Tagging={"TagSet": mine})
    assert handle(named(put), predictor, TAGGING) is Outcome.ANSWERED
    assert len(tags(store, put)) == 9
    document = work.documents.Document.model_validate(result(store, put))
    assert document.answers
    long = document.answers["caption"].model_copy(update={"text": "a “dog”, (wet)\n& a cat!  " + "très " * 99})
    value = work._tags(document.model_copy(update={"answers": {"caption": long}}))["florence-caption"]
    assert value.startswith("a dog wet a cat très très")
    assert 250 < len(value) <= 256


def test_a_late_duplicate_does_not_tag_what_came_after(store: Store, predictor: FakePredictor) -> None:
    old = store.put(PLAIN, "a.png", png())
    assert handle(named(old), predictor, TAGGING) is Outcome.ANSWERED
    new = store.put(PLAIN, "a.png", b"text")
    assert handle(named(old), predictor, TAGGING) is Outcome.ANSWERED
    assert tags(store, new) == {}
    handle(named(new), predictor, TAGGING)
    assert tags(store, new) == {"florence-outcome": "refused"}


def test_a_preview_shows_the_objects(store: Store, predictor: FakePredictor) -> None:
    put = store.put(PLAIN, "a.png", png(size=(3000, 1500)))
    assert handle(named(put), predictor, Storage(results_bucket=RESULTS, preview=True)) is Outcome.ANSWERED
    where = results.folder(PLAIN, "a.png") + f"{put.etag}.jpg"
    picture = Image.open(io.BytesIO(store.get(RESULTS, where)))
    assert (picture.format, picture.size) == ("JPEG", (1024, 512))
    assert store.client.head_object(Bucket=RESULTS, Key=where)["ContentType"] == "image/jpeg"
    pixels = picture.convert("RGB")
    colours = {pixels.getpixel((x, 250)) for x in range(100, 130)}  # across the left edge of the box of `red circle`
    assert len(colours) > 1


def test_a_name_too_long_for_s3_is_a_hash(store: Store, predictor: FakePredictor) -> None:
    key = "folder/" + "ü" * 480 + ".png"
    put = store.put(VERSIONED, key, png())
    assert handle(named(put), predictor) is Outcome.ANSWERED
    keys = store.keys(RESULTS)
    assert all(key.startswith((f"results/{VERSIONED}/sha256-", "results/_answers/")) for key in keys)
    assert json.loads(store.get(RESULTS, keys[-1]))["source"]["key"] == key
