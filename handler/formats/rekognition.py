"""Answers as Amazon Rekognition gives them: the responses of its operations DetectLabels and DetectText.

Shapes and names are those of botocore's service model (`rekognition`, 2016-06-27). Confidences are in percent,
coordinates parts of the image's width and height. A label is written as Rekognition writes its own, each word with a
capital; there is one for each name, the surest first, with its instances. Florence-2 knows no taxonomy: parents,
aliases and categories are empty. Of a text there are lines, not words.
"""

from pydantic import BaseModel

from .. import schemas
from ..florence import tasks


class BoundingBox(BaseModel):
    """Parts of the image's width and height, 0 to 1."""

    Width: float
    Height: float
    Left: float
    Top: float


class Instance(BaseModel):
    """One object of a label."""

    BoundingBox: BoundingBox
    Confidence: float


class Named(BaseModel):
    """Of a parent, an alias or a category."""

    Name: str


class Label(BaseModel):
    """One name, and where it was seen."""

    Name: str
    Confidence: float
    Instances: list[Instance]
    Parents: list[Named] = []
    Aliases: list[Named] = []
    Categories: list[Named] = []


class DetectLabels(BaseModel):
    """The response of DetectLabels."""

    Labels: list[Label]
    LabelModelVersion: str


class Point(BaseModel):
    """A corner, in parts of the image's width and height."""

    X: float
    Y: float


class Geometry(BaseModel):
    """Where a text stands."""

    BoundingBox: BoundingBox
    Polygon: list[Point]


class TextDetection(BaseModel):
    """One line of text."""

    DetectedText: str
    Type: str = "LINE"
    Id: int
    Confidence: float
    Geometry: Geometry


class DetectText(BaseModel):
    """The response of DetectText."""

    TextDetections: list[TextDetection]
    TextModelVersion: str


Response = DetectLabels | DetectText


def response(answer: schemas.Answer) -> Response:
    """DetectText for what was read with its regions, DetectLabels for all other objects and for labels."""
    if isinstance(answer, schemas.Labels):
        names = [Label(Name=_name(each.label), Confidence=_percent(each.score), Instances=[]) for each in answer.labels]
        return DetectLabels(Labels=names, LabelModelVersion=answer.model.name)
    objects = [found for found in answer.objects if found.bounds] if isinstance(answer, schemas.Objects) else []
    reads = isinstance(answer, schemas.TaskAnswer) and tasks.find(answer.task).answer is tasks.Answer.QUADS
    if reads or isinstance(answer, schemas.ReadAnswer):
        lines = [_line(number, found, answer.image) for number, found in enumerate(objects)]
        return DetectText(TextDetections=lines, TextModelVersion=answer.model.name)
    instances: dict[str, list[schemas.Object]] = {}
    for found in sorted(objects, key=lambda found: -found.score):
        instances.setdefault(_name(found.label), []).append(found)
    labels = [_label(name, same, answer.image) for name, same in instances.items()]
    return DetectLabels(Labels=labels, LabelModelVersion=answer.model.name)


def _name(label: str) -> str:
    return " ".join(word[0].upper() + word[1:] for word in label.split())


def _label(name: str, objects: list[schemas.Object], image: schemas.Image) -> Label:
    instances = [Instance(BoundingBox=_box(found, image), Confidence=_percent(found.score)) for found in objects]
    return Label(Name=name, Confidence=instances[0].Confidence, Instances=instances)


def _line(number: int, found: schemas.Object, image: schemas.Image) -> TextDetection:
    quad = found.quad or ()
    corners = [
        Point(X=round(x / image.width, 6), Y=round(y / image.height, 6))
        for x, y in zip(quad[0::2], quad[1::2], strict=True)
    ]
    return TextDetection(
        DetectedText=found.label,
        Id=number,
        Confidence=_percent(found.score),
        Geometry=Geometry(BoundingBox=_box(found, image), Polygon=corners),
    )


def _box(found: schemas.Object, image: schemas.Image) -> BoundingBox:
    x1, y1, x2, y2 = found.bounds
    return BoundingBox(
        Width=round((x2 - x1) / image.width, 6),
        Height=round((y2 - y1) / image.height, 6),
        Left=round(x1 / image.width, 6),
        Top=round(y1 / image.height, 6),
    )


def _percent(score: float) -> float:
    return round(score * 100, 2)
