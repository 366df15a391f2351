"""A Florence-2 checkpoint -> its architecture and one set of tensors, fp32, in transformers' native names.

A base is a directory or a hub id with a pinned revision; its layout is Microsoft's or transformers' native one (see
`layout`), its weights fp16, bf16 or fp32. Microsoft's layout is loaded by renaming: none of its remote code is fetched
or run. Nothing is guessed: whatever is missing, unknown, misshapen or not a number is refused by name.

Does not fuse adapters (`adapter`) and does not know how tensors are stored in the artifact (`quantise`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from transformers import Florence2ForConditionalGeneration, GenerationConfig

from . import architecture, layout, weights
from .architecture import Architecture
from .errors import CheckpointError, some

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PINNED = re.compile(r"[0-9a-f]{40}")
_SETTINGS = ["config.json", "generation_config.json", "tokenizer.json", "README.md", "LICENSE"]
_STEMS = ("model", "pytorch_model")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_EMBEDDING, *_ALIASES = layout.TIED
_OUTPUT_BIAS = "lm_head.bias"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, ready to be fused, quantised or run.

    `tensors` are fp32 and contiguous, under the names of `Florence2ForConditionalGeneration.state_dict()` without the
    embedding's aliases (`layout.TIED`). `lm_head.bias` [vocabulary], which that model does not list, is there if the
    checkpoint adds a bias to its scores (`final_logits_bias`) that is not zero throughout.
    """

    architecture: Architecture
    tensors: Mapping[str, torch.Tensor]
    base: str  # the hub id, or the directory's name
    revision: str | None  # the hub's commit
    licence: str  # as the base states it, in its own words
    sha256: Mapping[str, str]  # of each weight file
    tokenizer: Path  # tokenizer.json: bare BART in Microsoft's layout, complete in the native one

    def with_beams(self, count: int) -> "Checkpoint":
        """The same, decoded with this many beams."""
        generation = replace(self.architecture.generation, num_beams=count)
        return replace(self, architecture=replace(self.architecture, generation=generation))


def load(base: str | Path, revision: str | None = None) -> Checkpoint:
    """Loads a checkpoint from a directory, or from the hub at `revision`, a commit's 40 hex digits.

    Raises `CheckpointError` where the base or a file is not there, the revision is not pinned, the settings are not
    Florence-2's or the tensors are not all there and right; `WeightsError` where a weight file cannot be read.
    """
    directory, name = _locate(base, revision)
    described = architecture.read(directory)
    tokenizer = directory / "tokenizer.json"
    if not tokenizer.is_file():
        raise CheckpointError(f"There is no {tokenizer}.")
    files = weights.find(directory, _STEMS)
    if not files:
        raise CheckpointError(f"{directory} holds neither model.safetensors nor pytorch_model.bin, whole or in shards.")
    return Checkpoint(
        architecture=described,
        tensors=_canonical(weights.read(files), described),
        base=name,
        revision=revision,
        licence=_licence(directory),
        sha256=weights.sha256(files),
        tokenizer=tokenizer,
    )


def to_transformers(checkpoint: Checkpoint) -> Florence2ForConditionalGeneration:
    """transformers' own model with these weights, in eval mode and frozen: the reference.

    Its generation config is the checkpoint's. It shares the checkpoint's memory: do not change its weights in place.
    """
    model: Any = _skeleton(checkpoint.architecture)
    tensors = dict(checkpoint.tensors)
    if _OUTPUT_BIAS in tensors:
        model.lm_head.bias = torch.nn.Parameter(tensors[_OUTPUT_BIAS])
    model.load_state_dict(tensors | dict.fromkeys(_ALIASES, tensors[_EMBEDDING]), assign=True)
    model.tie_weights()
    wanted = checkpoint.architecture.generation
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=wanted.bos,
        pad_token_id=wanted.pad,
        eos_token_id=wanted.eos,
        decoder_start_token_id=wanted.decoder_start,
        forced_bos_token_id=wanted.forced_bos,
        forced_eos_token_id=wanted.forced_eos,
        num_beams=wanted.num_beams,
        no_repeat_ngram_size=wanted.no_repeat_ngram_size,
        early_stopping=wanted.early_stopping,
        length_penalty=wanted.length_penalty,
        max_length=wanted.max_length,
    )
    model.eval().requires_grad_(False)
    return cast(Florence2ForConditionalGeneration, model)


