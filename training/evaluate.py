"""How good a served artifact is on pictures of the drawn world that it was not trained on.

    python -m training.evaluate --artifact models/mini --count 500 --seed 7 --json figures.json

Runs the artifact as it is served, the caption and the boxes of a picture asked together. Reports the share of captions
that are exactly right and COCO's average precision (pycocotools), with the detections' scores and with every score 1:
the difference is what the scores are worth. Does not train; `pretrain.py` trains on seed 1.
"""

import argparse
import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from handler.florence import tasks
from handler.florence.predictor import Ask, Predictor

from . import shapes

_ASKS = (Ask(tasks.find("<CAPTION>")), Ask(tasks.find("<OD>")))


@dataclass(frozen=True)
class Figures:
    """What was measured. Shares and precisions are in 0..1."""

    model: str
    precision: str  # int8 or fp32
    seed: int
    pictures: int
    captions_exact: float
    map: float  # mean over IoU .5 to .95
    ap50: float
    map_constant_scores: float
    ap50_constant_scores: float


def evaluate(directory: Path, count: int, seed: int) -> Figures:
    """Measures the artifact in `directory` on pictures 0..count-1 of `seed`. Raises `ArtifactError`."""
    predictor = Predictor(directory)
    exact = 0
    scenes: list[shapes.Scene] = []
    found: list[dict[str, Any]] = []
    for index in tqdm(range(count), desc="evaluating", unit="picture", disable=None):
        scene = shapes.draw(seed, index)
        scenes.append(scene)
        encoded = io.BytesIO()
        scene.image.save(encoded, "PNG")
        caption, detection = predictor.predict(encoded.getvalue(), _ASKS).predictions
        exact += caption.text == scene.caption
        for thing in detection.objects:
            if thing.box is not None and thing.label in shapes.CATEGORIES:
                found.append(_detection(index, thing.label, thing.box, thing.score))
    with_scores = average_precision(scenes, found)
    constant = average_precision(scenes, [one | {"score": 1.0} for one in found])
    manifest = predictor.manifest
    return Figures(manifest.name, manifest.precision, seed, count, exact / count, *with_scores, *constant)


def average_precision(scenes: Sequence[shapes.Scene], found: list[dict[str, Any]]) -> tuple[float, float]:
    """COCO's bounding-box AP over IoU .5 to .95, and at .5.

    `found` holds detections in COCO's results format; `image_id` is the scene's place in `scenes`.
    """
    if not found:  # pycocotools cannot load an empty list
        return 0.0, 0.0
    truth = [
        _detection(index, thing.shape, thing.box, 1.0) for index, scene in enumerate(scenes) for thing in scene.things
    ]
    for number, one in enumerate(truth, 1):  # pycocotools takes id 0 for no match
        one |= {"id": number, "iscrowd": 0, "area": one["bbox"][2] * one["bbox"][3]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": i, "width": s.image.width, "height": s.image.height} for i, s in enumerate(scenes)],
            "annotations": truth,
            "categories": [{"id": i, "name": name} for i, name in enumerate(shapes.CATEGORIES, 1)],
        }
        coco.createIndex()
        measured = COCOeval(coco, coco.loadRes([dict(one) for one in found]), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return float(measured.stats[0]), float(measured.stats[1])


def _detection(image: int, label: str, box: tuple[float, ...], score: float) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    category = shapes.CATEGORIES.index(label) + 1
    return {"image_id": image, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a served artifact.")
    parser.add_argument("--artifact", type=Path, required=True, help="folder of the artifact")
    parser.add_argument("--count", type=int, default=500, help="pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args(argv)
    figures = evaluate(options.artifact, options.count, options.seed)
    print(f"{figures.pictures} pictures of seed {figures.seed}, {figures.model} in {figures.precision}")
    print(f"captions exactly right  {figures.captions_exact:.1%}")
    print(f"mAP@[.5:.95]            {figures.map:.4f}   with constant scores {figures.map_constant_scores:.4f}")
    print(f"AP50                    {figures.ap50:.4f}   with constant scores {figures.ap50_constant_scores:.4f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(asdict(figures), indent=2) + "\n")


if __name__ == "__main__":
    main()
