"""The miniature on a CPU with AVX2 alone, without VNNI, as Lambda may give: emulated by qemu's user mode.

The int8 products give the same numbers to the last bit: the encoder, on the same image features, is held to that. The
vision graph's fp32 convolutions add in another order there, and the last bits of their sums decide how a value is
rounded to int8: so a location may come out a few bins (of 1,000) away, on either CPU within the quantisation's own
error. Words may not differ.
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

from handler.florence import locations

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from handler.florence import artifact, engine, predictor, tasks

model, features, out = map(Path, sys.argv[1:4])
runner = engine.Engine(model, artifact.read_manifest(model), threads=1)
memory = runner.encode(np.load(features), [[0, 5, 6, 7, 2]])
np.savez(out, *memory.keys, *memory.values)
asks = [predictor.Ask(tasks.find(name)) for name in ("caption", "detect")]
whole = predictor.Predictor(model, threads=1)
print(json.dumps([[one.raw for one in whole.predict(Path(image).read_bytes(), asks).predictions]
                  for image in sys.argv[4:]]))
"""
IMAGES = [str(ROOT / "handler" / "page" / "samples" / f"shapes-{i}.png") for i in (1, 2, 3)]
NEAR = 10  # bins


def _run(tmp_path: Path, name: str, *emulator: str) -> tuple[Any, list[np.ndarray]]:
    out = tmp_path / f"{name}.npz"
    command = [*emulator, sys.executable, "-c", SCRIPT]
    arguments = [ROOT / "models" / "mini", tmp_path / "features.npy", out, *IMAGES]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), list(np.load(out).values())


@pytest.mark.slow
def test_avx2_alone_gives_the_same_answers(tmp_path: Path) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        message = "qemu-x86_64 is not there: install Debian's qemu-user"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    features = np.random.default_rng(0).normal(size=(1, 17, 128)).astype(np.float32)
    np.save(tmp_path / "features.npy", features)
    here, memory_here = _run(tmp_path, "here")
    there, memory_there = _run(tmp_path, "there", emulator, "-cpu", "Haswell")
    for one, other in zip(memory_here, memory_there, strict=True):
        np.testing.assert_array_equal(one, other)
    for (caption, boxes), (caption_there, boxes_there) in zip(here, there, strict=True):
        assert caption == caption_there
        assert locations.TOKEN.sub("#", boxes) == locations.TOKEN.sub("#", boxes_there)
        distance = np.abs(np.subtract(locations.from_text(boxes), locations.from_text(boxes_there)))
        assert distance.max() <= NEAR
