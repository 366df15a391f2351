"""The search for layers that stay in fp32, on a miniature that int8 breaks in two known places."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.numpy
from conftest import ROOT

from build import search, verify
from build.__main__ import main
from handler.florence import artifact

CHECKPOINT, MINIATURE = ROOT / "models" / "mini-checkpoint", ROOT / "models" / "mini"
SAMPLES = sorted((ROOT / "handler" / "page" / "samples").glob("*.png"))
TEXT, VISION = "encoder.layers.1", "vision.blocks.1.0.spatial_block"
FACTOR = 4096  # a power of two: fp32 computes what it did before


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature with one channel in each of two layers' attention made large and small again behind it: the same
    function, but the large one takes the scale of all that is quantised between the two."""
    folder = tmp_path_factory.mktemp("broken") / "checkpoint"
    shutil.copytree(CHECKPOINT, folder)
    golden = folder.parent / "golden"
    golden.mkdir()
    for sample in SAMPLES[:3]:
        shutil.copy(sample, golden)
    file = folder / "model.safetensors"
    tensors = {name: tensor.astype("float32") for name, tensor in safetensors.numpy.load_file(file).items()}
    attention = f"model.language_model.{TEXT}.self_attn"
    values = [tensors[f"{attention}.v_proj.{kind}"] for kind in ("weight", "bias")]
    _blow_up(values, tensors[f"{attention}.out_proj.weight"], 5)
    attention = f"model.vision_tower.{VISION.removeprefix('vision.')}.window_attn"
    both = [tensors[f"{attention}.qkv.{kind}"] for kind in ("weight", "bias")]
    values = [one[len(one) // 3 * 2 :] for one in both]
    _blow_up(values, tensors[f"{attention}.proj.weight"], 5)
    safetensors.numpy.save_file(tensors, file)
    return folder


def _blow_up(before: list[Any], behind: Any, channel: int) -> None:
    for one in before:
        one[channel] *= FACTOR
    behind[:, channel] /= FACTOR


def test_the_broken_layers_are_found_and_kept(tmp_path: Path, broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _build(broken, tmp_path / "out") == 0
    out, err = capsys.readouterr()
    assert "int8 throughout does not hold: " in out
    assert f"kept in fp32      {TEXT}, {VISION}" in out
    assert err == ""
    manifest = artifact.read_manifest(tmp_path / "out")
    assert manifest.precision == "int8"
    assert manifest.verification["kept_in_fp32"] == [TEXT, VISION]
    for name, bar in verify.THRESHOLDS.items():
        assert manifest.verification[name] >= bar
    sizes = [sum(path.stat().st_size for path in folder.iterdir()) for folder in (tmp_path / "out", MINIATURE)]
    assert sizes[0] < 1.2 * sizes[1]


def test_where_that_does_not_help_the_build_says_so_and_leaves_nothing_behind(
    tmp_path: Path, broken: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "AT_MOST", 1)
    assert _build(broken, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert f"not even with the layers that int8 harms most ({TEXT}) in fp32: " in error
    assert re.search(r"(tokens|captions|boxes)_equal 0\.\d{3} < 0\.\d+", error)
    assert "--precision fp32" in error
    assert list(tmp_path.iterdir()) == []


def test_a_report_lets_it_pass_and_searches_nothing(tmp_path: Path, broken: Path) -> None:
    assert _build(broken, tmp_path / "out", "--gate", "report") == 0
    verification = artifact.read_manifest(tmp_path / "out").verification
    assert verification["gate"] == "report"
    assert verification["kept_in_fp32"] == []
    assert verification["captions_equal"] < verify.THRESHOLDS["captions_equal"]


def _build(checkpoint: Path, out: Path, *more: str) -> int:
    """Verified with three pictures: enough to tell a broken layer by."""
    golden = checkpoint.parent / "golden"
    return main(["--base", str(checkpoint), "--out", str(out), "--size", "128", "--golden", str(golden), *more])
