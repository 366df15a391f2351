"""One stored picture: read it, ask the model, keep the result. Does not know in which event it came.

Whatever is done twice, or by two at once, or breaks off and is done again, leaves the same: the result is written first
and once, and what follows from it (the latest copy, the tags) is made again from what is stored. A picture that was
answered by another artifact, or asked other tasks, is asked anew; one whose bytes were answered under another key or
version is not.
"""

import contextlib
import hashlib
import io
import re
import time
from enum import StrEnum

from .. import __version__
from ..florence.artifact import Manifest
from ..florence.errors import ImageError, OutOfTime
from ..florence.predictor import Ask, Predictor
from ..settings import Storage
from . import documents, objects, results
from .documents import Answers, Document
from .errors import ObjectGone
from .events import StoredObject
from .objects import Found

PREVIEW_SIDE, PREVIEW_QUALITY = 1024, 85  # pixels of the longer side; of JPEG
TAG_OUTCOME, TAG_CAPTION, MAX_TAG = "florence-outcome", "florence-caption", 256  # characters of a tag's value
_NOT_IN_TAGS = re.compile(r"[^\w\s+\-=.:/@]+")  # S3 allows letters, numbers, white space and _ . : / = + - @


class Outcome(StrEnum):
    """What came of an object."""

    ANSWERED = "answered"
    REFUSED = "refused"  # will never be answered; the result says why
    GONE = "gone"  # was deleted or replaced before it was read
    NO_PICTURE = "no-picture"  # a folder's mark, as S3's console makes them
    OWN_RESULT = "own-result"  # this function wrote it: the trigger is on the wrong bucket


def handle(named: StoredObject, predictor: Predictor, storage: Storage, deadline: float) -> Outcome:
    """Leaves the result of one object in the results' bucket, unless it is there; says what it is.

    Raises `OutOfTime` and `Contended`, and botocore's errors: all these leave nothing that is wrong, and may be tried
    again. `deadline` is a time of `time.perf_counter`.
    """
    if named.bucket == storage.results_bucket:
        return Outcome.OWN_RESULT
    if named.key.endswith("/") and not named.size:
        return Outcome.NO_PICTURE
    if time.perf_counter() >= deadline:
        raise OutOfTime("No time is left for this picture.")
    maker = _maker(predictor.manifest, storage)
    try:
        found = objects.look(named)
    except ObjectGone as error:
        if not named.version:
            return Outcome.GONE  # nothing tells which object it was: there is no name for a result
        found = Found(named.bucket, named.key, named.version, named.etag or "", None, named.sequencer)
        return _keep(found, documents.refused(found, error), storage, maker)
    kept = results.read(storage.results_bucket, results.address(found))
    if kept and kept.rank == results.ANSWERED and kept.maker == maker:
        return _keep(found, documents.from_json(kept.body), storage, maker)
    try:
        image = objects.read(found)
        document = documents.answered(found, _answers(image, predictor, storage, maker, deadline))
    except ImageError as error:
        return _keep(found, documents.refused(found, error), storage, maker)
    if storage.preview:
        where = results.address(found, ".jpg")
        jpeg = _preview(image, document)
        results.write(storage.results_bucket, where, jpeg, results.ANSWERED, maker, "image/jpeg")
    return _keep(found, document, storage, maker)


def _maker(manifest: Manifest, storage: Storage) -> str:
    """What an answer depends on beside the picture."""
    return f"{__version__}/{manifest.id}/{','.join(task.name for task in storage.tasks)}"


def _answers(image: bytes, predictor: Predictor, storage: Storage, maker: str, deadline: float) -> Answers:
    """What was answered about the same bytes before, or else the model's answers."""
    where = results.answer(maker, hashlib.sha256(image).hexdigest())
    if kept := results.read(storage.results_bucket, where):
        return documents.answers_from_json(kept.body)
    result = predictor.predict(image, [Ask(task) for task in storage.tasks], deadline)
    if any(one.truncated for one in result.predictions) and time.perf_counter() >= deadline:
        raise OutOfTime("The time did not suffice for this picture.")  # what is stored stays: it must be whole
    said = documents.answers(predictor.manifest, result)
    results.write(storage.results_bucket, where, documents.to_json(said), results.ANSWERED, maker)
    return said


def _keep(found: Found, document: Document, storage: Storage, maker: str) -> Outcome:
    """Writes the result, if a better one is not there, and what follows from it."""
    rank = results.GONE if document.outcome == "gone" else results.ANSWERED
    body = results.write(storage.results_bucket, results.address(found), documents.to_json(document), rank, maker)
    document = documents.from_json(body)  # another's, if it was faster
    rank = results.GONE if document.outcome == "gone" else results.ANSWERED
    latest = results.latest(found.bucket, found.key)
    order = results.order_again(storage.results_bucket, found, rank)
    results.write(storage.results_bucket, latest, body, order, maker)
    outcome = Outcome(document.outcome)
    if storage.tags and outcome is not Outcome.GONE:
        with contextlib.suppress(ObjectGone):  # replaced meanwhile: the newer object gets its own
            objects.tag(found, _tags(document))
    return outcome


def _tags(document: Document) -> dict[str, str]:
    caption = next((each.text for each in (document.answers or {}).values() if each.text), "")
    value = " ".join(_NOT_IN_TAGS.sub(" ", caption).split())[:MAX_TAG].strip()
    return {TAG_OUTCOME: document.outcome} | ({TAG_CAPTION: value} if value else {})


def _preview(image: bytes, document: Document) -> bytes:
    from ..drawing import draw  # Pillow's fonts, only for those who draw

    places = [place for each in (document.answers or {}).values() for place in each.objects]
    picture = draw(image, places)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=PREVIEW_QUALITY)
    return buffer.getvalue()
