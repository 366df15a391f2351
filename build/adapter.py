"""A LoRA adapter -> the base's weights with the adapter fused in, and the proof that every pair landed.

Reads a PEFT directory (`adapter_config.json` with `adapter_model.safetensors` or `.bin`) or the bare tensor file;
names as PEFT gives them to a model of either layout (see `layout`), with or without the adapter's own name in them.
Fuses what PEFT fuses into Linear and Conv2d weights: LoRA (arXiv:2106.09685), scaled by alpha / r or, rank-stabilised
(arXiv:2312.03732), alpha / sqrt(r), and DoRA (arXiv:2402.09353). `fan_in_fan_out` changes nothing on these layers, in
PEFT as here.

Whatever is not such a pair is refused by name, because an adapter that lands in part answers worse than none:
embeddings, biases, modules saved whole, initialisations that moved the base's own weights (PiSSA, OLoRA, LoftQ, ...).
An adapter that changes nothing (LoRA starts at B = 0) is refused as untrained. What stands beside it in `training.json`
(as `training.lora` writes it; other tools write none) says what it was trained for: see `check_purpose`.
"""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from handler.florence import tasks

from . import layout, weights
from .checkpoint import Checkpoint
from .errors import AdapterError, some

_STEMS = ("adapter_model", "adapter_model")
_TRAINING = "training.json"
_NAME = re.compile(
    r"(?:base_model\.model\.)?(?P<module>.+?)\."
    r"(?:(?P<factor>lora_[AB])(?:\.[^.]+)?\.weight|(?P<magnitude>lora_magnitude_vector)(?:\.[^.]+)*)"
)

