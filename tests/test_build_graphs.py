"""The fp32 graphs against transformers' own model on the same weights."""

from pathlib import Path

import artifacts
import checkpoints
import numpy as np
import pytest
import torch
from conftest import ROOT

from build import checkpoint
from handler.florence.engine import Engine

PROMPTS = [[0, 5, 6, 7, 8, 2], [0, 9, 2]]
ANSWER = [2, 0, 11, 12, 13]


@pytest.mark.parametrize(
    ("base", "size", "seen"),
    [
        ("tiny", 96, 96),
        ("tiny", 80, 80),
        ("miniature", 128, 128),
        ("miniature", 160, 160),
        ("miniature", 384, 96),
        ("miniature", 64, 192),
    ],
)
def test_features_and_scores_are_transformers_own(base: str, size: int, seen: int, tmp_path: Path) -> None:
    """`size`: what the graph is laid out for; `seen`: the image's. At 80 and 160 pixels the windows of some stages are
    padded."""
    if base == "tiny":
        (tmp_path / "checkpoint").mkdir()
        checkpoints.save_native(tmp_path / "checkpoint")
        loaded = checkpoint.load(tmp_path / "checkpoint")
    else:
        loaded = checkpoint.load(ROOT / "models" / "mini-checkpoint")
    model = checkpoint.to_transformers(loaded)
    (tmp_path / "artifact").mkdir()
    engine = Engine(tmp_path / "artifact", artifacts.write(loaded, size, tmp_path / "artifact"))
    pixels = np.random.default_rng(0).normal(size=(1, 3, seen, seen)).astype(np.float32)
    features = engine.see(pixels)
    expected = model.get_image_features(torch.from_numpy(pixels)).pooler_output.numpy()
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= 1e-4 * np.abs(expected).max()

    # Both prompts side by side: the shorter one's memory is padded.
    memory, cache = engine.encode(features, PROMPTS), engine.start(2)
    scores, cache = engine.step(np.array([ANSWER[:2]] * 2), cache, memory)
    steps = [scores]
    for token in ANSWER[2:]:
        scores, cache = engine.step(np.array([[token]] * 2), cache, memory)
        steps.append(scores)
    for row, prompt in enumerate(PROMPTS):
        ids = [loaded.architecture.image_token] * features.shape[1] + prompt
        expected = model(
            input_ids=torch.tensor([ids]),
            pixel_values=torch.from_numpy(pixels),
            decoder_input_ids=torch.tensor([ANSWER]),
        ).logits.numpy()[0]
        ours = np.stack([step[row] for step in steps])
        assert np.abs(ours - expected[1:]).max() <= 1e-4 * np.abs(expected).max()
