"""The miniature keeps its promises: on 500 pictures that it never saw, in int8 and in fp32."""

import json
import re
from pathlib import Path
from typing import Any

import artifacts
import pytest
from conftest import ROOT

from build import checkpoint
from training import evaluate, shapes

MODELS = ROOT / "models"
PICTURES, SEED = 500, 7  # `make figures`; the training's seed is 1
Figures = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    """Measured here, by precision."""
    folder = tmp_path_factory.mktemp("miniature")
    shapes.write_coco(folder / "world", PICTURES, SEED)
    (folder / "fp32").mkdir()
    artifacts.write(checkpoint.load(MODELS / "mini-checkpoint"), 128, folder / "fp32")
    measured = {}
    for precision, model in (("int8", MODELS / "mini"), ("fp32", folder / "fp32")):
        out = folder / f"{precision}-figures"
        command = ["--artifact", str(model), "--data", str(folder / "world"), "--out", str(out)]
        assert evaluate.main(command) == 0
        measured[precision] = json.loads((out / "figures.json").read_text())
    return measured


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_held_out_pictures(figures: Figures, precision: str) -> None:
    measured = figures[precision]
    assert (measured["pictures"], measured["precision"]) == (PICTURES, precision)
    assert measured["captions"]["exact"] >= 0.85
    assert measured["detection"]["map"] >= 0.60
    # What the scores are worth: ranked by them, detections score higher than unranked.
    assert measured["detection"]["map"] > measured["detection"]["map_constant_scores"] + 0.01


@pytest.mark.slow
def test_int8_is_within_a_hundredth_of_fp32(figures: Figures) -> None:
    for kind, name in (("captions", "exact"), ("detection", "map")):
        assert figures["int8"][kind][name] == pytest.approx(figures["fp32"][kind][name], abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_committed_figures_are_what_is_measured(figures: Figures, precision: str) -> None:
    committed = json.loads((MODELS / "mini-figures" / f"{precision}.json").read_text())
    for kind, name in (("captions", "exact"), ("captions", "cider"), ("detection", "map")):
        assert committed[kind][name] == pytest.approx(figures[precision][kind][name], abs=0.004, rel=0.001)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_the_readme_states_the_committed_figures(precision: str) -> None:
    committed = json.loads((MODELS / "mini-figures" / f"{precision}.json").read_text())
    exact, detection = committed["captions"]["exact"], committed["detection"]
    row = f"| {precision} | {exact:.1%} | {detection['map']:.3f} | {detection['map_constant_scores']:.3f} |"
    assert row.replace("%", " %") in (ROOT / "README.md").read_text()


def test_the_guide_to_the_scores_states_them_too() -> None:
    detection = json.loads((MODELS / "mini-figures" / "int8.json").read_text())["detection"]
    told = " ".join((ROOT / "docs" / "api.md").read_text().split())
    assert f"is {detection['map']:.3f} with these scores and {detection['map_constant_scores']:.3f} with every" in told


def test_how_it_was_trained_is_kept() -> None:
    """The log, a line for every so many steps, to the last of `make pretrain`'s."""
    steps = [int(line.split(",")[0]) for line in (MODELS / "mini-checkpoint" / "losses.csv").read_text().split()[1:]]
    assert steps == sorted(steps)
    stated = re.search(r"\(seed 1, ([\d,]+) steps", (ROOT / "README.md").read_text())
    assert stated
    assert steps[-1] == int(stated[1].replace(",", ""))


def test_its_size(tmp_path: Path) -> None:
    parameters = sum(tensor.numel() for tensor in checkpoint.load(MODELS / "mini-checkpoint").tensors.values())
    assert 4_700_000 < parameters < 4_900_000  # 4.8 million, says the README
    assert sum(path.stat().st_size for path in (MODELS / "mini").iterdir()) <= 8_000_000
