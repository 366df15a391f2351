"""COCO's figures for boxes: the published ones, and worlds whose right answer is known."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training import shapes
from training.metrics.detection import NAMES, Detection, Truth


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Truth, list[dict[str, Any]]]:
    """Twenty drawn pictures, and their truth as results of score 1."""
    folder = tmp_path_factory.mktemp("world")
    shapes.write_coco(folder, 20, 7)
    things = json.loads((folder / "instances.json").read_text())["annotations"]
    kept = ("image_id", "category_id", "bbox")
    return Truth(folder / "instances.json"), [{key: one[key] for key in kept} | {"score": 1.0} for one in things]


def measure(truth: Truth, results: list[dict[str, Any]]) -> Detection:
    return truth.measure(results, range(20))


def wrong(score: float) -> list[dict[str, Any]]:
    """A false box in every picture's corner, once for every category."""
    return [
        {"image_id": i, "category_id": k, "bbox": [0, 0, 3, 3], "score": score} for i in range(20) for k in range(1, 6)
    ]


def test_the_figures_that_coco_published(refdata: Path) -> None:
    """pycocotools' own example: the fake results on 100 pictures, all twelve figures of `val2014_fake_eval_res.txt`."""
    folder = refdata / "metrics" / "bbox"
    section = (folder / "val2014_fake_eval_res.txt").read_text().split("type=bbox")[1].split("type=")[0]
    published = [float(value) for value in re.findall(r"= (\d\.\d{3})$", section, re.MULTILINE)]
    truth = folder / "instances_val2014_100.json"
    images = [one["id"] for one in json.loads(truth.read_text())["images"]]
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    found = Truth(truth).measure([one for one in results if one["image_id"] in images], images)
    assert len(published) == len(NAMES) == 12
    assert published[0] == 0.505
    assert [found.figures[name] for name in NAMES] == pytest.approx(published, abs=5e-4)
    assert np.mean(list(found.per_category.values())) == pytest.approx(found.figures["map"])
    assert {"person", "dog", "pizza"} <= found.per_category.keys()


def test_the_truth_itself_is_perfect(
    world: tuple[Truth, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    truth, right = world
    found = measure(truth, right)
    # All things are of medium size.
    assert {name for name, value in found.figures.items() if value is None} == {
        f"{kind}_{size}" for kind in ("ap", "ar") for size in ("small", "large")
    }
    assert (found.figures["map"], found.figures["ar100"]) == pytest.approx((1, 1))
    assert found.per_category == pytest.approx(dict.fromkeys(shapes.SHAPES, 1))  # and no hearts, which are not drawn
    assert found.judged == ((1.0, True),) * len(right)
    assert capsys.readouterr().out == ""


def test_nothing_found_is_nothing_right(world: tuple[Truth, list[dict[str, Any]]]) -> None:
    found = measure(world[0], [])
    assert (found.figures["map"], found.figures["ar100"], found.judged) == (0, 0, ())


def test_boxes_that_overlap_by_062_count_at_three_of_the_ten_thresholds(
    world: tuple[Truth, list[dict[str, Any]]],
) -> None:
    truth, right = world
    parts = [one | {"bbox": [*one["bbox"][:2], one["bbox"][2] * 0.62, one["bbox"][3]]} for one in right]
    found = measure(truth, parts).figures
    assert (found["map"], found["ap50"], found["ap75"]) == pytest.approx((0.3, 1, 0))


def test_scores_that_tell_right_from_wrong_raise_the_precision(world: tuple[Truth, list[dict[str, Any]]]) -> None:
    truth, right = world
    good = measure(truth, wrong(0.1) + [one | {"score": 0.9} for one in right])
    bad = measure(truth, wrong(0.9) + [one | {"score": 0.1} for one in right])
    assert good.figures["map"] == pytest.approx(1)
    assert (bad.figures["map"] or 0) < 0.5
    assert sorted(good.judged) == [(0.1, False)] * 100 + [(0.9, True)] * len(right)


def test_only_the_named_pictures_count(world: tuple[Truth, list[dict[str, Any]]]) -> None:
    truth, right = world
    half = [one for one in right if one["image_id"] < 10]
    assert truth.measure(half, range(10)).figures["map"] == pytest.approx(1)
    assert (truth.measure(half, range(20)).figures["map"] or 0) < 0.9


def test_what_falls_on_a_crowd_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    crowd = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 1}
    one = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [60, 60, 20, 20], "area": 400, "iscrowd": 0}
    document = {
        "images": [{"id": 1, "width": 100, "height": 100}],
        "annotations": [crowd, one],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    results = [
        {"image_id": 1, "category_id": 1, "bbox": box, "score": score}
        for box, score in (([5, 5, 10, 10], 0.9), ([60, 60, 20, 20], 0.8), ([60, 60, 20, 20], 0.7))
    ]
    found = Truth(tmp_path / "instances.json").measure(results, [1])
    assert found.judged == ((0.8, True), (0.7, False))
    assert found.figures["map"] == pytest.approx(1)


def test_files_of_other_tools_are_read(tmp_path: Path) -> None:
    """Ids from 0, no area, no crowds, annotations without a box, no info."""
    document = {
        "images": [{"id": 0, "width": 100, "height": 100}],
        "annotations": [{"id": 0, "image_id": 0, "category_id": 0, "bbox": [60, 60, 20, 20]}],
        "categories": [{"id": 0, "name": "person"}],
    }
    for bbox in (None, 5, [], [1, 2, None, 4]):
        document["annotations"].append({"image_id": 0, "category_id": 0, "bbox": bbox})
    document["annotations"].append({"image_id": 0, "category_id": 0})
    (tmp_path / "instances.json").write_text(json.dumps(document))
    result = {"image_id": 0, "category_id": 0, "bbox": [60, 60, 20, 20], "score": 0.8}
    found = Truth(tmp_path / "instances.json").measure([result], [0])
    assert found.figures["map"] == pytest.approx(1)
    assert found.judged == ((0.8, True),)
