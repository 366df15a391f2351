"""Adapters trained with PEFT itself fuse to what PEFT merges; everything that would land in part is refused by name."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import Florence2ForConditionalGeneration

from build import adapter, checkpoint
from build.errors import AdapterError, WeightsError

# PEFT 0.21 reads a property that transformers 5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

TEXT = ["q_proj", "v_proj"]
EVERYWHERE = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "qkv", "proj", "image_projection"]
CONVOLUTIONS = r".*vision_tower\.convs\.\d\.conv"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    directory = tmp_path_factory.mktemp("base")
    checkpoints.save_native(directory)
    return checkpoint.load(directory)


def trained(base: checkpoint.Checkpoint, **settings: Any) -> PeftModel:
    """A PEFT model over the base, every one of its adapter's tensors drawn anew: B is no longer zero."""
    model = get_peft_model(copy.deepcopy(checkpoint.to_transformers(base)), LoraConfig(**settings)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_magnitude_vector" in name:
                tensor.mul_(1 + 0.2 * torch.randn(tensor.shape, generator=generator))
            elif "lora_" in name:
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


@torch.inference_mode()
def logits(model: Florence2ForConditionalGeneration | PeftModel) -> torch.Tensor:
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[model.config.image_token_id] * 37 + [0, 40, 41, 42, 2]])
    scores: torch.Tensor = model(
        input_ids=ids, pixel_values=image, decoder_input_ids=torch.tensor([[2, 0, 50, 51]])
    ).logits
    return scores


# Fused is what PEFT merges


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"target_modules": TEXT, "r": 8, "lora_alpha": 16}, id="text"),
        pytest.param({"target_modules": EVERYWHERE, "r": 4, "lora_alpha": 6}, id="everywhere"),
        pytest.param({"target_modules": "all-linear", "r": 2, "lora_alpha": 3}, id="all-linear"),
        pytest.param({"target_modules": ["qkv"], "r": 4, "lora_alpha": 32}, id="vision"),
        pytest.param({"target_modules": TEXT, "r": 8, "lora_alpha": 16, "use_rslora": True}, id="rank-stabilised"),
        pytest.param({"target_modules": EVERYWHERE, "r": 4, "lora_alpha": 6, "use_dora": True}, id="dora"),
        pytest.param(
            {"target_modules": EVERYWHERE, "r": 4, "lora_alpha": 6, "use_dora": True, "use_rslora": True},
            id="rank-stabilised-dora",
        ),
        pytest.param({"target_modules": CONVOLUTIONS, "r": 3, "lora_alpha": 5}, id="convolutions"),
        pytest.param({"target_modules": CONVOLUTIONS, "r": 3, "lora_alpha": 5, "use_dora": True}, id="dora-conv"),
        pytest.param(
            {
                "target_modules": EVERYWHERE,
                "r": 4,
                "lora_alpha": 6,
                "rank_pattern": {"q_proj": 7, r"encoder\.layers\.1\.fc[12]": 2, "window_attn.qkv": 5},
                "alpha_pattern": {"decoder.layers.0.self_attn.v_proj": 99, "channel_attn.proj": 1},
            },
            id="patterns",
        ),
        pytest.param({"target_modules": TEXT, "init_lora_weights": "gaussian", "lora_dropout": 0.1}, id="gaussian"),
    ],
)
def test_fused_is_what_peft_merges(base: checkpoint.Checkpoint, tmp_path: Path, settings: dict[str, Any]) -> None:
    model = trained(base, **settings)
    model.save_pretrained(tmp_path)
    fused, landings = adapter.fuse(base, adapter.load(tmp_path))
    adapted = logits(model)
    merged = model.merge_and_unload()
    ours = logits(checkpoint.to_transformers(fused))
    assert (ours - logits(merged)).abs().max() <= 1e-5
    assert (ours - adapted).abs().max() <= 1e-4
    assert (ours - logits(checkpoint.to_transformers(base))).abs().max() > 0.01

    state = {name: tensor for name, tensor in merged.state_dict().items() if name not in checkpoints.ALIASES}
    changed = {name for name, tensor in state.items() if not torch.equal(tensor, base.tensors[name])}
    assert {f"{landing.module}.weight" for landing in landings} == changed
    for name, tensor in state.items():
        torch.testing.assert_close(fused.tensors[name], tensor, atol=1e-6, rtol=1e-5)


