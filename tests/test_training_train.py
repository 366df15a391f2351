"""The training loop, on the drawn world from the miniature."""

import json
import math
import re
import sys
from pathlib import Path

import checkpoints
import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import EVERY, MINIATURE, STEPS, Row, run, write_world

from build import adapter
from handler.florence import tasks
from training import base, callbacks, coco, lora, shapes, train
from training.dataset import Collate, Lessons, Shuffled

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # PEFT 0.21 reads a property that transformers 5 has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
FEW = ("--epochs", "0.5")  # four steps


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def plain(world: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of two steps of four pictures."""
    return column(run(world, tmp_path_factory.mktemp("plain"), *FEW, "--batch", "4"), "loss")


def column(rows: list[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row[name]]


def test_a_run_learns_and_leaves_all_that_it_says(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(world, tmp_path, "--learning-rate", "3e-3", "--patience", "0")
    assert [int(row["step"]) for row in rows] == list(range(1, STEPS + 1))
    measured = {int(row["step"]): float(row["eval_loss"]) for row in rows if row["eval_loss"]}
    assert list(measured) == [EVERY, STEPS]
    assert measured[STEPS] < measured[EVERY] < 0.75 * float(rows[0]["loss"])  # 9.3, 9.6 and 14.3
    peak, warm = 3e-3, round(0.05 * STEPS)
    for row in rows:
        done = int(row["step"]) - 1
        share = done / warm if done < warm else (1 + math.cos(math.pi * (done - warm) / (STEPS - warm))) / 2
        assert float(row["learning_rate"]) == pytest.approx(peak * share, abs=1e-9)

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("train/loss")] == pytest.approx(column(rows, "loss"), rel=1e-6)
    assert [event.value for event in events.Scalars("eval/loss")] == pytest.approx(list(measured.values()), rel=1e-6)
    assert events.Scalars("train/epoch")[-1].value == pytest.approx(2)

    # q and v of the miniature: two layers of encoder, three of decoder with two attentions; 128 wide, rank 8.
    count, frozen = (2 + 2 * 3) * 2 * 8 * (128 + 128), 4_809_344
    printed = capsys.readouterr().out
    assert "16 pictures to learn from, 8 held out; set aside: nothing" in printed
    assert f"trainable: {count:,} of {count + frozen:,} parameters (0.68%); {STEPS} steps in fp32" in printed
    assert f"held-out loss {min(measured.values()):.4f}" in printed

    told = json.loads((tmp_path / "adapter" / lora.PROVENANCE).read_text())
    assert told["data"] == coco.read(world, "train").fingerprint
    assert told["prompts"] == tasks.fingerprint()
    assert (told["base"], told["image_size"], told["seed"], told["steps"]) == ("mini-checkpoint", 128, 1, STEPS)
    assert len(adapter.load(tmp_path / "adapter").pairs) == 16
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["checkpoint-10", "checkpoint-16"]


def test_the_losses_are_those_of_the_lessons(world: Path, tmp_path: Path) -> None:
    """The first step's, whose learning rate is nought, by hand over all tokens of its two batches; and the held-out
    loss of the adapter that was saved."""
    rows = run(world, tmp_path, *FEW, "--accumulate", "2", "--jitter", "0.3", "--flip", "0.5")
    model, words = base.load(MINIATURE)
    collate = Collate(128, model.config.image_token_id)
    mix = {"<CAPTION>": 1.0, "<OD>": 1.0}
    lessons = Lessons(coco.read(world, "train").records, words, 128, mix, 1, flip=0.5, jitter=0.3)
    first = [lessons[index] for index in Shuffled(16, 1, 4)]
    with torch.inference_mode():
        assert float(rows[0]["loss"]) == pytest.approx(model.eval()(**collate(first)).loss.item(), rel=1e-5)
        check = Lessons(coco.read(world, "val").records, words, 128, mix, 1, flip=0.0, jitter=0.0)
        fused = lora.PeftModel.from_pretrained(model, str(tmp_path / "adapter")).eval()
        batches = [collate([check[index] for index in (i, i + 1)]) for i in (0, 2, 4, 6)]
        losses = [fused(**batch).loss.item() for batch in batches]
    assert column(rows, "eval_loss")[-1] == pytest.approx(sum(losses) / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("other", "tolerance"),
    [
        (("--batch", "1", "--accumulate", "4"), 1e-5),
        (("--gradient-checkpointing",), 1e-5),
        (("--workers", "2"), 1e-6),
        (("--precision", "bf16"), 0.02),
    ],
    ids=["accumulation", "gradient checkpointing", "reading in other processes", "bf16"],
)
def test_the_same_steps_another_way(
    world: Path, tmp_path: Path, plain: list[float], other: tuple[str, ...], tolerance: float
) -> None:
    found = column(run(world, tmp_path, *FEW, "--batch", "4", *other), "loss")
    assert len(found) == len(plain) == 2
    assert found == pytest.approx(plain, rel=tolerance, abs=0)
    saved = load_file(tmp_path / "adapter" / lora.WEIGHTS)
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_it_stops_early_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is held out is what the miniature knows, so that all it learns of the rest makes it worse. One that was
    stopped and then killed before the adapter was written has no more to do."""
    monkeypatch.setattr(train, "LOGS_A_CHECKPOINT", 2)
    world, out = write_world(tmp_path / "world"), tmp_path / "run"
    shapes.write_coco(world, 8, seed=4, split="val")
    asked = ("--learning-rate", "3e-2", "--patience", "1")
    rows = run(world, out, *asked)
    measured = column(rows, "eval_loss")
    assert len(rows) < STEPS
    assert len(measured) - 1 - measured.index(min(measured)) == 1
    assert f"held-out loss {min(measured):.4f}" in capsys.readouterr().out
    adapter = out / "adapter" / lora.WEIGHTS
    before = adapter.read_bytes()
    adapter.unlink()
    assert run(world, out, *asked) == rows
    assert adapter.read_bytes() == before


def test_a_finished_run_is_left_alone(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(world, tmp_path, *FEW)
    capsys.readouterr()
    assert run(world, tmp_path, *FEW) == rows
    assert capsys.readouterr().out == f"{tmp_path / 'adapter'} is there already: nothing to train.\n"


def test_a_terminal_sees_progress(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(world, tmp_path, *FEW)
    assert "4/4 [" in capsys.readouterr().err


def test_broken_pictures_are_reported_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_world(tmp_path / "world")
    for name in ("train/000003.png", "train/000004.png", "val/000001.png"):
        (data / name).write_bytes(b"not a picture")
    (data / "train" / "000005.png").unlink()
    run(data, tmp_path / "out", "--epochs", "1")
    printed = capsys.readouterr().out
    assert "15 pictures to learn from, 8 held out; set aside: 1 missing files" in printed
    assert "another in the place of each: 2 to learn from, 1 held out" in printed


def test_of_an_undivided_set_the_last_twentieth_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes.write_coco(tmp_path / "world", 40, seed=3)
    run(tmp_path / "world", tmp_path / "out", "--epochs", "0.06")
    assert "38 pictures to learn from, 2 held out" in capsys.readouterr().out


def test_a_folder_with_nothing_but_a_val_split_is_divided_too(tmp_path: Path) -> None:
    shapes.write_coco(tmp_path, 20, seed=3, split="val")
    learnt, held_out = train._pictures(tmp_path)
    assert not {record.id for record in learnt.records} & {record.id for record in held_out.records}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--base", "florence/none"], "florence/none is no folder; .* give the commit with --revision"),
        (["--base", "BASE/empty"], "is no Florence-2 checkpoint in transformers' layout"),
        (["--base", "BASE/microsoft"], "under florence-community/"),
        (["--base", "BASE/lacking"], "lacks 1 of Florence-2's tensors .* such as model.language_model"),
        (["--data", "BASE/empty"], "empty holds no captions"),
        (["--image-size", "100"], "100 is no multiple of 32"),
        (["--precision", "fp16"], "fp16 needs a GPU"),
        (["--tasks", "read"], "cannot teach <OCR>"),
    ],
)
def test_mistakes_are_one_line(
    world: Path, bad: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--base", str(MINIATURE), "--data", str(world), "--out", str(tmp_path), "--image-size", "128"]
    assert train.main([*given, *(option.replace("BASE", str(bad)) for option in options)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("train: ")
    assert re.search(message, error), error


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that are no base."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty").mkdir()
    checkpoints.save_microsoft(folder / "microsoft")
    checkpoints.save_native(folder / "lacking")
    tensors = load_file(folder / "lacking" / "model.safetensors")
    del tensors[next(name for name in tensors if name.endswith("q_proj.weight"))]
    save_file(tensors, folder / "lacking" / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("task", ["fly", "caption=often"])
def test_an_unknown_task_or_weight_is_named(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train.main(["--base", "b", "--data", "d", "--out", "o", "--tasks", task])
    assert task.partition("=")[2] or task in capsys.readouterr().err


def test_another_run_in_the_same_folder_is_refused(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(world, tmp_path, *FEW)
    capsys.readouterr()
    given = ["--base", str(MINIATURE), "--data", str(world), "--out", str(tmp_path), "--image-size", "128"]
    assert train.main([*given, "--seed", "2"]) == 1
    error = capsys.readouterr().err
    assert "holds a run with other settings" in error
    assert "seed 1 -> 2" in error
    (tmp_path / "run.json").write_text("{")
    assert train.main(given) == 1
    assert "run.json is damaged" in capsys.readouterr().err


def test_the_newest_whole_checkpoint_is_found(tmp_path: Path) -> None:
    assert callbacks.last_whole(tmp_path / "none") is None
    for step, whole in ((20, True), (100, True), (110, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "whole").touch()
    assert callbacks.last_whole(tmp_path) == tmp_path / "checkpoint-100"
