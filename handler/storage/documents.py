"""The form of a result: which object, what came of it, and the answers or the problem.

A text in every answer that has one, objects in every answer that has some, as the API gives them. Knows no buckets.
"""

from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, Field

from .. import problems, schemas, serialise
from ..florence.artifact import Manifest
from ..florence.errors import InputError
from ..florence.predictor import Result
from .errors import ObjectGone
from .objects import Found

Outcome = Literal["answered", "refused", "gone"]


class Source(BaseModel):
    """The object that was looked at."""

    bucket: str
    key: str
    version: str | None = Field(default=None, description="Where the bucket has versions.")
    etag: str
    size: int | None = Field(default=None, description="In bytes; not there if the object was gone.")


class TaskResult(BaseModel):
    """What one task answered."""

    text: str = Field(description="Empty where objects are the answer.")
    score: float = Field(ge=0, le=1, description="The score of the answer as a whole.")
    objects: list[schemas.Object]


class Document(BaseModel):
    """A result. `answers` and what follows it are there if `outcome` is `answered`, `problem` if it is not."""

    outcome: Outcome = Field(
        description="refused: this picture can never be answered; gone: it was deleted or replaced before it was read."
    )
    source: Source
    answers: dict[str, TaskResult] | None = Field(default=None, description="By the task's name.")
    truncated: bool | None = Field(default=None, description="An answer reached the longest length allowed.")
    image: schemas.Image | None = None
    model: schemas.Model | None = None
    milliseconds: schemas.Milliseconds | None = None
    problem: schemas.Problem | None = None


def answered(found: Found, manifest: Manifest, result: Result) -> Document:
    """The result for a picture that was answered."""
    answers = [serialise.task(manifest, replace(result, predictions=(one,))) for one in result.predictions]
    return Document(
        outcome="answered",
        source=_source(found),
        answers={each.task: TaskResult(text=each.text, score=each.score, objects=each.objects) for each in answers},
        truncated=any(each.truncated for each in answers),
        image=answers[0].image,
        model=answers[0].model,
        milliseconds=answers[0].milliseconds,
    )


def refused(found: Found, error: InputError) -> Document:
    """The result for a picture that will never be answered."""
    outcome: Outcome = "gone" if isinstance(error, ObjectGone) else "refused"
    return Document(outcome=outcome, source=_source(found), problem=problems.document(error))


def to_json(document: Document) -> bytes:
    """UTF-8, without what is not there, a line."""
    return document.model_dump_json(exclude_none=True).encode() + b"\n"


def from_json(body: bytes) -> Document:
    """What `to_json` wrote, by this version or an older one."""
    return Document.model_validate_json(body)


def _source(found: Found) -> Source:
    return Source(bucket=found.bucket, key=found.key, version=found.version, etag=found.etag, size=found.size)
