"""Measuring an artifact: precision of detections whose right answer is known, and the miniature itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handler.florence.predictor import _object_score, _within
from training import evaluate, shapes

MINI = Path(__file__).resolve().parents[1] / "models" / "mini"
SCENES = [shapes.draw(7, index) for index in range(20)]


def truth(score: float = 1.0) -> list[dict[str, Any]]:
    return [evaluate._detection(i, t.shape, t.box, score) for i, scene in enumerate(SCENES) for t in scene.things]


def wrong(score: float) -> list[dict[str, Any]]:
    """A false box in every picture's corner, once for every category."""
    return [evaluate._detection(i, shape, (0, 0, 3, 3), score) for i in range(len(SCENES)) for shape in shapes.SHAPES]


def test_the_truth_itself_is_perfect(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.average_precision(SCENES, truth()) == pytest.approx((1, 1))
    assert capsys.readouterr().out == ""


def test_nothing_found_is_nothing_right() -> None:
    assert evaluate.average_precision(SCENES, []) == (0, 0)


def test_boxes_that_overlap_by_062_count_at_three_of_the_ten_thresholds() -> None:
    parts = [one | {"bbox": [*one["bbox"][:2], one["bbox"][2] * 0.62, one["bbox"][3]]} for one in truth()]
    assert evaluate.average_precision(SCENES, parts) == pytest.approx((0.3, 1))


def test_scores_that_tell_right_from_wrong_raise_the_precision() -> None:
    good, _ = evaluate.average_precision(SCENES, wrong(0.1) + truth(0.9))
    bad, _ = evaluate.average_precision(SCENES, wrong(0.9) + truth(0.1))
    assert good == pytest.approx(1)
    assert bad < 0.5


def test_an_objects_score_is_the_probability_of_its_label() -> None:
    assert _object_score(np.log([0.5, 0.8]), np.log([0.05] * 4)) == pytest.approx(0.4)
    assert _object_score(np.array([]), np.log([0.05] * 4)) == pytest.approx(0.05)


def test_the_end_of_the_answer_is_no_part_of_its_last_object() -> None:
    ends = np.cumsum([0, 4, 7, 7, 0])  # <s>, a label, two locations, </s>
    logs = np.array([-1.0, -2.0, -3.0, -4.0, -5.0])
    assert _within(logs, ends, (0, 4)).tolist() == [-2.0]
    assert _within(logs, ends, (4, 18)).tolist() == [-3.0, -4.0]


def test_the_miniature_keeps_its_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures" / "mini.json"
    evaluate.main(["--artifact", str(MINI), "--count", "40", "--seed", "9", "--json", str(out)])
    figures = json.loads(out.read_text())
    assert figures["pictures"] == 40
    assert figures["captions_exact"] >= 0.85
    assert figures["map"] >= 0.6
    assert 0 < figures["map_constant_scores"] <= figures["ap50_constant_scores"] <= 1
    assert figures["precision"] == "int8"
    assert "40 pictures of seed 9" in capsys.readouterr().out
