"""Both layouts load to the same tensors; everything that does not fit is refused by name."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Florence2ForConditionalGeneration

from build import architecture, checkpoint, layout
from build.errors import CheckpointError, WeightsError

REVISION = "5ca5edf5bd017b9919c05d08aebef5e4c7ac3bac"


def assert_same(loaded: checkpoint.Checkpoint, model: Florence2ForConditionalGeneration) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in checkpoints.ALIASES}
    assert list(loaded.tensors) == list(state)
    for name, tensor in state.items():
        assert loaded.tensors[name].dtype == torch.float32
        assert loaded.tensors[name].is_contiguous()
        assert torch.equal(loaded.tensors[name], tensor), name


# Layouts, dtypes, containers


def test_microsofts_names_and_shapes_are_transformers_own_renamed(refdata: Path) -> None:
    """All 669 names of Microsoft's model class against the state dict of transformers', at the true configuration."""
    microsoft = json.loads((refdata / "florence2_checkpoint/microsoft_layout.json").read_text())
    config = architecture.transformers_config(architecture.read(refdata / "florence2_tokenizer"))
    with torch.device("meta"):
        state = Florence2ForConditionalGeneration(config).state_dict()
    bias = microsoft.pop("language_model.final_logits_bias")
    assert bias == [1, 51289]
    assert len(microsoft) == len(state) == 668
    shapes = {layout.native_name(name): shape for name, shape in microsoft.items()}
    projection = "model.multi_modal_projector.image_projection.weight"
    assert shapes[projection] == [1024, 768]
    shapes[projection].reverse()
    assert shapes == {name: list(tensor.shape) for name, tensor in state.items()}
    assert {checkpoints.microsoft_name(name) for name in state} == microsoft.keys()
    assert all(layout.native_name(name) == name for name in state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("pickled", [True, False])
def test_microsofts_layout_loads_to_the_same_tensors(tmp_path: Path, dtype: torch.dtype, pickled: bool) -> None:
    model = checkpoints.save_microsoft(tmp_path, dtype=dtype, pickled=pickled)
    assert_same(checkpoint.load(tmp_path), model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_transformers_layout_loads_to_the_same_tensors(tmp_path: Path, dtype: torch.dtype) -> None:
    model = checkpoints.save_native(tmp_path, dtype=dtype)
    assert_same(checkpoint.load(tmp_path), model)


def test_shards_written_by_transformers(tmp_path: Path) -> None:
    model = checkpoints.save_native(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    loaded = checkpoint.load(tmp_path)
    assert_same(loaded, model)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert loaded.sha256 == {shard.name: hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards}


def test_shards_of_a_pickle(tmp_path: Path) -> None:
    model = checkpoints.save_microsoft(tmp_path)
    whole = tmp_path / "pytorch_model.bin"
    tensors = torch.load(whole)
    whole.unlink()
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: tensors[name] for name in part}, tmp_path / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_same(checkpoint.load(tmp_path), model)

    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(WeightsError, match=r"not beside it: pytorch_model-00002-of-00002\.bin"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_may_keep_only_the_output_projections_name_of_the_embedding(tmp_path: Path) -> None:
    model = checkpoints.save_microsoft(tmp_path, pickled=False)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["language_model.lm_head.weight"] = tensors.pop("language_model.model.shared.weight")
    save_file(tensors, file)
    assert_same(checkpoint.load(tmp_path), model)


# What is refused

Tensors = dict[str, torch.Tensor]


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[Callable[[Tensors], Any]], Path]:
    """A function that writes a tiny checkpoint in Microsoft's layout with its tensors edited."""

    def edit(change: Callable[[Tensors], Any]) -> Path:
        checkpoints.save_microsoft(tmp_path)
        file = tmp_path / "pytorch_model.bin"
        tensors = torch.load(file)
        change(tensors)
        torch.save(tensors, file)
        return tmp_path

    return edit


