"""What training comes to: the figures that `make proof` writes.

The miniature learns a shape that it has never named, and captions in COCO's manner of speaking.
"""

import json
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


def test_the_proof_holds() -> None:
    """On 300 held-out pictures, after some ten minutes of training; `make proof` writes these files again."""
    base, adapted, int8 = (json.loads((PROVEN / f"{step}.json").read_text()) for step in STEPS)
    assert base["data"] == adapted["data"] == int8["data"]
    assert [one["precision"] for one in (base, adapted, int8)] == ["fp32", "fp32", "int8"]
    assert int8["captions"]["cider"] >= 2 * base["captions"]["cider"]
    assert new(base) < 0.01
    assert new(int8) >= 0.4
    assert mean_known(int8) >= mean_known(base) - 0.03
    for group in ("captions", "detection"):
        for name, value in adapted[group].items():
            if isinstance(value, float) and value == adapted[group][name]:
                assert int8[group][name] == pytest.approx(value, abs=0.01), name
    assert adapted["detection"]["per_category"] == pytest.approx(int8["detection"]["per_category"], abs=0.01)
