"""A run that is killed goes on, and ends as if nothing had happened."""

import shutil
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import EVERY, STEPS, arguments, kill, losses, run, start, wait_for, with_dropout, write_world

from training import lora

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # PEFT 0.21 reads a property that transformers 5 has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def tear(checkpoint: Path) -> None:
    """A checkpoint that the run was killed in the middle of: newer than the whole one, some files cut, some missing."""
    torn = checkpoint.with_name(f"checkpoint-{int(checkpoint.name.split('-')[1]) + 1}")
    shutil.copytree(checkpoint, torn)
    (torn / "whole").unlink()
    (torn / "trainer_state.json").unlink()
    with (torn / "optimizer.pt").open("rb+") as file:
        file.truncate(1000)


def test_killed_in_the_middle_it_ends_with_the_same_losses(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the last digit, and the same adapter to the last byte: with dropout, jitter and mirrored pictures, killed in
    the second epoch, between two checkpoints and again while it wrote another."""
    base = with_dropout(tmp_path / "base")
    options = ("--jitter", "0.3", "--flip", "0.5")
    undisturbed = run(world, tmp_path / "undisturbed", *options, base=base)
    out = tmp_path / "killed"
    process = start(["-m", "training.train", *arguments(world, out, *options, "--workers", "1", base=base)])
    wait_for(out, EVERY + 2, process)
    kill(process)
    before = losses(out)
    assert EVERY + 2 <= len(before) < STEPS
    assert not (out / "adapter").exists()
    tear(out / "checkpoints" / f"checkpoint-{EVERY}")
    capsys.readouterr()
    assert run(world, out, *options, base=base) == undisturbed
    assert f"going on from {out / 'checkpoints' / f'checkpoint-{EVERY}'}" in capsys.readouterr().out
    assert before == undisturbed[: len(before)]
    adapters = [folder / "adapter" / lora.WEIGHTS for folder in (out, tmp_path / "undisturbed")]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()
    events = EventAccumulator(str(out / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_two_processes_learn_what_one_does_killed_or_not(tmp_path: Path) -> None:
    """`accelerate launch`, over gloo: half the pictures each, one of which is broken."""
    world = write_world(tmp_path / "world")
    (world / "train" / "000003.png").write_bytes(b"not a picture")
    alone = run(world, tmp_path / "alone", "--epochs", "4", "--batch", "4")
    out = tmp_path / "together"
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "training.train"]
    command = [*launch, *arguments(world, out, "--epochs", "4", "--batch", "2")]
    process = start(command)
    wait_for(out, EVERY + 2, process)
    kill(process)
    assert not (out / "adapter").exists()
    assert (out / "checkpoints" / f"checkpoint-{EVERY}" / "rng_state_1.pth").exists()
    with (tmp_path / "printed").open("wb") as printed:
        assert start(command, printed).wait(timeout=250) == 0
    together = losses(out)
    assert [row["step"] for row in together] == [row["step"] for row in alone]
    for name in ("loss", "eval_loss", "learning_rate"):
        found, expected = ([float(row[name]) for row in rows if row[name]] for rows in (together, alone))
        assert found == pytest.approx(expected, rel=1e-4)
    text = (tmp_path / "printed").read_text()
    assert text.count("going on from") == 1
    assert "another in the place of each: 1 to learn from, 0 held out" in text
