"""Florence-2-base's true shape, all the way: a checkpoint in Microsoft's layout to a served caption.

The weights are random (231 M parameters, fp16), so the answers mean nothing and the gate only reports.
"""

from pathlib import Path

import checkpoints
import pytest

from build.__main__ import main
from handler.florence import artifact, tasks
from handler.florence.predictor import Ask, Predictor

LARGEST = 300_000_000  # bytes of the artifact


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_size_checkpoint_is_built_and_served(refdata: Path, tmp_path: Path) -> None:
    base, golden, out = tmp_path / "base", tmp_path / "golden", tmp_path / "artifact"
    base.mkdir()
    golden.mkdir()
    checkpoints.full_size(base, refdata)
    photo = (refdata / "images_photo" / "dog.jpeg").read_bytes()
    (golden / "dog.jpeg").write_bytes(photo)  # one: a random model writes as long as it may
    assert main(["--base", str(base), "--out", str(out), "--golden", str(golden), "--gate", "report"]) == 0
    manifest = artifact.read_manifest(out)
    assert sum(path.stat().st_size for path in out.iterdir()) <= LARGEST
    assert manifest.verification["gate"] == "report"
    result = Predictor(out).predict(photo, [Ask(tasks.find("caption"))])
    assert result.predictions[0].tokens > 2
