"""Answers as COCO results: lists that pycocotools' `COCO.loadRes` takes, of many images one after the other.

A result is told its image by number. Its category is COCO's own number (1 to 90 with gaps, as the annotations of 2014
and 2017 have them) where the label is one of COCO's 80 names, letter case aside; any other label has category 0, which
no dataset of COCO's uses and which an evaluation therefore leaves out, and its `category_name` tells it. Who has
categories of their own maps `category_name` to them, or hands them in.

`loadRes` fails on an empty list: for a folder of images without one object it is pycocotools, not the file.
"""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from .. import schemas

OTHER = 0
# id: name; `categories` of instances_val2017.json.
_NAMES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat",
    18: "dog", 19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe",
    27: "backpack", 28: "umbrella", 31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis",
    36: "snowboard", 37: "sports ball", 38: "kite", 39: "baseball bat", 40: "baseball glove", 41: "skateboard",
    42: "surfboard", 43: "tennis racket", 44: "bottle", 46: "wine glass", 47: "cup", 48: "fork", 49: "knife",
    50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich", 55: "orange", 56: "broccoli", 57: "carrot",
    58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch", 64: "potted plant", 65: "bed",
    67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote", 76: "keyboard",
    77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}  # fmt: skip
CATEGORIES: Mapping[str, int] = {name: number for number, name in _NAMES.items()}


class Caption(BaseModel):
    """One caption result."""

    image_id: int
    caption: str


class Detection(BaseModel):
    """One detection result."""

    image_id: int
    category_id: int = Field(description="COCO's number of the label; 0 if it is none of COCO's 80.")
    category_name: str = Field(description="The label.")
    bbox: tuple[float, float, float, float] = Field(description="x, y, width, height in pixels.")
    score: float
    segmentation: list[list[float]] | None = Field(default=None, description="Polygons: x, y alternating.")


Result = Caption | Detection


def results(answer: schemas.Answer, image_id: int, categories: Mapping[str, int] = CATEGORIES) -> list[Result]:
    """The answer's text as a caption, or a detection for each of its objects.

    `categories`: numbers of names in lower case.
    """
    if isinstance(answer, schemas.Caption):
        return [Caption(image_id=image_id, caption=answer.caption)]
    objects = answer.objects if isinstance(answer, schemas.Objects) else []
    if isinstance(answer, schemas.Text) and answer.text and not objects:
        return [Caption(image_id=image_id, caption=answer.text)]
    return [_detection(found, image_id, categories) for found in objects if found.bounds]


def _detection(found: schemas.Object, image_id: int, categories: Mapping[str, int]) -> Detection:
    x1, y1, x2, y2 = found.bounds
    shapes = found.polygons or ((found.quad,) if found.quad else ())
    return Detection(
        image_id=image_id,
        category_id=categories.get(found.label.strip().lower(), OTHER),
        category_name=found.label,
        bbox=(x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)),
        score=found.score,
        # Fewer than three points enclose nothing, and pycocotools takes four numbers for a box.
        segmentation=[list(shape) for shape in shapes if len(shape) >= 6] or None,
    )
