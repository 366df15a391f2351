"""The fused fp32 graphs against the packed artifact, on golden images: what quantisation changed.

Both run through the served code. The fp32 graphs themselves are held to transformers' model by the tests.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from handler.florence import locations, tasks
from handler.florence.predictor import Ask, Object, Prediction, Predictor

# What an int8 artifact has to reach.
THRESHOLDS = {
    "tokens_equal": 0.90,  # share of the reference's words and locations
    "captions_equal": 0.85,  # share of images
    "boxes_equal": 0.90,  # share of the reference's boxes that have one of the same label at an IoU of at least 0.9
}
_SAME_BOX = 0.9
# Tokens of an answer, some 25 objects: a checkpoint that never ends an answer would write 512, and make a build of the
# full size take 219 s instead of 87.
_LONGEST = 128
_SAME_PLACE = 5  # bins, half a hundredth of the image: boxes are held to their overlap, not to the last bin
_WORD = re.compile(r"<loc_\d+>|[^\s<]+|<")


Answers = list[tuple[Prediction, ...]]


def answers(predictor: Predictor, images: Sequence[Path], doing: str | None = None) -> Answers:
    """To the gate's two questions, caption and boxes, about each image. `doing`: what a terminal is told meanwhile."""
    asks = [Ask(replace(tasks.find(name), max_new_tokens=_LONGEST)) for name in ("<CAPTION>", "<OD>")]
    bar = tqdm(images, desc=doing, unit="image", disable=None if doing else True)
    return [predictor.predict(image.read_bytes(), asks).predictions for image in bar]


def compare(expected: Answers, found: Answers) -> dict[str, float]:
    """The figures named in `THRESHOLDS`, and the mean absolute difference of the captions' scores."""
    tokens, captions, boxes, scores = [], [], [], []
    for wanted, given in zip(expected, found, strict=True):
        tokens += [_agreement(*pair) for pair in zip(wanted, given, strict=True)]
        captions.append(wanted[0].text == given[0].text)
        scores.append(abs(wanted[0].score - given[0].score))
        boxes += list(_matches(wanted[1].objects, given[1].objects))
    return {
        "images": len(expected),
        "tokens_equal": _mean(tokens),
        "captions_equal": _mean(captions),
        "boxes_equal": _mean(boxes),
        "score_difference": _mean(scores),
    }


def shortfalls(figures: dict[str, float]) -> list[str]:
    """Every figure that is below its threshold, with both."""
    return [f"{name} {figures[name]:.3f} < {bar}" for name, bar in THRESHOLDS.items() if figures[name] < bar]


def _agreement(expected: Prediction, found: Prediction) -> float:
    """The share of the reference's words and locations that the other answer has at the same place."""
    pairs = zip(_WORD.findall(expected.raw), _WORD.findall(found.raw), strict=False)
    return sum(_same(*pair) for pair in pairs) / max(1, len(_WORD.findall(expected.raw)))


def _same(one: str, other: str) -> bool:
    bins = [locations.from_text(word) for word in (one, other)]
    return abs(bins[0][0] - bins[1][0]) <= _SAME_PLACE if all(bins) else one == other


def _matches(expected: Sequence[Object], found: Sequence[Object]) -> Iterator[bool]:
    for one in expected:
        yield any(one.label == other.label and _iou(one, other) >= _SAME_BOX for other in found)


def _iou(one: Object, other: Object) -> float:
    if one.box is None or other.box is None:
        return 0.0
    left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    shared = max(0.0, right - left) * max(0.0, bottom - top)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one.box, other.box)]
    return shared / (sum(areas) - shared) if shared else 0.0


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6) if values else 1.0
