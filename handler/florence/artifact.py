"""The artifact on disk: file names, manifest and integrity. The contract between `build`, which writes it, and the
engine, which reads it.

::

    manifest.json          what this is, how it was made, and the size and sha256 of every other file
    weights.safetensors    every tensor once
    vision.onnx            pixels -> image features; reads its tensors out of weights.safetensors
    encoder.onnx           image features + embedded prompt -> the decoder's memory
    decoder.onnx           one step
    tokenizer.json
    golden.png             a picture; the manifest holds what it must be answered with (see `golden`)
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import ArtifactError

SCHEMA = 4
MANIFEST, WEIGHTS, TOKENIZER = "manifest.json", "weights.safetensors", "tokenizer.json"
VISION, ENCODER, DECODER = "vision.onnx", "encoder.onnx", "decoder.onnx"
GOLDEN = "golden.png"


def image_tokens(size: int) -> int:
    """How many tokens an image of `size` pixels a side is to the encoder: the last grid's places and their mean."""
    return (-(-size // 32)) ** 2 + 1


@dataclass(frozen=True)
class Generation:
    """How the checkpoint wants to be decoded; names as in transformers' generation config."""

    decoder_start: int
    bos: int
    eos: int
    pad: int
    forced_bos: int | None
    forced_eos: int | None
    num_beams: int
    no_repeat_ngram_size: int
    early_stopping: bool
    length_penalty: float
    max_length: int  # tokens of an answer, the start token included: at most the decoder's positions


@dataclass(frozen=True)
class Golden:
    """What the golden picture, seen at `size` pixels a side, must be answered with: the first tokens, by tasks."""

    size: int
    answers: dict[str, list[int]]


@dataclass(frozen=True)
class Manifest:
    """`manifest.json`."""

    name: str
    notice: str  # what a user must know before trusting an answer; "" if nothing
    precision: str  # int8 or fp32
    image_size: int  # pixels a side
    positions: int  # tokens that the encoder reads at most, those of the image included
    vocabulary: int
    decoder_layers: int
    decoder_heads: int
    head_width: int
    generation: Generation
    base: dict[str, Any]
    adapter: dict[str, Any] | None
    files: dict[str, dict[str, Any]]  # name -> {"bytes": size, "sha256": hex}
    verification: dict[str, Any]
    tools: dict[str, str]
    golden: Golden | None = None  # None while it is being built
    schema: int = SCHEMA

    @cached_property
    def id(self) -> str:
        """The sha256 of `manifest.json`, in hex: two artifacts with one id have the same bytes."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The file's text: sorted, so that the same artifact has the same bytes."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies in a file of weights: `dtype` as safetensors spells it, `offset` and `length` in bytes."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    length: int


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by their names. The format: 8 bytes of header length, the header, raw bytes.

    Raises `OSError`, and `OverflowError` or `ValueError` of what is not one.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: Tensor(
            facts["dtype"],
            tuple(facts["shape"]),
            8 + length + facts["data_offsets"][0],
            facts["data_offsets"][1] - facts["data_offsets"][0],
        )
        for name, facts in header.items()
    }


def read_manifest(directory: Path) -> Manifest:
    """Reads `manifest.json` and checks that every file it names is there, whole by its size.

    Raises `ArtifactError` with a sentence that names the file.
    """
    path = directory / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{directory} holds no artifact: {MANIFEST} is missing. Build one: make artifact."
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Build the artifact again.") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise ArtifactError(f"{path} is of schema {schema}, and this version reads {SCHEMA}. Build the artifact again.")
    try:
        parts = {"generation": Generation(**raw["generation"]), "golden": raw["golden"] and Golden(**raw["golden"])}
        manifest = Manifest(**{**raw, **parts})
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not a manifest: {error}. Build the artifact again.") from error
    read = {WEIGHTS, TOKENIZER, VISION, ENCODER, DECODER}
    read |= {GOLDEN} if manifest.golden is not None else set()
    if unnamed := sorted(read - manifest.files.keys()):
        raise ArtifactError(f"{path} does not name {', '.join(unnamed)}. Build the artifact again.")
    for name, facts in manifest.files.items():
        if Path(name).name != name:
            raise ArtifactError(f"{path} names {name!r}, which is outside the artifact's folder.")
        file = directory / name
        if not file.is_file():
            raise ArtifactError(f"{file} is missing. Build the artifact again.")
        if file.stat().st_size != facts["bytes"]:
            raise ArtifactError(
                f"{file} has {file.stat().st_size:,} bytes instead of {facts['bytes']:,}: it is cut or damaged. "
                "Build the artifact again."
            )
    return manifest


def verify_hashes(directory: Path) -> None:
    """Reads every file that the manifest names and compares its sha256. Raises `ArtifactError` naming the first that
    differs, and as `read_manifest` does."""
    for name, facts in read_manifest(directory).files.items():
        if sha256(directory / name) != facts["sha256"]:
            raise ArtifactError(f"{directory / name} is damaged: its sha256 differs. Build the artifact again.")


def sha256(path: Path) -> str:
    """The file's sha256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