# The settings of `peft.LoraConfig` that say nothing about the fused weights, or that are read below. Any other that is
# set (`modules_to_save`, `target_parameters`, `use_qalora`, ... and what later versions add) would be ignored: refused.
_KNOWN_SETTINGS = frozenset(
    {
        *("peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "bias"),
        *("init_lora_weights", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
        *("inference_mode", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("lora_dropout", "fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config"),
        *("lora_ga_config", "qalora_group_size", "ensure_weight_tying"),
    }
)
# These leave the base as it is; the others subtract the adapter's starting point from it.
_INITIALISATIONS = (None, True, False, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True)
class Pair:
    """One module's adapter: the weight grows by `scale` · b a (for a Conv2d over flattened kernels).

    With a `magnitude`, DoRA's, each row of the grown weight is then scaled to that norm.
    """

    module: str  # native name, without `.weight`
    a: torch.Tensor  # fp32, [r, in] or [r, in, height, width]
    b: torch.Tensor  # fp32, [out, r] or [out, r, 1, 1]
    magnitude: torch.Tensor | None  # fp32, [out]
    scale: float

    @property
    def rank(self) -> int:
        return self.a.shape[0]


@dataclass(frozen=True)
class Adapter:
    """An adapter as loaded: complete in itself, not yet held against a base."""

    name: str  # the directory's, or of a bare file elsewhere the file's
    pairs: tuple[Pair, ...]
    sha256: Mapping[str, str]  # of each weight file
    training: Mapping[str, Any]  # what `training.json` says; empty without one


@dataclass(frozen=True)
class Landing:
    """The proof that one pair changed its module's weight."""

    module: str
    rank: int
    scale: float
    largest: float  # largest absolute change of one weight
    relative: float  # Frobenius norm of the change over that of the base's weight


def load(path: str | Path, alpha: float | None = None) -> Adapter:
    """Loads an adapter from its directory, or from a bare tensor file.

    The rank is read from the tensors' shapes. `alpha` is for adapters without an `adapter_config.json`.
    Raises `AdapterError` for anything that cannot be fused, incomplete pairs, ranks that contradict the settings, and
    an alpha that is missing or given twice; `WeightsError` for a file that cannot be read.
    """
    path = Path(path)
    directory, files = (path.parent, [path]) if path.is_file() else (path, weights.find(path, _STEMS))
    if not files:
        raise AdapterError(f"{path} holds neither adapter_model.safetensors nor adapter_model.bin.")
    settings = _settings(directory / "adapter_config.json", alpha)
    return Adapter(
        name=path.resolve().name,
        pairs=_pairs(weights.read(files), settings),
        sha256=weights.sha256(files),
        training=_object(directory / _TRAINING),
    )


def check_purpose(adapter: Adapter, size: int) -> None:
    """Raises `AdapterError` if the adapter says that it was trained at another image size, in pixels, or with other
    prompts than the task table's: it would be served what it never saw."""
    trained_at = adapter.training.get("image_size")
    amiss = []
    if trained_at not in (None, size):
        amiss.append(f"at {trained_at} pixels, not {size} (--size {trained_at})")
    if adapter.training.get("prompts") not in (None, tasks.fingerprint()):
        amiss.append("with other prompts than this version asks (train it again)")
    if amiss:
        raise AdapterError(
            f"The adapter {adapter.name} was trained {' and '.join(amiss)}; --accept-mismatch fuses it all the same."
        )


def fuse(checkpoint: Checkpoint, adapter: Adapter) -> tuple[Checkpoint, tuple[Landing, ...]]:
    """The checkpoint with the adapter in its weights, and what each pair changed, in the adapter's order.

    The checkpoint that went in keeps its weights. Raises `AdapterError` if a pair has no place in this base, or if all
    of them together change nothing.
    """
    _check_places(checkpoint.tensors, adapter)
    fused = dict(checkpoint.tensors)
    landings = []
    for pair in adapter.pairs:
        name = f"{pair.module}.weight"
        before = checkpoint.tensors[name]
        after = fused[name] = _fused(before, pair)
        change = after - before
        landings.append(
            Landing(
                module=pair.module,
                rank=pair.rank,
                scale=pair.scale,
                largest=change.abs().max().item(),
                relative=(change.norm() / before.norm()).item(),
            )
        )
    if not any(landing.largest for landing in landings):
        raise AdapterError(f"The adapter {adapter.name} changes no weight: it was saved before it was trained.")
    return dataclasses.replace(checkpoint, tensors=fused), tuple(landings)


def _fused(weight: torch.Tensor, pair: Pair) -> torch.Tensor:
    """The formulas of PEFT's `merge_and_unload`, which takes DoRA's norms over all but the first axis."""
    delta = (pair.b.flatten(1) @ pair.a.flatten(1)).reshape(weight.shape)
    grown = weight + pair.scale * delta
    if pair.magnitude is None:
        return grown
    rows = grown.flatten(1)
    norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return (rows * (pair.magnitude[:, None] / norms)).reshape(weight.shape)


def _check_places(tensors: Mapping[str, torch.Tensor], adapter: Adapter) -> None:
    tied = [pair.module for pair in adapter.pairs if f"{pair.module}.weight" in layout.TIED]
    absent = [pair.module for pair in adapter.pairs if f"{pair.module}.weight" not in tensors]
    misshapen = []
    for pair in adapter.pairs:
        shape = (pair.b.shape[0], *pair.a.shape[1:])
        weight = tensors.get(f"{pair.module}.weight")
        if weight is not None and weight.shape != shape:
            misshapen.append(f"{pair.module} {list(shape)} for {list(weight.shape)}")
    if tied:
        raise AdapterError(
            f"The adapter {adapter.name} changes {some(tied)}, which Florence-2 ties to its other embeddings; "
            "the artifact stores them once."
        )
    if absent:
        raise AdapterError(
            f"{len(absent)} of the {len(adapter.pairs)} pairs of the adapter {adapter.name} are for modules that the "
            f"base does not have: {some(absent)}."
        )
    if misshapen:
        raise AdapterError(
            f"{len(misshapen)} of the {len(adapter.pairs)} pairs of the adapter {adapter.name} do not fit the shape of "
            f"the base's weight: {some(misshapen)}."
        )


def _settings(file: Path, alpha: float | None) -> dict[str, Any]:
    """`adapter_config.json`, or without one the settings of plain LoRA, with alpha and nothing that we would ignore."""
    settings = _object(file)
    if file.is_file() and settings.get("peft_type") != "LORA":
        raise AdapterError(f"{file} does not describe a LoRA adapter (peft_type LORA).")
    ignored = [key for key, value in settings.items() if value and key not in _KNOWN_SETTINGS]
    if settings.get("bias", "none") != "none":
        ignored.append("bias")
    if settings.get("init_lora_weights") not in _INITIALISATIONS:
        ignored.append("init_lora_weights")
    if ignored:
        listed = ", ".join(f"{key} = {settings[key]!r}" for key in ignored)
        raise AdapterError(f"{file} asks for what cannot be fused: {listed}.")
    stated = settings.setdefault("lora_alpha", alpha)
    if not isinstance(stated, int | float):
        raise AdapterError(f"There is no lora_alpha in {file}: give the alpha that it was trained with (--alpha).")
    if alpha is not None and alpha != stated:
        raise AdapterError(f"{file} says that lora_alpha is {stated}, and {alpha} was given: leave one of them out.")
    return settings


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is no file."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterError(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise AdapterError(f"{file} holds no JSON object.")
    return content


def _pairs(tensors: dict[str, torch.Tensor], settings: dict[str, Any]) -> tuple[Pair, ...]:
    """The tensors of each module, matched, checked against each other and the settings."""
    parts: dict[str, dict[str, torch.Tensor]] = {}  # module, as the file names it -> part -> tensor
    unknown, not_finite = [], []
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            unknown.append(name)
            continue
        part = match["factor"] or match["magnitude"]
        if part in parts.setdefault(match["module"], {}):
            raise AdapterError(f"{name} is there twice: the file holds more than one adapter.")
        parts[match["module"]][part] = tensor.float()
        if not tensor.isfinite().all():
            not_finite.append(name)
    if unknown:
        raise AdapterError(f"{len(unknown)} tensors are no part of a LoRA pair and cannot be fused: {some(unknown)}.")
    if not_finite:
        raise AdapterError(f"{len(not_finite)} tensors hold numbers that are not finite: {some(not_finite)}.")
    if not parts:
        raise AdapterError("The adapter holds no tensors.")
    torn = [f"{module} (has {', '.join(sorted(of))})" for module, of in parts.items() if not _whole(of, settings)]
    if torn:
        raise AdapterError(f"{len(torn)} modules have not exactly the parts of a pair: {some(torn)}.")
    pairs = tuple(_pair(module, of, settings) for module, of in parts.items())
    names = [pair.module for pair in pairs]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise AdapterError(f"{len(twice)} modules are there in both layouts' names: {some(twice)}.")
    return pairs


def _whole(parts: Mapping[str, torch.Tensor], settings: dict[str, Any]) -> bool:
    has_magnitude = "lora_magnitude_vector" in parts
    return {"lora_A", "lora_B"} <= parts.keys() and has_magnitude == settings.get("use_dora", has_magnitude)


def _pair(module: str, parts: Mapping[str, torch.Tensor], settings: dict[str, Any]) -> Pair:
    a, b, magnitude = parts["lora_A"], parts["lora_B"], parts.get("lora_magnitude_vector")
    rank = a.shape[0]
    if a.ndim < 2 or b.ndim != a.ndim or b.flatten(1).shape[1] != rank:
        raise AdapterError(
            f"The two factors of {module} do not multiply: lora_A is {list(a.shape)}, lora_B {list(b.shape)}."
        )
    if magnitude is not None and magnitude.numel() != b.shape[0]:
        raise AdapterError(f"The magnitudes of {module} are {magnitude.numel()} for {b.shape[0]} rows.")
    stated = _by_pattern(settings.get("rank_pattern"), module, settings.get("r", rank))
    if rank != stated:
        raise AdapterError(f"The pair of {module} has rank {rank}, and adapter_config.json says {stated}.")
    alpha = _by_pattern(settings.get("alpha_pattern"), module, settings["lora_alpha"])
    return Pair(
        module=layout.native_name(module),
        a=a,
        b=b,
        magnitude=None if magnitude is None else magnitude.flatten(),
        scale=alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank),
    )


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value of the first pattern that matches the end of the module's name, as in PEFT's `get_pattern_key`."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
