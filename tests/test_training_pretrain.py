"""The miniature's training, a few steps of it: it runs, goes on where it stopped, and the losses are numbers."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Florence2ForConditionalGeneration

from handler.florence import locations
from training import miniature, pretrain, shapes


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "BATCH", 2)
    monkeypatch.setattr(pretrain, "SAVE_EVERY", 2)


class Interrupted(Exception):
    """Ends a training run from within."""


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = pretrain.answer
    calls: list[int] = []
    losses: list[float] = []
    loss = pretrain.AnswerLoss.forward

    def count(self: pretrain.AnswerLoss, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        told = loss(self, logits, labels)
        losses.append(told.item())
        return told

    def stop(*arguments: object) -> object:
        if len(calls) == 3:
            raise Interrupted
        calls.append(1)
        return taught(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pretrain.AnswerLoss, "forward", count)
    with monkeypatch.context() as patch:
        patch.setattr(pretrain, "answer", stop)
        with pytest.raises(Interrupted):
            pretrain.train(tmp_path, steps=4, seed=1)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["step"] == 2
    pretrain.train(tmp_path, steps=4, seed=1)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 4
    assert len(losses) == 3 + 2
    assert all(map(math.isfinite, losses))
    assert losses[2] == pytest.approx(losses[3], rel=1e-3)  # step 3, before and after the interruption
    words = miniature.train_tokenizer()
    expected = miniature.create(words.get_vocab_size(), seed=2)
    expected.load_state_dict(state["model"])
    miniature.set_apart(expected, miniature.untaught(words), seed=1)
    saved = Florence2ForConditionalGeneration.from_pretrained(tmp_path / "checkpoint").state_dict()
    for name, weight in expected.state_dict().items():
        torch.testing.assert_close(saved[name], weight)
    with (tmp_path / "losses.csv").open() as log:
        assert next(csv.reader(log))[0] == "step"


def test_batches_do_not_depend_on_where_the_run_began() -> None:
    tokenizer = miniature.train_tokenizer()
    through = list(pretrain.Lessons(tokenizer, seed=1, start=0, steps=3))
    resumed = next(iter(pretrain.Lessons(tokenizer, seed=1, start=2, steps=3)))
    assert torch.equal(through[2].pixels, resumed.pixels)
    assert torch.equal(through[2].labels, resumed.labels)
    assert resumed.pixels.shape == (2, 3, miniature.IMAGE_SIZE, miniature.IMAGE_SIZE)
    assert len(resumed.picture) == len(resumed.prompt) == len(resumed.labels) == 2 * pretrain.LESSONS


def test_a_location_next_to_the_true_one_costs_less_than_one_far_away() -> None:
    criterion = pretrain.AnswerLoss(first_location=10)
    labels = torch.tensor([[10 + 500]])

    def cost(bin_: int) -> float:
        logits = torch.zeros(1, 1, 10 + locations.BINS)
        logits[0, 0, 10 + bin_] = 8
        return float(criterion(logits, labels))

    assert cost(500) < cost(503) < cost(560)


def test_words_cost_plain_cross_entropy_and_padding_nothing() -> None:
    criterion = pretrain.AnswerLoss(first_location=10)
    logits = torch.randn(1, 3, 10 + locations.BINS, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[4, 7, -100]])
    assert criterion(logits, labels) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits[0, :2], labels[0, :2]))
    )


def test_the_dense_grid_marks_each_things_cell() -> None:
    scene = shapes.draw(7, 0)
    grid = pretrain._grid(scene)
    marked = grid[grid[..., 0] == 1]
    assert 1 <= len(marked) <= len(scene.things)
    boxes = [np.array(t.box) / np.tile(scene.image.size, 2) for t in scene.things]
    for cell in marked:
        assert min(np.abs(cell[4:] - box).max() for box in boxes) < 1e-6
