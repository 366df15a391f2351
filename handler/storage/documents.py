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


class About(BaseModel):
    """What came of which object."""

    outcome: Outcome = Field(
        description="refused: this picture can never be answered; gone: it was deleted or replaced before it was read."
    )
    source: Source


class Answers(BaseModel):
    """What was said of a picture, wherever it is."""

    answers: dict[str, TaskResult] | None = Field(default=None, description="By the task's name.")
    truncated: bool | None = Field(default=None, description="An answer reached the longest length allowed.")
    image: schemas.Image | None = None
    model: schemas.Model | None = None
    version: str | None = Field(default=None, description="The version of florence-lambda.")
    milliseconds: schemas.Milliseconds | None = None


# Fields stand in the order of the bases from last to first.
class Document(Answers, About):
    """A result. The answers are there if `outcome` is `answered`, `problem` if it is not."""

    problem: schemas.Problem | None = None


def answers(manifest: Manifest, result: Result) -> Answers:
    """What the model said."""
    answers = [serialise.task(manifest, replace(result, predictions=(one,))) for one in result.predictions]
    return Answers(
        answers={each.task: TaskResult(text=each.text, score=each.score, objects=each.objects) for each in answers},
        truncated=any(each.truncated for each in answers),
        image=answers[0].image,
        model=answers[0].model,
        version=answers[0].version,
        milliseconds=answers[0].milliseconds,
    )


def answered(found: Found, said: Answers) -> Document:
    """The result for a picture that was answered."""
    return Document(outcome="answered", source=_source(found), **dict(said))


def refused(found: Found, error: InputError) -> Document:
    """The result for a picture that will never be answered."""
    outcome: Outcome = "gone" if isinstance(error, ObjectGone) else "refused"
    return Document(outcome=outcome, source=_source(found), problem=problems.document(error))


def to_json(document: Document | Answers) -> bytes:
    """UTF-8, without what is not there, a line."""
    return document.model_dump_json(exclude_none=True).encode() + b"\n"


def from_json(body: bytes) -> Document:
    """The result that `to_json` wrote, by this version or an older one."""
    return Document.model_validate_json(body)


def answers_from_json(body: bytes) -> Answers:
    """The answers that `to_json` wrote."""
    return Answers.model_validate_json(body)


def _source(found: Found) -> Source:
    return Source(bucket=found.bucket, key=found.key, version=found.version, etag=found.etag, size=found.size)
