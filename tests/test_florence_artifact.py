"""A damaged, cut, foreign or half-written artifact is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from handler.florence import artifact
from handler.florence.errors import ArtifactError


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "models" / "mini", tmp_path / "artifact"))


def _edit(folder: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    raw = json.loads((folder / "manifest.json").read_text())
    change(raw)
    (folder / "manifest.json").write_text(json.dumps(raw))


def test_a_whole_one_is_read(copy: Path) -> None:
    manifest = artifact.read_manifest(copy)
    artifact.verify_hashes(copy)
    assert manifest.to_json() == (copy / "manifest.json").read_text()


@pytest.mark.parametrize("name", ["weights.safetensors", "vision.onnx", "tokenizer.json"])
def test_missing_cut_and_flipped_files_are_named(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[:-1])
    with pytest.raises(ArtifactError, match=rf"{name} has .* bytes instead of"):
        artifact.read_manifest(copy)
    middle = len(whole) // 2
    (copy / name).write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    artifact.read_manifest(copy)
    with pytest.raises(ArtifactError, match=rf"{name} is damaged"):
        artifact.verify_hashes(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is missing"):
        artifact.read_manifest(copy)


def test_a_manifest_that_cannot_be_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json is missing"):
        artifact.read_manifest(tmp_path)
    _edit(copy, lambda raw: raw["files"].update({"../weights": {"bytes": 1, "sha256": ""}}))
    with pytest.raises(ArtifactError, match="outside the artifact's folder"):
        artifact.read_manifest(copy)
    _edit(copy, lambda raw: raw.pop("generation"))
    with pytest.raises(ArtifactError, match="is not a manifest"):
        artifact.read_manifest(copy)
    _edit(copy, lambda raw: raw.update(schema=99))
    with pytest.raises(ArtifactError, match="of schema 99"):
        artifact.read_manifest(copy)
    (copy / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        artifact.read_manifest(copy)
