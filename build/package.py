"""Tensors and graphs -> the artifact's files, byte for byte the same for the same input."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import onnx
import onnxruntime
import safetensors
import safetensors.numpy
import tokenizers
import torch
import transformers

from handler.florence import artifact, tokenizer
from handler.florence.predictor import Predictor

from .checkpoint import Checkpoint
from .graphs import text, vision
from .graphs.writer import Weights
from .precision import Precision

SAMPLES = Path(__file__).parents[1] / "handler" / "page" / "samples"  # our own pictures: an artifact may carry one


@dataclass(frozen=True)
class Facts:
    """What the manifest tells beside the checkpoint: `size` of the images in pixels a side, `adapter` as fused."""

    name: str
    notice: str
    size: int
    adapter: dict[str, object] | None = None


def write(checkpoint: Checkpoint, facts: Facts, precision: Precision, out: Path) -> tuple[str, ...]:
    """Writes an artifact into the empty folder `out`, not verified yet and without a golden case; returns the names of
    its layers."""
    layers = _write_graphs(checkpoint, facts.size, _write_tokenizer(checkpoint, out), precision, out)
    write_manifest(checkpoint, facts, precision, out)
    return layers


def _write_graphs(
    checkpoint: Checkpoint, size: int, locations: range, precision: Precision, out: Path
) -> tuple[str, ...]:
    """Writes `weights.safetensors` and the graphs that read it; returns the names of the layers."""
    architecture, weights = checkpoint.architecture, Weights()
    tensors = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}
    writers = {
        artifact.VISION: vision.write(architecture.vision, tensors, size, weights, precision),
        artifact.ENCODER: text.write_encoder(architecture.text, tensors, weights, precision),
        artifact.DECODER: text.write_decoder(architecture.text, tensors, locations, weights, precision),
    }
    # No metadata: the library writes it in a random order.
    safetensors.numpy.save_file(weights.tensors, out / artifact.WEIGHTS)
    (out / artifact.WEIGHTS).chmod(0o644)  # the library makes it private; Lambda runs as another user
    places = artifact.tensors(out / artifact.WEIGHTS)
    for name, writer in writers.items():
        model = writer.model(places)
        (out / name).write_bytes(model.SerializeToString(deterministic=True))
    return tuple(layer for writer in writers.values() for layer in writer.layers)


def _write_tokenizer(checkpoint: Checkpoint, out: Path) -> range:
    """Writes the complete tokenizer; returns the ids of its location tokens."""
    loaded = tokenizers.Tokenizer.from_file(str(checkpoint.tokenizer))
    tokenizer.complete(loaded)
    loaded.save(str(out / artifact.TOKENIZER), pretty=False)
    return tokenizer.Tokenizer(loaded).location_ids


def write_golden(predictor: Predictor, out: Path) -> artifact.Golden:
    """Copies the sample of which the artifact is surest; returns what it has to be answered with.

    Seen at a quarter or half of the artifact's size if it is as sure then: every weight takes part all the same, in a
    sixteenth or a quarter of the vision tower's time.
    """
    size = predictor.manifest.image_size
    cases = [
        (image, predictor.certain(image.read_bytes(), side))
        for side in (size // 4, size // 2, size)
        for image in sorted(SAMPLES.glob("*.png"))
    ]
    image, surest = max(cases, key=lambda case: sum(map(len, case[1].answers.values())))  # of equals the first
    shutil.copyfile(image, out / artifact.GOLDEN)
    return surest


def write_manifest(
    checkpoint: Checkpoint,
    facts: Facts,
    precision: Precision,
    out: Path,
    verification: dict[str, object] | None = None,
    golden: artifact.Golden | None = None,
) -> artifact.Manifest:
    """Writes `manifest.json` over the files that are in `out`."""
    described = checkpoint.architecture
    generation, positions = described.generation, described.text.max_positions
    longest = min(generation.max_length or positions, positions)
    manifest = artifact.Manifest(
        name=facts.name,
        notice=facts.notice,
        precision=precision.usual,
        image_size=facts.size,
        positions=positions,
        vocabulary=described.text.vocabulary,
        decoder_layers=described.text.decoder_layers,
        decoder_heads=described.text.decoder_heads,
        head_width=described.text.width // described.text.decoder_heads,
        generation=artifact.Generation(**{**asdict(generation), "max_length": longest}),
        base={
            "id": checkpoint.base,
            "revision": checkpoint.revision,
            "licence": checkpoint.licence,
            "sha256": dict(checkpoint.sha256),
        },
        adapter=facts.adapter,
        files={
            path.name: {"bytes": path.stat().st_size, "sha256": artifact.sha256(path)}
            for path in sorted(out.iterdir())
            if path.name != artifact.MANIFEST
        },
        verification=verification or {},
        golden=golden,
        tools={module.__name__: module.__version__ for module in (onnx, onnxruntime, safetensors, torch, transformers)},
    )
    (out / artifact.MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest
