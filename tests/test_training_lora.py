"""What LoRA is attached to, what it costs, what it learns from, and what is saved of it."""

import copy
import json
import os
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import safetensors.torch
import torch
from peft import PeftModel
from torch import nn
from transformers import Florence2ForConditionalGeneration

from build import adapter, architecture, checkpoint
from handler.florence import tasks
from training import lora
from training.dataset import Collate, Example

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # PEFT 0.21 reads a property that transformers 5 has renamed.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

Model = Florence2ForConditionalGeneration
SIZE = 96  # pixels a side
STATED = lora.Provenance(
    base="florence-community/Florence-2-base",
    revision="0" * 40,
    image_size=SIZE,
    prompts=tasks.fingerprint(),
    data="d" * 64,
    preset="text",
    seed=7,
    steps=123,
    tools=lora.tools(),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("base")
    checkpoints.save_native(directory)
    return directory


def load(base: Path) -> Model:
    model: Model = Model.from_pretrained(base, dtype=torch.float32)
    return model


def trained(base: Path, preset: lora.Preset) -> PeftModel:
    """Every one of the adapter's numbers drawn anew, as if it had been trained: B is no longer zero."""
    model = lora.attach(load(base), preset, seed=1).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def batch(model: Any, answers: list[list[int]], prompts: list[list[int]]) -> dict[str, torch.Tensor]:
    pixels = np.random.default_rng(0).standard_normal((len(answers), 3, SIZE, SIZE)).astype(np.float32)
    rows = zip(pixels, prompts, answers, strict=True)
    # This tiny tower has a stride of 16, not Florence-2's 32: three times as many tokens a side.
    return Collate(2 * SIZE, model.config.image_token_id)(
        [Example(1, "<CAPTION>", image, prompt, answer) for image, prompt, answer in rows]
    ) | {"pixel_values": torch.from_numpy(pixels)}


@torch.inference_mode()
def logits(model: Any) -> torch.Tensor:
    scores: torch.Tensor = model(**batch(model, [[0, 50, 51, 2]], [[0, 40, 41, 42, 2]])).logits
    return scores


def adapted(model: PeftModel) -> set[str]:
    """The modules with an adapter, by the base's names."""
    ends = (".lora_A.default", "base_model.model.")
    names = (name for name, _ in model.named_modules())
    return {name.removesuffix(ends[0]).removeprefix(ends[1]) for name in names if name.endswith(ends[0])}


# What it is attached to


def test_the_default_preset_reaches_the_text_model_alone_and_costs_what_is_said(refdata: Path) -> None:
    """Florence-2-base's true shape, without its numbers: 36 modules, 442,368 parameters, 0.19 %."""
    described = architecture.read(refdata / "florence2_tokenizer")
    with torch.device("meta"):
        full: Any = Model(architecture.transformers_config(described))
    inside = sum(parameter.numel() for parameter in full.parameters())
    model = lora.attach(full, lora.PRESETS["text"], seed=1)
    modules = adapted(model)
    # Six layers of encoder, six of decoder with two attentions each; q and v of each.
    assert len(modules) == (6 + 2 * 6) * 2 == 36
    assert all(name.startswith("model.language_model.") for name in modules)
    count, total = lora.trainable(model)
    assert count == 36 * 8 * (768 + 768) == 442_368
    assert total == inside + count
    assert f"{count / total:.2%}" == "0.19%"


def test_each_preset_reaches_what_its_name_says(base: Path) -> None:
    linear = {name for name, module in load(base).named_modules() if isinstance(module, nn.Linear)} - {"lm_head"}
    text = {name for name in linear if name.endswith(("q_proj", "v_proj"))}
    qkv = {name for name in linear if name.endswith(".qkv")}
    wanted = {"text": text, "text-vision": text | qkv}
    assert len(qkv) == 8  # a window and a channel block in each of the tower's four
    for name, preset in lora.PRESETS.items():
        model = lora.attach(load(base), preset, seed=1)
        assert adapted(model) == wanted.get(name, linear), name
        learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        assert learning
        assert all(".lora_" in name for name in learning)
        magnitudes = sum("lora_magnitude_vector" in name for name in learning)
        assert magnitudes == (len(linear) if preset.dora else 0)


@pytest.mark.parametrize("name", lora.PRESETS)
def test_a_fresh_adapter_changes_no_answer_and_learns_from_the_first_step(base: Path, name: str) -> None:
    model: Any = lora.attach(load(base), lora.PRESETS[name], seed=1)
    assert torch.allclose(logits(model.eval()), logits(load(base)), atol=2e-5)  # DoRA divides and multiplies by norms
    model(**batch(model, [[0, 50, 51, 2]], [[0, 40, 41, 2]])).loss.backward()
    moved = [p.grad.abs().max().item() for n, p in model.named_parameters() if p.requires_grad and "lora_B" in n]
    assert min(moved) > 0


def test_the_seed_decides_where_the_adapter_begins(base: Path) -> None:
    one, same, other = (
        {
            name: p
            for name, p in lora.attach(load(base), lora.PRESETS["text"], seed).named_parameters()
            if "lora_A" in name
        }
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


# What it learns from


def test_the_loss_is_that_of_the_answers_tokens_alone(base: Path) -> None:
    """Against cross-entropy by hand, row by row, without any padding: each row alone, its answer fed one to the right
    behind Florence-2's decoder start."""
    model: Any = load(base).eval()
    answers = [[0, 50, 51, 52, 53, 54, 2], [0, 60, 2], [0, 70, 71, 2]]
    prompts = [[0, 40, 2], [0, 40, 41, 42, 43, 2], [0, 44, 45, 2]]
    whole = batch(model, answers, prompts)
    with torch.inference_mode():
        loss = model(**whole).loss.item()
        losses = []
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            image = whole["input_ids"][row][whole["input_ids"][row] == model.config.image_token_id]
            scores = model(
                input_ids=torch.cat([image, torch.tensor(prompt)])[None],
                pixel_values=whole["pixel_values"][row][None],
                decoder_input_ids=torch.tensor([[2, *answer[:-1]]]),
            ).logits[0]
            losses += [-scores[i].log_softmax(-1)[token].item() for i, token in enumerate(answer)]
    assert len(losses) == 14
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)


# What is saved


@pytest.mark.parametrize("name", lora.PRESETS)
def test_it_opens_in_peft_and_in_the_build_and_answers_the_same(base: Path, tmp_path: Path, name: str) -> None:
    model = trained(base, lora.PRESETS[name])
    lora.save(model, tmp_path, STATED)
    opened = PeftModel.from_pretrained(load(base), str(tmp_path)).eval()
    assert (logits(opened) - logits(model)).abs().max() <= 1e-6
    fused, landings = adapter.fuse(checkpoint.load(base), adapter.load(tmp_path))
    assert {landing.module for landing in landings} == adapted(model)
    merged, ours = logits(opened.merge_and_unload()), logits(checkpoint.to_transformers(fused))
    assert (ours - merged).abs().max() <= 1e-5
    assert (ours - logits(load(base))).abs().max() > 0.01


def test_the_usual_ways_to_save_fail_or_store_the_embedding_twice_and_ours_does_neither(
    base: Path, tmp_path: Path
) -> None:
    """Florence-2 ties the embeddings of encoder, decoder and output."""
    model = trained(base, lora.PRESETS["text"])
    with pytest.raises(RuntimeError, match="Some tensors share memory"):
        safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    model.save_pretrained(tmp_path / "peft", save_embedding_layers=True)  # as PEFT does where the vocabulary has grown
    theirs = safetensors.torch.load_file(tmp_path / "peft" / lora.WEIGHTS)
    embeddings = [name for name in theirs if ".lora_" not in name]
    assert len(embeddings) == 2
    assert torch.equal(*(theirs[name] for name in embeddings))
    lora.save(model, tmp_path / "ours", STATED)
    ours = safetensors.torch.load_file(tmp_path / "ours" / lora.WEIGHTS)
    assert set(ours) == set(theirs) - set(embeddings)
    assert sum(tensor.numel() for tensor in ours.values()) == lora.trainable(model)[0]


def test_the_same_adapter_is_the_same_bytes(base: Path, tmp_path: Path) -> None:
    for folder in ("one", "other"):
        lora.save(trained(base, lora.PRESETS["linear"]), tmp_path / folder, STATED)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted((lora.WEIGHTS, lora.CONFIG, lora.PROVENANCE))
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_where_it_came_from_stands_beside_it(base: Path, tmp_path: Path) -> None:
    lora.save(trained(base, lora.PRESETS["text"]), tmp_path, STATED)
    told = json.loads((tmp_path / lora.PROVENANCE).read_text())
    assert {name: told[name] for name in ("base", "revision", "data", "seed", "image_size", "prompts")} == {
        "base": "florence-community/Florence-2-base",
        "revision": "0" * 40,
        "data": "d" * 64,
        "seed": 7,
        "image_size": SIZE,
        "prompts": tasks.fingerprint(),
    }
    assert set(told["tools"]) == {"torch", "transformers", "peft"}
    config = json.loads((tmp_path / lora.CONFIG).read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (told["base"], told["revision"])


@pytest.mark.parametrize("dying", range(3))
def test_a_save_that_dies_leaves_what_was_there(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dying: int
) -> None:
    """At each of the three files: no file is ever half written, and without its weights an adapter is none."""
    calls = 0
    fsync = os.fsync

    def fails(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > dying:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    model = trained(base, lora.PRESETS["text"])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="No space"):
            lora.save(model, tmp_path, STATED)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted((lora.PROVENANCE, lora.CONFIG)[:dying])  # whole ones, and no temporary file
    for name in left:
        json.loads((tmp_path / name).read_text())
    lora.save(model, tmp_path, STATED)
    assert adapter.load(tmp_path).pairs


def test_saving_leaves_the_model_as_it_was(base: Path, tmp_path: Path) -> None:
    model = trained(base, lora.PRESETS["text"])
    before, config = logits(model), copy.deepcopy(model.peft_config["default"].to_dict())
    lora.save(model, tmp_path, STATED)
    assert torch.equal(logits(model), before)
    assert model.peft_config["default"].to_dict() == config