FC1 = "vision_tower.blocks.0.0.spatial_block.ffn.fn.net.fc1.weight"
NORM = "image_proj_norm.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(FC1), r"1 missing: model\.vision_tower\.blocks\.0\.0\.spatial_block\.ffn\.fc1\.weight"),
        (lambda t: t.update({"adapter.weight": torch.zeros(1)}), r"1 unknown: adapter\.weight"),
        (lambda t: t.update({FC1: torch.zeros(16, 64)}), rf"1 misshapen: {FC1} \[16, 64\] for \[64, 16\]"),
        (lambda t: t.update({NORM: t[NORM].to(torch.int8)}), rf"1 neither fp16, bf16 nor fp32: {NORM}"),
        (lambda t: t.update({NORM: t[NORM] + float("nan")}), rf"1 not finite: {NORM}"),
        (lambda t: t.update({NORM: t[NORM] / 0}), rf"1 not finite: {NORM}"),
        (lambda t: [t.pop(name) for name in list(t) if "encoder.layers" in name], r"32 missing: .* and 27 more"),
        (
            lambda t: t.update({"language_model.lm_head.weight": t["language_model.lm_head.weight"] + 1}),
            r"model\.language_model\.shared\.weight and lm_head\.weight differ",
        ),
        (
            lambda t: t.update({layout.native_name(FC1): t[FC1]}),
            rf"{FC1} and {layout.native_name(FC1)} are the same tensor in two layouts",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(edited: Any, change: Callable[[Tensors], Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(edited(change))


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    checkpoints.save_microsoft(tmp_path)
    torch.save({"image_projection": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin .* cannot be read as weights"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 463\n"])
@pytest.mark.parametrize("pickled", [True, False])
def test_a_file_that_holds_no_weights_is_named(tmp_path: Path, pickled: bool, content: bytes) -> None:
    checkpoints.save_microsoft(tmp_path, pickled=pickled)
    (tmp_path / ("pytorch_model.bin" if pickled else "model.safetensors")).write_bytes(content)
    with pytest.raises(WeightsError, match=r"cannot be read as weights: .* a Git LFS pointer\?"):
        checkpoint.load(tmp_path)


def test_a_truncated_safetensors_file_is_named(tmp_path: Path) -> None:
    checkpoints.save_native(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "pytorch_model.bin"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    checkpoints.save_microsoft(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(CheckpointError, match=missing.replace(".", r"\.")):
        checkpoint.load(tmp_path)


# Settings


def test_the_true_configuration(refdata: Path) -> None:
    """Microsoft's config.json, whose text settings stand in for a generation_config.json that is not there."""
    described = architecture.read(refdata / "florence2_tokenizer")
    assert [stage.dim for stage in described.vision.stages] == [128, 256, 512, 1024]
    assert described.vision.stages[2] == architecture.Stage(512, 9, 16, 16, 3, 2, 1, True)
    assert (described.vision.window, described.vision.max_positions, described.vision.max_temporal) == (12, 50, 100)
    assert described.text == architecture.Text(51289, 768, 6, 6, 12, 12, 3072, 3072, 1024, False)
    assert described.generation == architecture.Generation(0, 1, 2, 2, 0, 2, 3, 3, True, 1.0, None)
    assert described.image_token == 3


def test_both_forms_of_the_configuration_say_the_same(tmp_path: Path) -> None:
    checkpoints.save_microsoft(tmp_path / "microsoft")
    checkpoints.save_native(tmp_path / "native")
    microsoft, native = (architecture.read(tmp_path / name) for name in ("microsoft", "native"))
    assert microsoft.vision == native.vision
    assert microsoft.generation == native.generation
    assert (microsoft.image_token, native.image_token) == (3, microsoft.text.vocabulary)
    assert native.text.vocabulary % 64 == 0


@pytest.mark.parametrize("save", [checkpoints.save_native, checkpoints.save_microsoft])
def test_transformers_configuration_survives_the_round_trip(tmp_path: Path, save: Any) -> None:
    model = save(tmp_path)
    config = architecture.transformers_config(architecture.read(tmp_path))
    assert config.to_dict() == model.config.to_dict() | {"architectures": None, "dtype": None}


def edit_json(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *groups, last = key.split("__")
        target = content
        for group in groups:
            target = target[group]
        if value is None:
            del target[last]
        else:
            target[last] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"model_type": "bart"}, "model_type 'bart', not 'florence2'"),
        ("config.json", {"vision_config": None}, "vision_config"),
        ("config.json", {"vision_config__depths": [1, 2]}, "not Florence-2's"),
        ("config.json", {"vision_config__window_size": "12"}, "window_size"),
        ("config.json", {"vision_config__num_heads": [2, 5, 4]}, "24 channels do not divide into 5 heads"),
        ("config.json", {"vision_config__image_pos_embed__type": "none"}, "image_pos_embed.type is 'none'"),
        ("config.json", {"vision_config__image_feature_source": ["last_frame"]}, "image_feature_source"),
        ("config.json", {"vision_config__projection_dim": 64}, "64 wide, the text model 48"),
        ("config.json", {"text_config__activation_function": "relu"}, "text_config.activation_function is 'relu'"),
        ("config.json", {"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ("generation_config.json", {"do_sample": True}, "do_sample is True, which the decoding does not have"),
        ("generation_config.json", {"repetition_penalty": 1.2}, "repetition_penalty is 1.2"),
        ("generation_config.json", {"early_stopping": "never"}, "early_stopping is 'never', not of type bool"),
        ("generation_config.json", {"eos_token_id": [2, 3]}, r"eos_token_id is \[2, 3\], not of type int"),
    ],
)
def test_settings_that_the_graph_does_not_know_are_named(
    tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    checkpoints.save_microsoft(tmp_path)
    edit_json(tmp_path / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        architecture.read(tmp_path)


def test_neutral_generation_settings_pass(tmp_path: Path) -> None:
    checkpoints.save_microsoft(tmp_path)
    edit_json(tmp_path / "generation_config.json", do_sample=False, repetition_penalty=1.0, min_length=0, max_length=99)
    assert architecture.read(tmp_path).generation.max_length == 99


def test_settings_that_are_no_json_are_named(tmp_path: Path) -> None:
    checkpoints.save_microsoft(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read as JSON"):
        checkpoint.load(tmp_path)


# The reference model


@pytest.mark.parametrize("save", [checkpoints.save_native, checkpoints.save_microsoft])
def test_the_reference_generates_what_the_saved_model_does(tmp_path: Path, save: Any) -> None:
    model = save(tmp_path)
    reference = checkpoint.to_transformers(checkpoint.load(tmp_path))
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in reference.parameters())
    assert reference.lm_head.weight is reference.model.language_model.shared.weight
    assert not reference.training
    image = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    prompt = torch.tensor([[reference.config.image_token_id] * 37 + [0, 40, 41, 42, 2]])  # 6 x 6 + 1 features
    with torch.inference_mode():
        answers = [m.generate(input_ids=prompt, pixel_values=image, max_new_tokens=12) for m in (model, reference)]
    assert answers[0].shape[1] > 8
    assert torch.equal(*answers)


def test_an_output_bias_that_is_not_zero_shifts_the_scores(edited: Any) -> None:
    name = "language_model.final_logits_bias"
    biased = checkpoint.load(edited(lambda t: t[name].copy_(torch.arange(t[name].numel()) % 7)))
    vocabulary = biased.architecture.text.vocabulary
    assert biased.tensors["lm_head.bias"].shape == (vocabulary,)
    plain = checkpoint.load(edited(lambda t: None))
    assert "lm_head.bias" not in plain.tensors
    ids = torch.tensor([[0, 40, 2]])
    with torch.inference_mode():
        shifted, scores = (checkpoint.to_transformers(c)(input_ids=ids).logits for c in (biased, plain))
    torch.testing.assert_close(
        shifted - scores, (torch.arange(vocabulary) % 7).float().expand_as(scores), atol=1e-5, rtol=0
    )


# Where a base comes from


def test_a_directory_is_named_after_itself_and_states_its_licence(tmp_path: Path) -> None:
    directory = tmp_path / "florence-2-mine"
    checkpoints.save_microsoft(directory)
    loaded = checkpoint.load(str(directory))
    assert (loaded.base, loaded.revision, loaded.licence) == ("florence-2-mine", None, "not stated")
    assert loaded.tokenizer == directory / "tokenizer.json"
    (directory / "LICENSE").write_text("    MIT License\n\n    Copyright (c) Microsoft Corporation.\n")
    assert checkpoint.load(directory).licence == "MIT License"
    (directory / "README.md").write_text("---\nlicense: mit\ntags:\n- vision\n---\n# Florence-2\n")
    assert checkpoint.load(directory).licence == "mit"


@pytest.mark.parametrize("pickled", [True, False])
def test_a_hub_id_is_fetched_at_its_revision(tmp_path: Path, monkeypatch: Any, pickled: bool) -> None:
    """With a stand-in for the hub that, like it, gives only the files that the patterns allow."""
    hub, cache = tmp_path / "hub", tmp_path / "cache"
    model = checkpoints.save_microsoft(hub, pickled=pickled)
    (hub / "modeling_florence2.py").write_text("raise SystemExit('remote code ran')")
    cache.mkdir()
    fetched: list[str] = []

    def snapshot_download(repo_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (repo_id, revision) == ("microsoft/Florence-2-base", REVISION)
        for file in hub.iterdir():
            if any(Path(file.name).match(pattern) for pattern in allow_patterns):
                (cache / file.name).write_bytes(file.read_bytes())
                fetched.append(file.name)
        return str(cache)

    monkeypatch.setattr(checkpoint, "snapshot_download", snapshot_download)
    loaded = checkpoint.load("microsoft/Florence-2-base", REVISION)
    assert (loaded.base, loaded.revision) == ("microsoft/Florence-2-base", REVISION)
    assert_same(loaded, model)
    assert "modeling_florence2.py" not in fetched


@pytest.mark.parametrize("damaged", [None, "model.safetensors", "config.json"])
def test_a_download_is_what_the_hub_has_by_its_hash(tmp_path: Path, monkeypatch: Any, damaged: str | None) -> None:
    """A cache as huggingface_hub lays it out: links to blobs, named after a large file's sha256, else after git's."""
    checkpoints.save_microsoft(tmp_path / "hub", pickled=False)
    snapshot, blobs = tmp_path / "snapshots" / REVISION, tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (tmp_path / "hub").iterdir():
        data = file.read_bytes()
        if file.suffix == ".safetensors":
            name = hashlib.sha256(data).hexdigest()
        else:
            name = subprocess.run(
                ["git", "hash-object", "--no-filters", str(file)], capture_output=True, text=True, check=True
            ).stdout.strip()
        if file.name == damaged:
            data = data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]
        (blobs / name).write_bytes(data)
        (snapshot / file.name).symlink_to(blobs / name)
    monkeypatch.setattr(checkpoint, "snapshot_download", lambda *_, **__: str(snapshot))
    if damaged:
        with pytest.raises(CheckpointError, match=rf"{damaged} is damaged: its hash is not the hub's"):
            checkpoint.load("microsoft/Florence-2-base", REVISION)
    else:
        assert checkpoint.load("microsoft/Florence-2-base", REVISION).tensors


@pytest.mark.parametrize("revision", [None, "main", REVISION[:7], REVISION.upper(), REVISION + "0"])
def test_a_hub_id_without_a_pinned_revision_is_refused(revision: str | None) -> None:
    with pytest.raises(CheckpointError, match="needs the 40 hex digits of a commit"):
        checkpoint.load("microsoft/Florence-2-base", revision)


def test_a_base_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a directory nor a hub id"):
        checkpoint.load(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="a revision belongs to a hub id"):
        checkpoint.load(tmp_path, REVISION)
    # conftest sets huggingface_hub offline: the error is its own.
    with pytest.raises(CheckpointError, match=f"microsoft/Florence-2-none at {REVISION} cannot be fetched"):
        checkpoint.load("microsoft/Florence-2-none", REVISION)
