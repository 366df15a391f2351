"""Answers as Hugging Face's inference endpoints give them: what `huggingface_hub.InferenceClient` reads.

The shapes are those of Hugging Face's task specifications (`image-to-text`, `object-detection`, `image-segmentation`,
`image-classification`;
the output types of `huggingface_hub.inference`): lists, boxes in whole pixels, a mask as a PNG in base64. An answer
that is a text is one `generated_text`, whatever was asked for it.
"""

import base64
import io

from PIL import Image, ImageDraw
from pydantic import BaseModel, Field

from .. import schemas


class GeneratedText(BaseModel):
    """One element of image-to-text."""

    generated_text: str


class Box(BaseModel):
    """Whole pixels of the image as it is seen."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class Detection(BaseModel):
    """One element of object-detection."""

    label: str
    score: float
    box: Box


class Segment(BaseModel):
    """One element of image-segmentation."""

    label: str
    score: float
    mask: str = Field(description="A PNG in base64, of the image's size: 255 inside, 0 outside.")


class Label(BaseModel):
    """One element of image-classification."""

    label: str
    score: float


Element = Label | GeneratedText | Detection | Segment


def elements(answer: schemas.Answer) -> list[Element]:
    """The answer's text, or an element for each of its labels or objects."""
    if isinstance(answer, schemas.Labels):
        return [Label(label=each.label, score=each.score) for each in answer.labels]
    if isinstance(answer, schemas.Caption):
        return [GeneratedText(generated_text=answer.caption)]
    objects = answer.objects if isinstance(answer, schemas.Objects) else []
    if isinstance(answer, schemas.Text) and (answer.text or any(found.quad for found in objects)):
        return [GeneratedText(generated_text=answer.text or "\n".join(found.label for found in objects))]
    return [_segment(found, answer.image) if found.polygons else _detection(found) for found in objects if found.bounds]


def _detection(found: schemas.Object) -> Detection:
    xmin, ymin, xmax, ymax = map(round, found.bounds)
    return Detection(label=found.label, score=found.score, box=Box(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax))


def _segment(found: schemas.Object, image: schemas.Image) -> Segment:
    mask = Image.new("L", (image.width, image.height))
    pen = ImageDraw.Draw(mask)
    for polygon in found.polygons or ():
        if len(polygon) >= 6:  # fewer than three points enclose nothing
            pen.polygon(polygon, fill=255)
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return Segment(label=found.label, score=found.score, mask=base64.b64encode(buffer.getvalue()).decode("ascii"))
