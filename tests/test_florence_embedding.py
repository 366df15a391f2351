"""The token embedding, read out of an artifact's file of weights."""

import re
from pathlib import Path

import artifacts
import numpy as np
import pytest
import safetensors.numpy
from conftest import ROOT

from build import checkpoint, quantise
from build.precision import Kind
from handler.florence import artifact
from handler.florence.embedding import Embedding
from handler.florence.errors import ArtifactError

IDS = np.array([[2, 0, 40], [1399, 7, 2]])


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    loaded = checkpoint.load(ROOT / "models" / "mini-checkpoint")
    return np.asarray(loaded.tensors["model.language_model.shared.weight"].numpy())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_rows_are_the_checkpoints(precision: Kind, table: np.ndarray, tmp_path: Path) -> None:
    loaded = checkpoint.load(ROOT / "models" / "mini-checkpoint")
    artifacts.write(loaded, 128, tmp_path, precision)
    rows = Embedding(tmp_path / artifact.WEIGHTS, table.shape[1]).look_up(IDS)
    assert rows.shape == (2, 3, table.shape[1])
    assert rows.dtype == np.float32
    if precision == "fp32":
        np.testing.assert_array_equal(rows, table[IDS])
    else:  # half a step of int8 away at most
        assert (np.abs(rows - table[IDS]).max(-1) <= np.abs(table[IDS]).max(-1) / 127 * 0.5001).all()


def test_a_last_block_that_is_not_full_is_cut(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(9, quantise.BLOCK + 40)).astype(np.float32)
    weight, scale = quantise.by_block(table)
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file({"text.embedding.weight": weight, "text.embedding.scale": scale}, path)
    rows = Embedding(path, table.shape[1]).look_up(np.array([[8, 3]]))
    assert rows.shape == (1, 2, quantise.BLOCK + 40)
    np.testing.assert_allclose(rows[0], table[[8, 3]], atol=np.abs(table).max() / 127 * 0.5001)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, None], ids=["empty", "no header", "other tensors"])
def test_a_file_without_it_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if content is None:
        safetensors.numpy.save_file({"another": np.zeros(3, np.float32)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{re.escape(str(path))} holds no embedding: .*Build the artifact again"):
        Embedding(path, 8)
