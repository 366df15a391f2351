"""The benchmark's own arithmetic and its report; that the contenders run is shown by `make bench` itself."""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import bound, prepare, report, workload
from benchmarks.contenders import BY_NAME, CONTENDERS, RECIPE, SELF


def test_the_bound_counts_the_published_size() -> None:
    """Microsoft gives 230 M parameters; the decoder reads its own layers and the tied embedding at each token."""
    need, longer = bound.needs(workload.Work("caption", 20)), bound.needs(workload.Work("caption", 60))
    assert need.int8 == longer.int8
    a_token = (longer.memory - need.memory) / 40
    layers = 6 * (6 * 768**2 + 2 * 768 * 3072)
    assert layers + 51289 * 768 < a_token < 1.1 * (layers + 51289 * 768)
    rates = bound.Rates(int8=4e11, fp32=1e11, memory=4e10)
    assert 0.1 < need.seconds(rates) < 0.3
    # Half the tokens of labels of two and boxes of four come within a box, where 1,000 rows are enough.
    boxes = bound.needs(workload.Work("detect", 60))
    assert longer.memory - boxes.memory == 30 * (51289 - 1000) * 768
    assert bound.needs(size=768).int8 > 3.5 * need.int8


def test_the_picture_is_a_photograph_in_size_and_the_same_each_time() -> None:
    image = Image.open(io.BytesIO(workload.picture()))
    assert (image.format, image.size) == ("JPEG", (1024, 768))
    assert workload.picture() == workload.picture.__wrapped__()


def test_a_place_in_a_page_is_filled_and_filled_again() -> None:
    page = "before\n<!-- bench:table -->\n<!-- /bench -->\nafter\n"
    once = report.fill(page, {"table": "| a |"})
    assert once == "before\n<!-- bench:table -->\n| a |\n<!-- /bench -->\nafter\n"
    assert report.fill(once, {"table": "| b |"}) == once.replace("a |", "b |")


def test_the_report_of_one_run(tmp_path: Path) -> None:
    results = made_up()
    (tmp_path / "README.md").write_text("<!-- bench:table -->\n<!-- /bench -->\n")
    report.write(results, tmp_path)
    table = (tmp_path / "README.md").read_text()
    assert "| **florence-lambda, over HTTP** | 0.40 s (0.30–0.50) |" in table
    assert table.count("\n| ") == len(CONTENDERS) + 2  # head and rule
    with Image.open(tmp_path / "docs" / "performance.png") as chart:
        assert chart.format == "PNG"
        assert chart.width > 800
    assert "| 2.50 | at least 2, after 2.5 |" in report.ratios(results)


def test_files_are_made_once_and_again_when_the_checkpoints_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(prepare, "_in_process", lambda name, *_: made.append(name))
    blip = [BY_NAME["blip"]]
    prepare.all_files(blip, tmp_path)
    assert sorted(made) == ["blip", "checkpoint", SELF]
    made.clear()
    prepare.all_files(blip, tmp_path)
    assert made == [SELF]
    made.clear()
    os.utime(tmp_path / "checkpoint", (0, 0))
    prepare.all_files(blip, tmp_path)
    assert sorted(made) == ["checkpoint", SELF]


def test_a_contender_has_a_folder_for_each_size() -> None:
    assert BY_NAME[SELF].folder == "ours-384"
    assert BY_NAME[SELF].at(768).folder == "ours-768"
    assert BY_NAME[RECIPE].folder == "checkpoint"


def made_up() -> dict[str, Any]:
    spread = {"median": 0.4, "low": 0.3, "high": 0.5, "count": 3}
    one = {"caption": spread, "detect": spread, "start": spread, "start_from_disk": 1.0}
    one |= dict.fromkeys(("peak_memory", "steady_memory", "files", "packages"), 1e8)
    rates = {"int8": 4e11, "fp32": 1e11, "memory": 4e10}
    growth = {RECIPE: {"1": 1.0, "2": 2.0}, SELF: {"1": 0.5, "2": 1.0}}
    return {
        "machine": {
            "cpu": "a CPU",
            "flags": ["avx2"],
            "cores": 2,
            "memory": 2**34,
            "load": 0.0,
            "threads": 2,
            "versions": {},
        },
        "contenders": {contender.name: {"label": contender.label, **one} for contender in CONTENDERS},
        "bound": {
            "rates": rates,
            "needs": {"caption": rates, "detect": rates},
            "seconds": {"caption": 0.2, "detect": 0.3},
        },
        "growth": dict.fromkeys(("pictures", "tokens", "size", "threads"), growth),
        "ratios": {"caption_warm": 2.5},
    }
