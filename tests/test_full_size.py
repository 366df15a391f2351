"""Florence-2-base's true shape, all the way: a checkpoint in Microsoft's layout to a served caption.

The weights are random (231 M parameters, fp16), so the answers mean nothing and the gate only reports.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import checkpoints
import pytest
from conftest import ROOT

from handler.florence import artifact, tasks
from handler.florence.predictor import Ask, Predictor

LARGEST = 250_000_000  # bytes of the artifact: 244 MB; more and tests/e2e must be told
LONGEST = 300  # seconds that the build may take on two cores
MOST = 6_000_000  # kilobytes of memory that it may take


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_size_checkpoint_is_built_and_served(refdata: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "artifact"
    checkpoints.full_size(base, refdata)
    command = [sys.executable, "-m", "build", "--base", str(base), "--out", str(out), "--gate", "report"]
    began = time.monotonic()
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert time.monotonic() - began < LONGEST
    assert used.ru_maxrss < MOST
    manifest = artifact.read_manifest(out)
    assert sum(path.stat().st_size for path in out.iterdir()) <= LARGEST
    assert manifest.verification["gate"] == "report"
    photo = (refdata / "images_photo" / "dog.jpeg").read_bytes()
    result = Predictor(out).predict(photo, [Ask(tasks.find("caption"))])
    assert result.predictions[0].tokens > 2
