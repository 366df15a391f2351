"""What the API answers, and the command line with `--json`: one shape for both.

Shapes alone: `serialise` fills them. Coordinates are pixels of the image as it is seen, that is, after its EXIF
orientation. Scores are probabilities.
"""

from itertools import chain
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Model(_Schema):
    """Which model answered."""

    name: str = Field(description="The artifact's name.")
    adapter: str | None = Field(default=None, description="The LoRA adapter that is fused into it, if any.")
    artifact: str = Field(description="The sha256 of its manifest, which holds those of all its files.")
    precision: str = Field(description="How its weights are stored: int8 or fp32.")
    notice: str | None = Field(default=None, description="What to know before trusting it, if anything.")


class Image(_Schema):
    """The image as the model saw it."""

    width: int = Field(description="In pixels, orientation applied; so is the height.")
    height: int
    format: str = Field(description="What the bytes were: JPEG, PNG, GIF or WebP.")
    sha256: str = Field(description="Of the bytes as they were sent.")


class Milliseconds(_Schema):
    """Where the time went."""

    image: float = Field(description="Decoding and resizing the image.")
    vision: float = Field(description="The vision tower, once for all tasks.")
    encoder: float = Field(description="The text encoder.")
    decoder: float = Field(description="Writing the answer, token by token.")
    total: float = Field(description="All of these.")


class Object(_Schema):
    """Something found in the image. Which of `box`, `quad` and `polygons` it has depends on the task."""

    label: str = Field(description="What it is; empty for tasks that only find places.")
    score: float = Field(ge=0, le=1, description="How sure the model is.")
    box: tuple[float, float, float, float] | None = Field(default=None, description="x1, y1, x2, y2.")
    quad: tuple[float, ...] | None = Field(default=None, description="Four corners: x, y alternating, eight numbers.")
    polygons: tuple[tuple[float, ...], ...] | None = Field(default=None, description="Outlines: x, y alternating.")

    @property
    def bounds(self) -> tuple[float, ...]:
        """The smallest box around it: x1 <= x2, y1 <= y2 (the model may write corners in any order); empty if it has no
        place."""
        points = list(chain.from_iterable([self.box or self.quad or (), *(self.polygons or ())]))
        return (min(points[0::2]), min(points[1::2]), max(points[0::2]), max(points[1::2])) if points else ()


class Caption(_Schema):
    """A caption and its score."""

    caption: str = Field(description="What the image shows, in a sentence.")
    score: float = Field(ge=0, le=1, description="The caption's score.")


class Text(_Schema):
    """A text and its score."""

    text: str = Field(description="What the model wrote, without location tokens; empty where objects are the answer.")
    score: float = Field(ge=0, le=1, description="The score of the answer as a whole.")


class Asked(_Schema):
    """Which task was asked."""

    task: str = Field(description="The task's name.")


class Label(_Schema):
    """A name for what the image shows."""

    label: str
    score: float = Field(ge=0, le=1, description="The best score of the objects of this name; 0 if there is none.")
    count: int = Field(description="How many objects of this name were found.")


class Labels(_Schema):
    """What is to be seen, without places."""

    labels: list[Label] = Field(description="Each name once, the surest first.")


class Objects(_Schema):
    """What was found."""

    objects: list[Object] = Field(description="In the order in which the model names them.")


class Answer(_Schema):
    """What every answer tells beside what was asked."""

    truncated: bool = Field(description="An answer reached the longest length or time allowed and may be incomplete.")
    cached: bool = Field(
        default=False, description="Remembered from the same question about the same bytes; the times are of then."
    )
    image: Image
    model: Model
    version: str = Field(description="The version of florence-lambda.")
    milliseconds: Milliseconds


# Fields stand in the order of the bases from last to first: what was asked comes before what accompanies it.
class CaptionAnswer(Answer, Caption):
    """A caption."""


class ObjectsAnswer(Answer, Objects):
    """Objects."""


class AnalyzeAnswer(Answer, Objects, Caption):
    """A caption and objects, from one pass over the image."""


class ReadAnswer(Answer, Objects, Text):
    """A text, and its parts with their corners if they were asked for."""


class ClassifyAnswer(Answer, Labels):
    """Labels."""


class TaskAnswer(Answer, Objects, Text, Asked):
    """The answer to any task: text, objects, or both."""


class TaskInfo(_Schema):
    """One task that can be asked."""

    name: str
    token: str = Field(description="Microsoft's name for it.")
    prompt: str = Field(description="The sentence that the model is asked.")
    input: str = Field(description="What it needs beside the image: none, text or region.")
    answer: str = Field(description="What its answer holds.")
    formats: list[str] = Field(description="The forms that its answer can have.")


class Health(_Schema):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(_Schema):
    """The model is loaded."""

    model: Model
    max_image_bytes: int = Field(description="Of an image in a request; larger ones are refused unread.")


class Problem(_Schema):
    """A problem document (RFC 9457)."""

    type: str = Field(description="A link to what this kind of problem means.")
    title: str
    status: int
    detail: str | None = Field(default=None, description="What went wrong this time, in a sentence.")
    request_id: str | None = Field(default=None, description="The request's id, which the log has too.")


class BatchItem(_Schema):
    """What became of one image of a batch: an answer or a problem."""

    name: str | None = Field(default=None, description="Its file name, its `s3_uri` or the name it was sent with.")
    status: int = Field(description="What the image alone would have been answered with.")
    answer: AnalyzeAnswer | TaskAnswer | None = None
    problem: Problem | None = None


class BatchAnswer(_Schema):
    """The answers to a batch."""

    items: list[BatchItem] = Field(description="In the order of the images.")
