"""What the API answers, and the command line with `--json`: one shape for both.

Turns the core's `Result` into these models and rounds its numbers; does not parse, cut or colour answers otherwise.
Coordinates are pixels of the image as it is seen, that is, after its EXIF orientation. Scores are probabilities.
"""

from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # the predictor brings ONNX Runtime, which the schemas do not need
    from .florence import predictor
    from .florence.artifact import Manifest


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Model(_Schema):
    """Which model answered."""

    name: str = Field(description="The artifact's name.")
    precision: str = Field(description="How its weights are stored: int8 or fp32.")
    notice: str | None = Field(default=None, description="What to know before trusting it, if anything.")


class Image(_Schema):
    """The image as the model saw it."""

    width: int = Field(description="In pixels, orientation applied; so is the height.")
    height: int
    format: str = Field(description="What the bytes were: JPEG, PNG, GIF or WebP.")


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
    """The text that a task answered; empty where objects are the answer."""

    task: str = Field(description="The task's name.")
    text: str = Field(description="What the model wrote, without location tokens.")
    score: float = Field(ge=0, le=1, description="The score of the answer as a whole.")


class Objects(_Schema):
    """What was found."""

    objects: list[Object] = Field(description="In the order in which the model names them.")


class Answer(_Schema):
    """What every answer tells beside what was asked."""

    truncated: bool = Field(description="An answer reached the longest length or time allowed and may be incomplete.")
    image: Image
    model: Model
    milliseconds: Milliseconds


# Fields stand in the order of the bases from last to first: what was asked comes before what accompanies it.
class CaptionAnswer(Answer, Caption):
    """A caption."""


class DetectAnswer(Answer, Objects):
    """Objects."""


class AnalyzeAnswer(Answer, Objects, Caption):
    """A caption and objects, from one pass over the image."""


class TaskAnswer(Answer, Objects, Text):
    """The answer to any task: text, objects, or both."""


class TaskInfo(_Schema):
    """One task that can be asked."""

    name: str
    token: str = Field(description="Microsoft's name for it.")
    prompt: str = Field(description="The sentence that the model is asked.")
    input: str = Field(description="What it needs beside the image: none, text or region.")
    answer: str = Field(description="What its answer holds.")


class Health(_Schema):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Ready(_Schema):
    """The model is loaded."""

    model: Model
    max_image_bytes: int = Field(description="Larger requests are refused unread.")


class Problem(_Schema):
    """A problem document (RFC 9457)."""

    type: str = Field(description="A link to what this kind of problem means.")
    title: str
    status: int
    detail: str | None = Field(default=None, description="What went wrong this time, in a sentence.")


def model(manifest: "Manifest") -> Model:
    """Which model this manifest describes."""
    return Model(name=manifest.name, precision=manifest.precision, notice=manifest.notice or None)


def caption(manifest: "Manifest", result: "predictor.Result") -> CaptionAnswer:
    """The answer to one caption."""
    (text,) = result.predictions
    return CaptionAnswer(caption=text.text, score=round(text.score, 4), **_about(manifest, result))


def detect(manifest: "Manifest", result: "predictor.Result", min_score: float) -> DetectAnswer:
    """The answer to one detection, without the objects below `min_score`."""
    (found,) = result.predictions
    return DetectAnswer(objects=_objects(found, min_score), **_about(manifest, result))


def analyze(manifest: "Manifest", result: "predictor.Result", min_score: float) -> AnalyzeAnswer:
    """The answer to a caption and a detection, in this order."""
    text, found = result.predictions
    return AnalyzeAnswer(
        caption=text.text,
        score=round(text.score, 4),
        objects=_objects(found, min_score),
        **_about(manifest, result),
    )


def task(manifest: "Manifest", result: "predictor.Result", min_score: float) -> TaskAnswer:
    """The answer to one task of any kind."""
    (answer,) = result.predictions
    return TaskAnswer(
        task=answer.task.name,
        text=answer.text,
        score=round(answer.score, 4),
        objects=_objects(answer, min_score),
        **_about(manifest, result),
    )


def _about(manifest: "Manifest", result: "predictor.Result") -> dict[str, Any]:
    width, height = result.size
    stages = {stage: round(spent, 1) for stage, spent in result.milliseconds.items()}
    return {
        "truncated": any(prediction.truncated for prediction in result.predictions),
        "image": Image(width=width, height=height, format=result.format),
        "model": model(manifest),
        "milliseconds": Milliseconds(**stages, total=round(sum(stages.values()), 1)),
    }


def _objects(prediction: "predictor.Prediction", min_score: float) -> list[Object]:
    return [
        Object(
            label=found.label,
            score=round(found.score, 4),
            box=_rounded(found.box),
            quad=_rounded(found.quad),
            polygons=tuple(_rounded(polygon) for polygon in found.polygons or ()) or None,
        )
        for found in prediction.objects
        if found.score >= min_score
    ]


def _rounded(coordinates: tuple[float, ...] | None) -> Any:
    """To a thousandth of a pixel: far below a location bin's width, and free of 0.30000000000000004."""
    return tuple(round(value, 3) for value in coordinates) if coordinates else None
