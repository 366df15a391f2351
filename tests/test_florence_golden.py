"""The golden case: an artifact that computes nonsense, its files whole, is refused before it serves."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from handler.florence import artifact, golden
from handler.florence.decoding import Decoded
from handler.florence.errors import ArtifactError
from handler.florence.predictor import Predictor

MINI = ROOT / "models" / "mini"
LOCATIONS = range(100, 1100)


def spread(*peaks: tuple[int, float]) -> np.ndarray:
    probabilities = np.zeros(len(LOCATIONS), np.float32)
    for bin_, probability in peaks:
        probabilities[bin_] = probability
    return probabilities


@pytest.mark.parametrize(
    ("probability", "rivals", "kept"),
    [
        (0.99, None, True),
        (0.54, None, True),  # whatever else there is has less than nine tenths of it
        (0.52, None, False),
        (0.3, spread((400, 0.3), (404, 0.29), (395, 0.29)), True),  # its neighbours are the same answer
        (0.3, spread((400, 0.3), (406, 0.29), (395, 0.29)), False),
        (0.3, spread((400, 0.3)), False),  # it might have been a word
    ],
)
def test_an_answer_is_kept_up_to_what_might_have_fallen_otherwise(
    probability: float, rivals: np.ndarray | None, kept: bool
) -> None:
    token = 500 if rivals is not None else 7
    decoded = Decoded((1, token, 2), (1.0, probability, 1.0), (None, rivals, None), False)
    assert golden.certain(decoded, LOCATIONS) == ([1, token, 2] if kept else [1])


@pytest.mark.parametrize(
    ("found", "alike"),
    [
        ([1, 500, 7], True),
        ([1, 540, 7, 9], True),
        ([1, 459, 7], False),
        ([1, 500, 8], False),
        ([1, 500], False),
        ([1, 7, 500], False),
    ],
)
def test_words_are_equal_and_locations_near(found: list[int], alike: bool) -> None:
    assert golden.same([1, 500, 7], found, LOCATIONS) is alike


def test_the_miniature_answers_its_own() -> None:
    predictor = Predictor(MINI)
    predictor.self_test()
    kept = predictor.manifest.golden
    assert kept is not None
    assert set(kept.answers) == set(golden.TASKS)
    assert predictor._tokenizer.decode(kept.answers["caption"]).startswith("A ")
    assert any(token in predictor._tokenizer.location_ids for token in kept.answers["detect"])


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINI, tmp_path / "copied-artifact"))


def tell(folder: Path, **changes: object) -> None:
    """Makes the manifest agree with the folder's files."""
    raw = json.loads((folder / artifact.MANIFEST).read_text()) | changes
    for name in raw["files"]:
        path = folder / name
        raw["files"][name] = {"bytes": path.stat().st_size, "sha256": artifact.sha256(path)}
    (folder / artifact.MANIFEST).write_text(json.dumps(raw))


def garble(folder: Path) -> None:
    """The tensors' bytes out of order: everything loads and nothing means anything."""
    weights = folder / artifact.WEIGHTS
    data = bytearray(weights.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    rest = np.frombuffer(bytes(data[begin:]), np.int8)
    quarter = len(rest) // 4
    data[begin + quarter : begin + 3 * quarter] = rest[quarter : 3 * quarter][::-1].tobytes()
    weights.write_bytes(data)
    tell(folder)


def test_nonsense_is_refused_by_name(copy: Path) -> None:
    garble(copy)
    predictor = Predictor(copy)  # nothing else finds out
    with pytest.raises(ArtifactError, match="copied-artifact answers its golden case wrongly: caption is"):
        predictor.self_test()


def test_other_answers_than_the_builds_are_refused(copy: Path) -> None:
    kept = json.loads((copy / artifact.MANIFEST).read_text())["golden"]
    answers = kept["answers"]
    place = next(i for i, token in enumerate(answers["detect"]) if token > 400)
    for moved, bad in ((golden.FAR, False), (golden.FAR + 1, True)):
        detect = [token + moved * (i == place) for i, token in enumerate(answers["detect"])]
        tell(copy, golden=kept | {"answers": answers | {"detect": detect}})
        if bad:
            with pytest.raises(ArtifactError, match=r"detect is .* instead of .*onnxruntime"):
                Predictor(copy).self_test()
        else:
            Predictor(copy).self_test()


def test_an_unfinished_artifact_is_not_served(copy: Path) -> None:
    tell(copy, golden=None)
    with pytest.raises(ArtifactError, match="copied-artifact holds no golden case"):
        Predictor(copy).self_test()


def test_what_cannot_compute_at_all_is_refused_by_name(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(copy)

    def fail(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(predictor._engine, "encode", fail)
    with pytest.raises(ArtifactError, match="copied-artifact cannot answer its golden case: no such operator"):
        predictor.self_test()


@pytest.mark.parametrize("command", ["serve", "entrypoint", "analyze"])
def test_neither_server_nor_function_nor_command_line_starts(copy: Path, command: str) -> None:
    garble(copy)
    samples = str(ROOT / "handler" / "page" / "samples")
    arguments = {
        "serve": ["-m", "handler", "serve", "--port", "0"],
        "analyze": ["-m", "handler", "analyze", samples],
        "entrypoint": ["-c", "import handler.entrypoint"],
    }[command]
    environment = os.environ | {"FLORENCE_ARTIFACT": str(copy)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "copied-artifact answers its golden case wrongly" in done.stderr
    assert done.stdout == ""
