"""The int8 miniature on other kinds of CPU, AVX2 alone without VNNI, as Lambda may give (emulated by qemu's user
mode), and with other numbers of threads.

All that comes before the decoder is the same to the last bit. The decoder's own fp32 sums are added in as many lanes as
the CPU has: over 100 drawn pictures, 2 of 936 locations came out elsewhere, by at most 5 bins of 1,000; words never.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from needs import missing

from handler.florence import locations
from training import shapes

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
PICTURES = 10
NEAR = 5  # bins

Run = tuple[Any, list[np.ndarray]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(PICTURES):
        shapes.draw(11, i).image.save(folder / f"{i}.png")
    return sorted(map(str, folder.iterdir()))


def run(folder: Path, pictures: list[str], threads: int, *emulator: str) -> Run:
    """The answers, and all that goes into the decoder."""
    out = folder / f"{len(emulator)}-{threads}.npz"
    command = [*emulator, sys.executable, "-c", SCRIPT, str(ROOT / "models" / "mini"), str(threads), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *pictures], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), list(np.load(out).values())


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, pictures: list[str]) -> Run:
    return run(tmp_path_factory.mktemp("here"), pictures, 1)


@pytest.mark.slow
def test_avx2_alone_gives_the_same_answers(tmp_path: Path, pictures: list[str], here: Run) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        missing("qemu-x86_64 is not there: install Debian's qemu-user")
    answers, memories = run(tmp_path, pictures, 1, emulator, "-cpu", "Haswell")
    for one, other in zip(here[1], memories, strict=True):
        np.testing.assert_array_equal(one, other)
    elsewhere = 0
    for (caption, boxes), (caption_there, boxes_there) in zip(here[0], answers, strict=True):
        assert caption == caption_there
        assert locations.TOKEN.sub("#", boxes) == locations.TOKEN.sub("#", boxes_there)
        distance = np.abs(np.subtract(locations.from_text(boxes), locations.from_text(boxes_there)))
        assert distance.max() <= NEAR
        elsewhere += boxes != boxes_there
    assert elsewhere <= PICTURES / 10


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(tmp_path: Path, pictures: list[str], here: Run, threads: int) -> None:
    answers, memories = run(tmp_path, pictures, threads)
    assert answers == here[0]
    for one, other in zip(here[1], memories, strict=True):
        np.testing.assert_array_equal(one, other)
