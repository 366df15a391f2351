"""The torch model behind the predictor: against transformers' own `generate`, PEFT, and the served fp32 artifact."""

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import artifacts
import checkpoints
import peft
import pytest
import torch
from conftest import ROOT

from build import checkpoint
from handler.florence import tasks
from handler.florence.errors import ArtifactError
from handler.florence.image import to_pixels
from handler.florence.predictor import Ask, Predictor, Result
from training import shapes
from training.reference import Reference, fetch, identity

# PEFT asks transformers by a name that transformers has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

MINIATURE = ROOT / "models" / "mini-checkpoint"
SCENES = [shapes.draw(7, index) for index in range(12)]
ASKS = [Ask(tasks.find("caption")), Ask(tasks.find("detect"))]


def answer(predictor: Predictor, scene: shapes.Scene, asks: Sequence[Ask] = ASKS) -> Result:
    encoded = io.BytesIO()
    scene.image.save(encoded, "PNG")
    return predictor.predict(encoded.getvalue(), asks)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(MINIATURE, None, 128)


def test_the_served_fp32_artifact_answers_the_same(reference: Reference, tmp_path: Path) -> None:
    artifacts.write(checkpoint.load(MINIATURE), 128, tmp_path)
    served = Predictor(tmp_path)
    for scene in SCENES:
        expected, found = answer(reference, scene).predictions, answer(served, scene).predictions
        assert [one.ids for one in found] == [one.ids for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-3)
            assert [thing.score for thing in one.objects] == pytest.approx([t.score for t in other.objects], abs=1e-3)
    assert reference.manifest.generation == served.manifest.generation


@pytest.mark.parametrize(("beams", "task"), [(1, "detect"), (3, "open-vocabulary-detection")])
def test_it_writes_what_transformers_generates(beams: int, task: str, tmp_path: Path) -> None:
    """A random checkpoint with Florence-2-base's generation settings, greedy and with its three beams. Boxes are
    finished once begun: so transformers is told here as well. (It would not weigh its beams again, as ours are: for
    them a task that may answer with any number of locations.)"""
    model: Any = checkpoints.random_model(checkpoints.tiny_config())
    checkpoints.save_native(tmp_path)
    model.generation_config.num_beams = beams
    model.generation_config.early_stopping = beams > 1
    model.generation_config.save_pretrained(tmp_path)
    reference = Reference(tmp_path, None, 96)
    asks = [ASKS[0], Ask(tasks.find(task), "a star" if beams > 1 else None)]
    written = [one.ids for one in answer(reference, SCENES[0], asks).predictions]
    places = reference._tokenizer.location_ids

    def allowed(_: int, ids: torch.Tensor) -> list[int]:
        trailing = list(itertools.takewhile(places.__contains__, reversed(ids.tolist())))
        unfinished = ask.task.name == "detect" and len(trailing) % 4
        return list(places if unfinished else range(model.config.text_config.vocab_size))

    for ask, ids in zip(asks, written, strict=True):
        pixels = torch.from_numpy(to_pixels(SCENES[0].image, 96))
        pictured = model.get_image_features(pixels).pooler_output.shape[1]
        prompt = reference._tokenizer.encode(ask.prompt((1, 1)))
        longest = min(ask.task.max_new_tokens + 2, 127)
        expected = model.generate(
            input_ids=torch.tensor([[model.config.image_token_id] * pictured + prompt]),
            pixel_values=pixels,
            max_new_tokens=longest,
            prefix_allowed_tokens_fn=allowed,
        )
        assert list(ids) == expected[0, 1:].tolist()


def test_an_adapter_is_merged_as_peft_merges_it(tmp_path: Path) -> None:
    model: Any = checkpoints.save_native(tmp_path / "base")
    adapted: Any = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    reference = Reference(tmp_path / "base", tmp_path / "adapter", 96)
    plain = Reference(tmp_path / "base", None, 96)
    pixels = to_pixels(SCENES[0].image, 96)
    ids = torch.tensor([[2, 0, 11, 12]])
    prompt = reference._tokenizer.encode("What does the image describe?")
    image = [model.config.image_token_id] * plain._engine.see(pixels).shape[1]
    with torch.inference_mode():
        expected = adapted.eval()(
            input_ids=torch.tensor([image + prompt]), pixel_values=torch.from_numpy(pixels), decoder_input_ids=ids
        ).logits[:, -1]
    scores = []
    for one in (reference, plain):
        engine = one._engine
        memory = engine.encode(engine.see(pixels), [prompt])
        scores.append(engine.step(ids.numpy(), engine.start(1), memory)[0])
    assert scores[0] == pytest.approx(expected.numpy(), abs=1e-4)
    assert abs(scores[1] - expected.numpy()).max() > 0.01
    assert reference.manifest.name == "base + adapter"
    assert identity(tmp_path / "base", tmp_path / "adapter") != identity(tmp_path / "base", None)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=str(tmp_path)):
        Reference(tmp_path, None, 96)
    with pytest.raises(ArtifactError, match="adapter"):
        Reference(MINIATURE, tmp_path / "adapter", 128)


def test_a_hub_id_is_taken_at_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(str(MINIATURE), None) == MINIATURE
    with pytest.raises(ArtifactError, match="owner/name is no folder; to take it from the hub, give the commit"):
        fetch("owner/name", None)
    with pytest.raises(ArtifactError, match="owner/name at 0123456 cannot be fetched: "):  # there is no network here
        fetch("owner/name", "0123456")

    def snapshot_download(repo_id: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (repo_id, revision, allow_patterns) == ("owner/name", "0123456", ["*.json", "*.safetensors"])
        return str(MINIATURE)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    found = fetch("owner/name", "0123456")
    assert Reference(found, None, 128, "owner/name").manifest.base == {"id": "owner/name"}
