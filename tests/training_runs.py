"""Short runs of `training.train` on the drawn world, from the miniature."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import psutil
from conftest import ROOT

from training import shapes, train

MINIATURE = ROOT / "models" / "mini-checkpoint"
STEPS, EVERY = 16, 10  # of a run below; checkpoints in the second epoch and at the end
Row = dict[str, str]


def write_world(directory: Path) -> Path:
    """16 pictures to learn from and 8 held out, of shapes and sentences that the miniature does not know."""
    shapes.write_coco(directory, 16, seed=3, shapes=("circle", "heart"), style="coco", split="train")
    shapes.write_coco(directory, 8, seed=4, shapes=("circle", "heart"), style="coco", split="val")
    return directory


def with_dropout(directory: Path) -> Path:
    """The miniature with Florence-2-base's own dropout, so that a run draws more random numbers than the data's."""
    shutil.copytree(MINIATURE, directory)
    config = json.loads((directory / "config.json").read_text())
    config["text_config"] |= {"dropout": 0.1, "activation_dropout": 0.1, "attention_dropout": 0.1}
    config["vision_config"] |= {"drop_path_rate": 0.1}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def arguments(data: Path, out: Path, *more: str, base: Path = MINIATURE) -> list[str]:
    """The command line of 16 steps of two pictures; `more` wins over what is here."""
    given = ["--base", str(base), "--data", str(data), "--out", str(out), "--image-size", "128", "--workers", "0"]
    return [*given, "--batch", "2", "--epochs", "2", "--flip", "0", *more]


def run(data: Path, out: Path, *more: str, base: Path = MINIATURE) -> list[Row]:
    """A run in this process -> the rows of its `losses.csv`."""
    assert train.main(arguments(data, out, *more, base=base)) == 0
    return losses(out)


def losses(out: Path) -> list[Row]:
    with (out / "losses.csv").open() as file:
        return list(csv.DictReader(file))


def start(command: Sequence[str], printed: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """The same in a process of its own, on one thread; `printed` is where its output goes."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=printed)


def kill(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it has started, by the signal that none can catch."""
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for one in family:
        one.kill()
    process.wait()


def wait_for(out: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    """Until `losses.csv` tells of this step."""
    while process.poll() is None:
        if (out / "losses.csv").exists() and int(losses(out)[-1]["step"]) >= step:
            return
        time.sleep(0.05)
    raise AssertionError(f"the run ended with {process.returncode} before step {step}")
