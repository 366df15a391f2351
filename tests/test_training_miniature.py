"""The miniature as it is committed: what it can be taught, and what was left as training made it."""

import numpy as np
import pytest
import tokenizers
import torch
import training_runs
from torch.nn import functional

from handler.florence.tokenizer import complete
from training import base, miniature, shapes
from training.lessons import TASKS, lesson


def likeliest(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    """For each token the highest probability that any state of the decoder gives it, found by ascent: float [N].

    A state is what the last layer's norm makes of anything; LoRA changes what goes in, and neither the norm nor the
    embedding that comes after it.
    """
    core = model.get_submodule("model.language_model")
    norm, embedding = core.get_submodule("decoder.layers.2.final_layer_norm"), core.get_parameter("shared.weight")
    state = embedding[tokens].detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([state], lr=0.1)
    for _ in range(200):
        chosen = functional.log_softmax(norm(state) @ embedding.detach().T, dim=-1)[range(len(tokens)), tokens]
        optimiser.zero_grad()
        (-chosen.sum()).backward()
        optimiser.step()
    return chosen.detach().exp()


def test_every_word_can_be_taught() -> None:
    """An adapter's answers are read off by the base's embedding: a word that has no place of its own there stays
    unlikely however long it is taught, and so does the score of what it names."""
    model, words = base.load(training_runs.MINIATURE)
    tokens = list(range(miniature.SPECIAL, words.token_to_id("<loc_0>")))
    assert likeliest(model, tokens).min() > 0.8


def test_words_that_training_has_pushed_to_one_place_are_set_apart_and_no_others() -> None:
    words = tokenizers.Tokenizer.from_file(str(training_runs.MINIATURE / "tokenizer.json"))
    complete(words)
    untaught = miniature.untaught(words)
    for word in (shapes.NEW_SHAPE, " sitting next to"):
        assert set(words.encode(word, add_special_tokens=False).ids) & set(untaught)
    met = lesson(shapes.draw(9, 9), TASKS[0], np.random.default_rng(0))
    assert not {*words.encode(met.prompt).ids, *words.encode(met.answer).ids} & set(untaught)

    model = miniature.create(words.get_vocab_size(), seed=1)
    shared = model.get_input_embeddings().weight.data
    shared[untaught] = shared[untaught[0]].clone()
    assert likeliest(model, untaught).max() < 0.1
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    miniature.set_apart(model, untaught, seed=1)
    assert likeliest(model, untaught).min() > 0.8
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in changed} <= {"shared", "lm_head", "embed_tokens"}
    others = [token for token in range(len(shared)) if token not in set(untaught)]
    assert torch.equal(shared[others], before["model.language_model.shared.weight"][others])
    apart = (shared[untaught] - before["model.language_model.shared.weight"][untaught]).norm(dim=1)
    assert float(apart.mean()) == pytest.approx(1.0, abs=0.02)
