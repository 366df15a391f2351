"""The int8 miniature's answers about drawn pictures from another process: with other threads, or on another kind of CPU
that qemu's user mode emulates."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from handler.florence import locations
from training import shapes

PICTURES = 10
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from handler.florence import predictor, tasks

model, threads, out = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
whole = predictor.Predictor(model, threads=threads)
whole.self_test()
memories, encode = [], whole._engine.encode

def watched(features, prompts):
    memory = encode(features, prompts)
    memories.extend([features, *memory.keys, *memory.values])
    return memory

whole._engine.encode = watched
asks = [predictor.Ask(tasks.find(name)) for name in ("caption", "detect")]
print(json.dumps([[one.raw for one in whole.predict(Path(image).read_bytes(), asks).predictions]
                  for image in sys.argv[4:]]))
np.savez(out, *memories)
"""


@dataclass(frozen=True)
class Run:
    """Of each picture the caption and the boxes as the model wrote them, and all that went into the decoder."""

    answers: Any
    memories: list[np.ndarray]


def run(
    pictures: Sequence[str], threads: int = 1, python: Sequence[str] = (sys.executable,), packages: Path | None = None
) -> Run:
    """The answers of the interpreter that `python` starts; `packages` are what it imports beside its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, (ROOT, packages))))}
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/memories.npz"
        command = [*python, "-c", SCRIPT, str(ROOT / "models" / "mini"), str(threads), out, *pictures]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        with np.load(out) as saved:
            return Run(json.loads(done.stdout), list(saved.values()))


def moved(one: Run, other: Run) -> list[np.ndarray]:
    """By how many bins the locations differ, picture by picture. Fails where a word does."""
    distances = []
    for (caption, boxes), (caption_there, boxes_there) in zip(one.answers, other.answers, strict=True):
        assert caption == caption_there
        assert locations.TOKEN.sub("#", boxes) == locations.TOKEN.sub("#", boxes_there)
        distances.append(np.abs(np.subtract(locations.from_text(boxes), locations.from_text(boxes_there))))
    return distances


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Files of pictures."""
    folder = tmp_path_factory.mktemp("drawn")
    for i in range(PICTURES):
        shapes.draw(11, i).image.save(folder / f"{i}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(scope="session")
def here(drawn: list[str]) -> Run:
    """What this machine answers about them, on one thread."""
    return run(drawn)