def _locate(base: str | Path, revision: str | None) -> tuple[Path, str]:
    """The directory with the base's files, and the base's name."""
    directory = Path(base)
    if directory.is_dir():
        if revision is not None:
            raise CheckpointError(f"{base} is a directory: a revision belongs to a hub id.")
        return directory, directory.resolve().name
    hub_id = str(base)
    if not _HUB_ID.fullmatch(hub_id):
        raise CheckpointError(f"{base} is neither a directory nor a hub id such as microsoft/Florence-2-base.")
    if revision is None or not _PINNED.fullmatch(revision):
        raise CheckpointError(
            f"{hub_id} is not a directory here; as a hub id it needs the 40 hex digits of a commit as its revision, "
            f"so that two builds read the same files (got {revision!r})."
        )
    try:
        # The hub often holds the same weights twice, as safetensors and as a pickle: the second only without the first.
        for weight_files in ("model*.safetensors*", "pytorch_model*.bin*"):
            directory = Path(snapshot_download(hub_id, revision=revision, allow_patterns=[*_SETTINGS, weight_files]))
            if weights.find(directory, _STEMS):
                break
        _check_hashes(directory)
    except (OSError, ValueError) as error:  # huggingface_hub's errors, and the network's, are all one of these
        raise CheckpointError(f"{hub_id} at {revision} cannot be fetched: {error}.") from error
    return directory, hub_id


def _check_hashes(directory: Path) -> None:
    """Compares each file with the hash that the hub's cache has filed it under: the sha256 of a large file, of others
    git's own. huggingface_hub itself compares the size alone. Raises `CheckpointError`."""
    for path in sorted(directory.iterdir()):
        told = path.resolve().name
        if not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", told):
            continue  # a cache without links, as on Windows
        made = hashlib.sha256()
        if len(told) == 40:
            made = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, made.copy).hexdigest()
        if found != told:
            raise CheckpointError(f"{path} is damaged: its hash is not the hub's. Delete it and build again.")


def _canonical(raw: dict[str, torch.Tensor], described: Architecture) -> dict[str, torch.Tensor]:
    """The file's tensors under their native names, checked against the architecture, in fp32."""
    tensors: dict[str, torch.Tensor] = {}
    source: dict[str, str] = {}  # native name -> name in the file
    for name, tensor in raw.items():
        native = layout.native_name(name)
        if native in tensors:
            raise CheckpointError(f"{source[native]} and {name} are the same tensor in two layouts: keep one.")
        if name == "image_projection":
            tensor = tensor.T
        tensors[native], source[native] = tensor, name
    _untie(tensors)
    _drop_zero_bias(tensors)

    expected = {name: value.shape for name, value in _skeleton(described).state_dict().items() if name not in _ALIASES}
    if _OUTPUT_BIAS in tensors:
        expected[_OUTPUT_BIAS] = torch.Size([described.text.vocabulary])
    known = [name for name in tensors if name in expected]
    faults = {
        "missing": [name for name in expected if name not in tensors],
        "unknown": [source[name] for name in tensors if name not in expected],
        "misshapen": [
            f"{source.get(name, name)} {list(tensors[name].shape)} for {list(expected[name])}"
            for name in known
            if tensors[name].shape != expected[name]
        ],
        "neither fp16, bf16 nor fp32": [source.get(name, name) for name in known if tensors[name].dtype not in _DTYPES],
        "not finite": [source.get(name, name) for name in known if not tensors[name].isfinite().all()],
    }
    if any(faults.values()):
        listed = "; ".join(f"{len(names)} {fault}: {some(names)}" for fault, names in faults.items() if names)
        raise CheckpointError(f"The tensors do not fit the architecture in config.json. {listed}.")
    return {name: tensors[name].float().contiguous() for name in expected}


def _untie(tensors: dict[str, torch.Tensor]) -> None:
    """Keeps the tied embedding once, under its first name, if all its names hold the same numbers."""
    present = [name for name in layout.TIED if name in tensors]
    for name in present[1:]:
        if not torch.equal(tensors[present[0]], tensors[name]):
            raise CheckpointError(
                f"{present[0]} and {name} differ: Florence-2 ties them, and the artifact stores them once."
            )
    if present:
        embedding = tensors[present[0]]
        for name in present:
            del tensors[name]
        tensors[_EMBEDDING] = embedding


def _drop_zero_bias(tensors: dict[str, torch.Tensor]) -> None:
    bias = tensors.pop(_OUTPUT_BIAS, None)
    if bias is not None and bias.any():
        tensors[_OUTPUT_BIAS] = bias.flatten()


def _skeleton(described: Architecture) -> Florence2ForConditionalGeneration:
    """transformers' model without memory behind its tensors."""
    with torch.device("meta"):
        return Florence2ForConditionalGeneration(architecture.transformers_config(described))


def _licence(directory: Path) -> str:
    """What the model card's front matter says (`license: mit`), else the licence file's first line."""
    card, text = directory / "README.md", directory / "LICENSE"
    stated = card.is_file() and re.search(r"^license:\s*(\S+)\s*$", card.read_text(encoding="utf-8"), re.MULTILINE)
    if stated:
        return stated[1]
    lines = text.read_text(encoding="utf-8").strip().splitlines() if text.is_file() else []
    return lines[0].strip() if lines else "not stated"
