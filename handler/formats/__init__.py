"""Answers in the forms that other tools read: `hf`, `coco` and `rekognition` beside our own.

One module a form, each a function of the native answer (`schemas`) and nothing else: no form asks the model anything.
`native` is what `schemas` gives. A text has no place among Rekognition's labels, and a caption with boxes (`analyze`)
none in any of the three: `check` tells before the model is asked.

| what an answer holds | hf | coco | rekognition |
|---|---|---|---|
| a text | image-to-text | caption results | - |
| boxes | object-detection | detection results | DetectLabels |
| polygons | image-segmentation | detection results with segmentation | DetectLabels |
| names (`classify`) | image-classification | - | DetectLabels, without instances |
| quads with texts | image-to-text, a line each | detection results with segmentation | DetectText |
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from ..florence.errors import TaskInputError
from ..florence.tasks import Answer as Kind
from ..florence.tasks import Task

if TYPE_CHECKING:
    from .. import schemas
    from . import coco, hf, rekognition

    Rendered = schemas.Answer | list[hf.Element] | list[coco.Result] | rekognition.Response


class Format(StrEnum):
    """A form of answers."""

    NATIVE = "native"
    HF = "hf"  # as Hugging Face's inference endpoints answer
    COCO = "coco"  # results that pycocotools loads
    REKOGNITION = "rekognition"  # as Amazon Rekognition answers


def has(task: Task, format_: Format) -> bool:
    """Whether answers of this task have a place in this form."""
    return format_ is not Format.REKOGNITION or task.answer is not Kind.TEXT


def check(task: Task, format_: Format) -> None:
    """Raises `TaskInputError` where answers of this task have no place in this form."""
    if not has(task, format_):
        raise TaskInputError(f"The task {task.name} answers with a text, which has no place in {format_}'s form.")


def render(answer: "schemas.Answer", format_: Format, image_id: int = 0) -> "Rendered":
    """The answer in this form; `image_id` is for COCO, whose results tell their image by number."""
    from . import coco, hf, rekognition  # pydantic, which --help does without

    match format_:
        case Format.NATIVE:
            return answer
        case Format.HF:
            return hf.elements(answer)
        case Format.COCO:
            return coco.results(answer, image_id)
        case Format.REKOGNITION:
            return rekognition.response(answer)