def test_fan_in_fan_out_changes_nothing_on_linear_layers(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Setting fan_in_fan_out to False"):
        model = trained(base, target_modules=TEXT, fan_in_fan_out=True)
    model.save_pretrained(tmp_path)
    edit_settings(tmp_path, fan_in_fan_out=True)
    fused, _ = adapter.fuse(base, adapter.load(tmp_path))
    assert (logits(checkpoint.to_transformers(fused)) - logits(model.merge_and_unload())).abs().max() <= 1e-5


def test_the_proof_states_each_pairs_change(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    trained(base, target_modules=TEXT, r=8, lora_alpha=16).save_pretrained(tmp_path)
    loaded = adapter.load(tmp_path)
    before = {name: tensor.clone() for name, tensor in base.tensors.items()}
    fused, landings = adapter.fuse(base, loaded)
    assert len(landings) == 2 * (2 + 2 * 3)  # q and v in the encoder's two layers, and twice in the decoder's three
    for pair, landing in zip(loaded.pairs, landings, strict=True):
        name = f"{pair.module}.weight"
        change = fused.tensors[name].double() - before[name].double()
        assert (landing.module, landing.rank, landing.scale) == (pair.module, 8, 2.0)
        assert landing.largest == pytest.approx(change.abs().max().item(), rel=1e-6)
        assert landing.relative == pytest.approx((change.norm() / before[name].double().norm()).item(), rel=1e-5)
        assert landing.largest > 0
    assert all(torch.equal(base.tensors[name], tensor) for name, tensor in before.items())
    assert json.loads(json.dumps([dataclasses.asdict(landing) for landing in landings]))


# Where adapters come from


def renamed(directory: Path, rename: Any) -> None:
    """Rewrites the adapter's tensor names."""
    file = directory / "adapter_model.safetensors"
    save_file({rename(name): tensor for name, tensor in load_file(file).items()}, file)


def microsoft_adapter_name(name: str) -> str:
    """As PEFT names the tensor in a model of Microsoft's layout."""
    module, dot, part = name.removeprefix("base_model.model.").partition(".lora_")
    return f"base_model.model.{checkpoints.microsoft_name(module)}{dot}{part}"


@pytest.mark.parametrize(
    "rename",
    [
        microsoft_adapter_name,
        lambda name: name.replace(".weight", ".default.weight"),
        lambda name: microsoft_adapter_name(name).replace(".weight", ".coco.weight"),
        lambda name: name.removeprefix("base_model.model."),
    ],
    ids=["microsoft", "with the adapter's name", "both", "without prefix"],
)
@pytest.mark.parametrize("use_dora", [False, True])
def test_either_layouts_names(base: checkpoint.Checkpoint, tmp_path: Path, rename: Any, use_dora: bool) -> None:
    targets = [*EVERYWHERE[:-1], "conv"]  # image_projection is no module in Microsoft's layout
    trained(base, target_modules=targets, use_dora=use_dora).save_pretrained(tmp_path)
    native, landings = adapter.fuse(base, adapter.load(tmp_path))
    renamed(tmp_path, rename)
    other, other_landings = adapter.fuse(base, adapter.load(tmp_path))
    assert sorted(other_landings, key=str) == sorted(landings, key=str)
    assert all(torch.equal(native.tensors[name], tensor) for name, tensor in other.tensors.items())


def test_patterns_match_the_names_of_the_layout_it_was_trained_on(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    trained(base, target_modules=["qkv"], r=4, lora_alpha=6).save_pretrained(tmp_path)
    renamed(tmp_path, microsoft_adapter_name)
    edit_settings(tmp_path, alpha_pattern={"window_attn.fn.qkv": 12})
    scales = {pair.module.split(".")[-2]: pair.scale for pair in adapter.load(tmp_path).pairs}
    assert scales == {"window_attn": 3.0, "channel_attn": 1.5}


@pytest.mark.parametrize("as_file", [True, False])
def test_a_bare_file_of_raw_tensors(base: checkpoint.Checkpoint, tmp_path: Path, as_file: bool) -> None:
    """What is left where saving through PEFT fails on tied weights: tensors, no settings."""
    model = trained(base, target_modules=TEXT, r=8, lora_alpha=16)
    whole, bare = tmp_path / "whole", tmp_path / "bare"
    model.save_pretrained(whole)
    bare.mkdir()
    file = bare / "adapter_model.safetensors"
    save_file(get_peft_model_state_dict(model), file)
    source = file if as_file else bare
    with pytest.raises(AdapterError, match=r"no lora_alpha in .*adapter_config\.json: give the alpha .*--alpha"):
        adapter.load(source)
    expected, _ = adapter.fuse(base, adapter.load(whole))
    fused, landings = adapter.fuse(base, adapter.load(source, alpha=16))
    assert {landing.rank for landing in landings} == {8}
    assert all(torch.equal(expected.tensors[name], tensor) for name, tensor in fused.tensors.items())


def test_a_pickle_and_half_precision(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    trained(base, target_modules=TEXT).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(file).items()}
    file.unlink()
    torch.save(tensors, tmp_path / "adapter_model.bin")
    loaded = adapter.load(tmp_path)
    assert list(loaded.sha256) == ["adapter_model.bin"]
    by_module = {pair.module: pair for pair in loaded.pairs}
    name = "model.language_model.encoder.layers.0.self_attn.q_proj"
    assert torch.equal(by_module[name].a, tensors[f"base_model.model.{name}.lora_A.weight"].float())
    adapter.fuse(base, loaded)


def test_peft_settings_of_older_versions(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    trained(base, target_modules=TEXT, r=8, lora_alpha=16).save_pretrained(tmp_path)
    expected, _ = adapter.fuse(base, adapter.load(tmp_path))
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": TEXT, "bias": "none"})
    )
    fused, _ = adapter.fuse(base, adapter.load(tmp_path, alpha=16))
    assert all(torch.equal(expected.tensors[name], tensor) for name, tensor in fused.tensors.items())


# What is refused


def edit_settings(directory: Path, **changes: Any) -> None:
    file = directory / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


Q = "base_model.model.model.language_model.encoder.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop(f"{Q}.lora_B.weight"),
            r"1 modules have not exactly .*layers\.0\.self_attn\.q_proj \(has lora_A",
        ),
        (lambda t: t.pop(f"{Q}.lora_A.weight"), r"\(has lora_B\)"),
        (lambda t: t.clear(), "holds no tensors"),
        (lambda t: t.update({f"{Q}.lora_magnitude_vector": torch.ones(48)}), "lora_B, lora_magnitude_vector"),
        (lambda t: t.update({f"{Q}.lora_A.other.weight": torch.ones(8, 48)}), "more than one adapter"),
        (lambda t: t.update({f"{Q}.lora_A.weight": torch.ones(7, 48)}), "do not multiply"),
        (lambda t: t[f"{Q}.lora_A.weight"].fill_(float("inf")), rf"1 tensors hold numbers .* {Q}\.lora_A\.weight"),
        (lambda t: t.update({f"{Q}.lora_B.bias": torch.ones(48)}), rf"1 tensors are no part .* {Q}\.lora_B\.bias"),
        (lambda t: t.update({f"{Q}.bias": torch.ones(48)}), r"cannot be fused: .*q_proj\.bias"),
        (lambda t: t.update({"base_model.model.lm_head.weight": torch.ones(3)}), r"cannot be fused: .*lm_head\.weight"),
        (lambda t: t.update({"x.lora_embedding_A": torch.ones(3)}), r"cannot be fused: x\.lora_embedding_A"),
        (
            lambda t: t.update({microsoft_adapter_name(f"{Q}.lora_{f}.weight"): torch.ones(8, 8) for f in "AB"}),
            r"1 modules are there in both layouts' names: .*q_proj",
        ),
    ],
)
def test_tensors_that_are_no_whole_pairs(base: Any, tmp_path: Path, change: Any, message: str) -> None:
    trained(base, target_modules=TEXT, r=8, lora_alpha=16).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(AdapterError, match=message):
        adapter.load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "LOHA"}, "does not describe a LoRA adapter"),
        ({"r": 4}, r"q_proj has rank 8, and adapter_config\.json says 4"),
        ({"rank_pattern": {"q_proj": 2}}, "q_proj has rank 8, .* says 2"),
        ({"lora_alpha": None}, "no lora_alpha"),
        ({"use_dora": True}, r"16 modules have not exactly .* and 11 more"),
        ({"bias": "all"}, "bias = 'all'"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save = \['lm_head'\]"),
        ({"target_parameters": ["image_projection"]}, "target_parameters"),
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights = 'pissa_niter_4'"),
        ({"use_something_new": True}, "use_something_new = True"),
    ],
)
def test_settings_that_would_be_ignored(base: Any, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    trained(base, target_modules=TEXT, r=8, lora_alpha=16).save_pretrained(tmp_path)
    edit_settings(tmp_path, **changes)
    with pytest.raises(AdapterError, match=message):
        adapter.load(tmp_path)


def test_an_alpha_that_contradicts_the_settings(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    trained(base, target_modules=TEXT, r=8, lora_alpha=16).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="lora_alpha is 16, and 32 was given"):
        adapter.load(tmp_path, alpha=32)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        (lambda name: name.replace(".layers.1.", ".layers.7."), r"6 of the 16 pairs .* does not have: .*layers\.7\."),
        (lambda name: name.replace("language_model.", ""), r"16 of the 16 pairs .* does not have"),
        (
            lambda name: name.replace("encoder.layers.0.self_attn.q_proj", "encoder.layers.0.fc1"),
            r"1 of the 16 pairs .* do not fit .*encoder\.layers\.0\.fc1 \[48, 48\] for \[80, 48\]",
        ),
    ],
)
def test_an_adapter_for_another_base(base: Any, tmp_path: Path, rename: Any, message: str) -> None:
    trained(base, target_modules=r".*self_attn\.(q|v)_proj|.*encoder_attn\.(q|v)_proj").save_pretrained(tmp_path)
    renamed(tmp_path, rename)
    with pytest.raises(AdapterError, match=message):
        adapter.fuse(base, adapter.load(tmp_path))


