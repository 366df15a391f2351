"""COCO's twelve figures for boxes, and the average precision of each category, by pycocotools.

Results are in COCO's format: `image_id`, `category_id`, `bbox` (x, y, width, height in pixels) and `score`. Crowds are
treated as pycocotools does: what falls on one counts neither as right nor as wrong.
"""

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# In the order of `COCOeval.stats`.
NAMES = (
    *("map", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)

_LOOSEST = 0  # place of IoU .5 among the thresholds


@dataclass(frozen=True)
class Detection:
    """`figures` holds the twelve by `NAMES`, `per_category` AP over IoU .5 to .95 by the category's name: in 0..1, None
    where there is no truth to measure. `judged`: for each detection that counts its score, and whether it is right: the
    match of a thing of its category at an IoU of at least .5, each thing matched once."""

    figures: dict[str, float | None]
    per_category: dict[str, float | None]
    judged: tuple[tuple[float, bool], ...]


class Truth:
    """The boxes of an `instances_*.json`, and results measured against them.

    Annotations without a box are passed over; `area` and `iscrowd`, which other tools' files often lack, are filled in.
    """

    def __init__(self, instances: Path) -> None:
        document = json.loads(instances.read_text(encoding="utf-8"))
        boxed = [one for one in document["annotations"] if _is_box(one.get("bbox"))]
        for number, one in enumerate(boxed, 1):  # pycocotools takes id 0 for no match
            area = one.get("area", one["bbox"][2] * one["bbox"][3])
            one |= {"id": number, "area": area, "iscrowd": one.get("iscrowd", 0)}
        self._coco = _index(document | {"annotations": boxed, "info": document.get("info", {})})

    @property
    def images(self) -> frozenset[int]:
        """The ids of its pictures."""
        return frozenset(self._coco.imgs)

    def measure(self, results: Sequence[dict[str, Any]], images: Sequence[int]) -> Detection:
        """Measures over these image ids; every result is of one of them, and of a category of the truth."""
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._coco, self._load(results), "bbox")
            evaluation.params.imgIds = sorted(images)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        # [IoU thresholds, recalls, categories, areas, numbers of detections], -1 where there is no truth
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        names = [self._coco.cats[id_]["name"] for id_ in evaluation.params.catIds]
        return Detection(
            figures={name: _known(value) for name, value in zip(NAMES, evaluation.stats, strict=True)},
            per_category={
                name: _known(precision[:, :, k].mean()) for k, name in enumerate(names) if precision[0, 0, k] >= 0
            },
            judged=tuple(_judged(evaluation)),
        )

    def _load(self, results: Sequence[dict[str, Any]]) -> COCO:
        if results:
            return self._coco.loadRes([dict(one) for one in results])  # which writes into what it is given
        return _index(self._coco.dataset | {"annotations": []})  # `loadRes` cannot read an empty list


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(isinstance(one, int | float) for one in value)


def _index(document: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = document
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _known(value: float) -> float | None:
    return float(value) if value >= 0 else None


def _judged(evaluation: COCOeval) -> list[tuple[float, bool]]:
    everything = evaluation.params.areaRng[0]
    pairs: list[tuple[float, bool]] = []
    for one in evaluation.evalImgs:
        if one is not None and one["aRng"] == everything:
            counted = ~np.asarray(one["dtIgnore"][_LOOSEST], bool)
            right = np.asarray(one["dtMatches"][_LOOSEST]) > 0
            scores = np.asarray(one["dtScores"], float)
            pairs += zip(scores[counted].tolist(), right[counted].tolist(), strict=True)
    return pairs
