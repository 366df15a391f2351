"""The build's command line, from the miniature's checkpoint to an artifact that is served."""

import json
import sys
from pathlib import Path

import checkpoints
import pytest
import torch
from conftest import ROOT

from build import verify
from build.__main__ import main
from handler.florence import artifact, tasks
from handler.florence.predictor import Ask, Predictor
from training import base
from training.lora import PRESETS, Provenance, attach, save

# PEFT 0.21 reads a property that transformers 5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CHECKPOINT = ROOT / "models" / "mini-checkpoint"
SAMPLE = ROOT / "handler" / "page" / "samples" / "shapes-1.png"


def _build(out: Path, *more: str) -> int:
    return main(["--base", str(CHECKPOINT), "--out", str(out), "--size", "128", *more])


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_checkpoint_gives_the_same_bytes_and_a_served_caption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _build(tmp_path / "one", "--name", "mini") == 0
    out, err = capsys.readouterr()
    first, *report = out.splitlines()
    assert first == f"{tmp_path / 'one'}: mini, int8, 5.9 MB"
    assert [line.split()[0] for line in report] == ["images", *verify.THRESHOLDS, "score_difference"]
    assert err == ""  # nothing of the progress where no one watches
    assert _build(tmp_path / "two", "--name", "mini") == 0
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")
    manifest = artifact.read_manifest(tmp_path / "one")
    artifact.verify_hashes(tmp_path / "one")
    assert manifest.precision == "int8"
    assert {task: len(answer) > 4 for task, answer in manifest.golden.answers.items()} == {
        "caption": True,
        "detect": True,
    }
    assert manifest.golden.size == 128  # at half and at a quarter it does not know what it sees
    for name, bar in verify.THRESHOLDS.items():
        assert manifest.verification[name] >= bar
    result = Predictor(tmp_path / "one").predict(SAMPLE.read_bytes(), [Ask(tasks.find("caption"))])
    assert result.predictions[0].text == "A purple cross, a blue circle, a yellow star and a red circle."


def test_the_committed_miniature_is_what_the_command_builds(tmp_path: Path) -> None:
    notice = (ROOT / "models" / "notice.txt").read_text().strip()
    assert _build(tmp_path / "mini", "--name", "florence-2-mini", "--notice", notice) == 0
    committed = ROOT / "models" / "mini"
    for path in (tmp_path / "mini").iterdir():
        if path.name != artifact.MANIFEST:
            assert path.read_bytes() == (committed / path.name).read_bytes(), path.name
    assert sum(path.stat().st_size for path in committed.iterdir()) <= 8_000_000


def test_a_terminal_sees_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert _build(tmp_path / "out") == 0
    seen = capsys.readouterr().err
    for step in (f"reading {CHECKPOINT}", "writing int8", "writing fp32", "verifying: 100%", "8/8"):
        assert step in seen


def test_an_artifact_that_is_sure_of_nothing_is_built_and_loads(tmp_path: Path) -> None:
    """Random weights: the gate reports, and the golden case has next to nothing to compare."""
    checkpoints.save_native(tmp_path / "base")
    options = ["--size", "64", "--gate", "report", "--out", str(tmp_path / "out")]
    assert main(["--base", str(tmp_path / "base"), *options]) == 0
    golden = artifact.read_manifest(tmp_path / "out").golden
    assert golden is not None
    assert {task: len(answer) < 8 for task, answer in golden.answers.items()} == {"caption": True, "detect": True}
    assert golden.size == 16  # no size makes it surer: the one that takes least time
    Predictor(tmp_path / "out").self_test()


def test_greedy_whatever_the_checkpoint_says(tmp_path: Path) -> None:
    checkpoints.save_native(tmp_path / "base")
    options = ["--base", str(tmp_path / "base"), "--size", "64", "--gate", "report"]
    for beams, found in (([], 3), (["--beams", "1"], 1)):
        assert main([*options, *beams, "--out", str(tmp_path / "out")]) == 0
        assert artifact.read_manifest(tmp_path / "out").generation.num_beams == found


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert _build(tmp_path) == 1
    assert "holds no artifact" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """An adapter of the miniature, as training saves one at 128 pixels."""
    model = attach(base.load(CHECKPOINT)[0], PRESETS["text"], seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(1e-3)
    said = Provenance("hub/id", "0" * 40, 128, tasks.fingerprint(), "d" * 64, "text", 1, 10, {})
    save(model, tmp_path / "lora", said)
    return tmp_path / "lora"


def test_an_adapter_is_fused_for_what_it_was_trained_for(tmp_path: Path, lora: Path) -> None:
    assert _build(tmp_path / "out", "--adapter", str(lora)) == 0
    told = artifact.read_manifest(tmp_path / "out").adapter
    assert told is not None
    assert told["training"] == json.loads((lora / "training.json").read_text())
    assert len(told["landed"]) == 16


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        ("96", {}, "lora was trained at 128 pixels, not 96 (--size 128); --accept-mismatch fuses"),
        ("128", {"prompts": "f" * 64}, "lora was trained with other prompts than this version asks"),
        ("96", {"prompts": "f" * 64}, "not 96 (--size 128) and with other prompts"),
    ],
)
def test_an_adapter_trained_for_something_else_is_refused_unless_told_otherwise(
    tmp_path: Path,
    lora: Path,
    size: str,
    changes: dict[str, str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = lora / "training.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    asked = ("--adapter", str(lora), "--size", size, "--gate", "report")
    assert _build(tmp_path / "out", *asked) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert _build(tmp_path / "out", *asked, "--accept-mismatch") == 0
    assert artifact.read_manifest(tmp_path / "out").adapter


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_training_json_is_named(
    tmp_path: Path, lora: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (lora / "training.json").write_text(content)
    assert _build(tmp_path / "out", "--adapter", str(lora)) == 1
    assert "training.json" in capsys.readouterr().err


def test_an_adapter_without_a_training_json_is_taken_as_it_is(tmp_path: Path, lora: Path) -> None:
    (lora / "training.json").unlink()
    assert _build(tmp_path / "out", "--adapter", str(lora)) == 0


def test_a_base_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("build: ")
    assert error.count("\n") == 1
