"""What training comes to: the figures that `make proof` writes.

The miniature learns a shape that it has never named, and captions in COCO's manner of speaking.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from training import shapes

PROVEN = ROOT / "docs" / "proof"
STEPS = ("base", "adapted", "int8")

Figures = dict[str, Any]


def mean_known(figures: Figures) -> float:
    """The AP of the categories that the base knows, averaged."""
    found = [ap for name, ap in figures["detection"]["per_category"].items() if name != shapes.NEW_SHAPE]
    return sum(found) / len(found)


def new(figures: Figures) -> float:
    """The AP of the category that the base has never named."""
    ap: float = figures["detection"]["per_category"][shapes.NEW_SHAPE]
    return ap


def unsure(figures: Figures) -> float:
    """The share of the boxes with a score below 0.1, which any minimum score would cut off."""
    bins = figures["calibration"]["detections"]["bins"]
    unsure = sum(one["count"] for one in bins if one["score"] < 0.1)
    return float(unsure / sum(one["count"] for one in bins))


def test_the_proof_holds() -> None:
    """On 1,000 held-out pictures, after 750 steps of training; `make proof` writes these files again."""
    base, adapted, int8 = (json.loads((PROVEN / f"{step}.json").read_text()) for step in STEPS)
    assert base["data"] == adapted["data"] == int8["data"]
    assert [one["precision"] for one in (base, adapted, int8)] == ["fp32", "fp32", "int8"]
    assert int8["captions"]["cider"] >= 2 * base["captions"]["cider"]
    assert new(base) < 0.01
    assert new(int8) >= 0.4
    for name, ap in base["detection"]["per_category"].items():
        assert int8["detection"]["per_category"][name] >= ap - 0.03, name
    assert unsure(int8) <= 0.02
    assert int8["captions"]["exact"] == pytest.approx(adapted["captions"]["exact"], abs=0.01)
    assert int8["captions"]["cider"] == pytest.approx(adapted["captions"]["cider"], abs=0.01)
    for name in ("map", "ap50", "ap75", "map_constant_scores"):
        assert int8["detection"][name] == pytest.approx(adapted["detection"][name], abs=0.01), name
    assert adapted["detection"]["per_category"] == pytest.approx(int8["detection"]["per_category"], abs=0.01)


@pytest.mark.slow
@pytest.mark.timeout(2400)  # others may have a share of the cores
def test_make_train_goes_from_nothing_to_a_report(tmp_path: Path) -> None:
    """The proof on a smaller scale, in a copy of the project without anything drawn, trained or built: 6,000 pictures
    instead of 12,000, 375 steps instead of 750, and 60 held-out pictures instead of 1,000."""
    project = tmp_path / "project"
    left = shutil.ignore_patterns(".*", "__pycache__", "artifacts", "docs", "output", "runs", "tests")
    shutil.copytree(ROOT, project, ignore=left)
    (project / ".venv").symlink_to(sys.prefix)
    command = ["make", "--old-file=.venv/dev.stamp", "train", "LEARNT=6000", "HELD_OUT=60"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # of `make test`
    environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    out = project / "runs" / "train"
    base, adapted, int8 = (json.loads((out / step / "figures.json").read_text()) for step in STEPS)
    assert [one["pictures"] for one in (base, adapted, int8)] == [60] * 3
    assert [one["precision"] for one in (base, adapted, int8)] == ["fp32", "fp32", "int8"]
    assert int8["captions"]["cider"] >= 2 * base["captions"]["cider"]
    assert new(base) < 0.01
    assert new(int8) >= 0.4
    assert mean_known(int8) >= mean_known(base) - 0.05
    assert unsure(int8) <= 0.05
    assert int8["captions"]["cider"] == pytest.approx(adapted["captions"]["cider"], abs=0.15)  # two captions of sixty
    assert int8["detection"]["map"] == pytest.approx(adapted["detection"]["map"], abs=0.03)

    with (out / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["step"]) == 375
    gate = json.loads((out / "artifact" / "manifest.json").read_text())["verification"]
    assert gate["captions_equal"] >= 0.85
    for name in ("report.html", "report.png"):
        assert (out / "report" / name).stat().st_size > 10_000
    assert str(out.relative_to(project) / "report") in done.stdout.splitlines()[-1]
