"""LoRA on Florence-2: what it is attached to, and how it is saved.

An adapter is a directory of three files: `adapter_model.safetensors` (the raw LoRA tensors and nothing else),
`adapter_config.json` (PEFT's) and `training.json` (what it was trained on and how, see `Provenance`). It opens in PEFT
and in `python -m build`.

The tensors are taken with `get_peft_model_state_dict` and written by safetensors: Florence-2 ties its embeddings, which
`safetensors.torch.save_file(model.state_dict())` refuses, and other tools store a second time.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from transformers import Florence2ForConditionalGeneration

from . import files

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PROVENANCE = "training.json"

# Module names by their ends, as PEFT matches them. The vision tower's q, k and v are one product, `qkv`: r = 8 on
# q_proj and v_proj reaches the text model alone (36 modules, 442,368 parameters, 0.19 % of Florence-2-base).
_TEXT_QV = ["q_proj", "v_proj"]
_LINEAR = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "qkv", "proj", "image_projection"]


@dataclass(frozen=True)
class Preset:
    """What LoRA is attached to, and with what strength (the update is scaled by alpha / rank)."""

    targets: list[str]
    rank: int
    alpha: int
    learning_rate: float  # at the peak of the schedule
    rank_stabilised: bool = False  # alpha / sqrt(rank) instead: arXiv:2312.03732
    dora: bool = False  # a magnitude a row besides: arXiv:2402.09353


PRESETS: Mapping[str, Preset] = {
    "text": Preset(_TEXT_QV, rank=8, alpha=16, learning_rate=2e-4),
    "text-vision": Preset([*_TEXT_QV, "qkv"], rank=8, alpha=16, learning_rate=2e-4),
    "linear": Preset(_LINEAR, rank=16, alpha=32, learning_rate=2e-4),
    "linear-rslora": Preset(_LINEAR, rank=64, alpha=16, learning_rate=1e-4, rank_stabilised=True),
    "linear-dora": Preset(_LINEAR, rank=16, alpha=32, learning_rate=2e-4, dora=True),
}


@dataclass(frozen=True)
class Provenance:
    """What stands beside an adapter, so that it is fused into what it was trained on and for."""

    base: str  # hub id, or the name of the folder
    revision: str | None  # the hub's commit
    image_size: int  # pixels a side
    prompts: str  # `handler.florence.tasks.fingerprint()`
    data: str  # `Coco.fingerprint` of the training split
    preset: str
    seed: int
    steps: int
    tools: Mapping[str, str]


def attach(model: Florence2ForConditionalGeneration, preset: Preset, seed: int) -> PeftModel:
    """The model with fresh adapters in fp32 (B = 0: it still answers as before); everything else is frozen."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=preset.rank,
        lora_alpha=preset.alpha,
        target_modules=preset.targets,
        use_rslora=preset.rank_stabilised,
        use_dora=preset.dora,
        lora_dropout=0.0,
        bias="none",
    )
    wrapped = get_peft_model(model, config)
    if not isinstance(wrapped, PeftModel):  # get_peft_model's type leaves other wrappers open
        raise TypeError(type(wrapped))
    return wrapped


def trainable(model: torch.nn.Module) -> tuple[int, int]:
    """How many numbers are trained, and how many there are in all, a tied tensor counted once."""
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad), sum(p.numel() for p in parameters)


def save(model: PeftModel, directory: Path, provenance: Provenance) -> None:
    """Writes the adapter. Each file appears whole or not at all, the weights last: a directory with
    `adapter_model.safetensors` in it is complete."""
    directory.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = model.peft_config["default"].to_dict()
    config |= {"inference_mode": True, "base_model_name_or_path": provenance.base, "revision": provenance.revision}
    config["target_modules"] = sorted(config["target_modules"])  # a set: its order would be another in each run
    files.write_json(directory / PROVENANCE, asdict(provenance))
    files.write_json(directory / CONFIG, config)
    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files.write(directory / WEIGHTS, safetensors.torch.save(tensors))


def tools() -> dict[str, str]:
    """The versions that shape the result."""
    return {module.__name__: module.__version__ for module in (torch, transformers, peft)}