def test_a_depthwise_convolution_does_not_fit(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    """PEFT trains such pairs and cannot merge them."""
    with pytest.warns(UserWarning, match="Merging is not supported"):
        model = trained(base, target_modules=r".*blocks\.0\.0\.spatial_block\.conv1", r=16)
    model.save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"spatial_block\.conv1"):
        adapter.fuse(base, adapter.load(tmp_path))


def test_the_tied_output_projection(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    trained(base, target_modules=TEXT).save_pretrained(tmp_path)
    renamed(tmp_path, lambda name: name.replace(Q, "base_model.model.lm_head"))
    with pytest.raises(AdapterError, match="changes lm_head, which Florence-2 ties"):
        adapter.fuse(base, adapter.load(tmp_path))


def test_an_untrained_adapter(base: checkpoint.Checkpoint, tmp_path: Path) -> None:
    get_peft_model(checkpoint.to_transformers(base), LoraConfig(target_modules=TEXT)).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="changes no weight: it was saved before it was trained"):
        adapter.fuse(base, adapter.load(tmp_path))


def test_a_directory_without_an_adapter(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(AdapterError, match=r"holds neither adapter_model\.safetensors nor adapter_model\.bin"):
            adapter.load(path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"version https://git-lfs")
    with pytest.raises(WeightsError, match=r"adapter_model\.safetensors"):
        adapter.load(tmp_path, alpha=16)
