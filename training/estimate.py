"""What training would cost on a GPU: counted on the model's shape, without its numbers and without a GPU.

    python -m training.estimate --base florence-community/Florence-2-base --revision COMMIT --image-size 384

Prints a table with a row for each preset: operations of a training step by torch's counter, and bytes kept for the
backward pass, both for one picture more; and what follows from them for the GPU described below. Nothing is measured:
the model runs on tensors that have shapes alone.
"""

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import Florence2Config, Florence2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from . import lora
from .dataset import STRIDE

PROMPT = 12  # tokens
ANSWER = 48  # tokens: the mean of `<OD>` on COCO
PICTURES = 118_287  # of COCO's train2017: an epoch
OPERATIONS = 13e12  # a second, of a T4: a fifth of its peak in fp16
MEMORY = 14e9  # bytes free on it
HEADER = "| preset | operations a picture | an epoch | kept a picture | pictures in 14 GB |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Cost:
    """Of a step: for each picture, and `constant` for all: weights in 32 and 16 bits, and the optimiser's state."""

    operations: float  # multiplications and additions, forward and backward
    kept: float  # bytes from the forward to the backward pass
    constant: float  # bytes

    @property
    def pictures(self) -> int:
        """How many fit at a time."""
        return int((MEMORY - self.constant) / self.kept)

    @property
    def hours(self) -> float:
        """An epoch."""
        return self.operations * PICTURES / OPERATIONS / 3600


def cost(config: Florence2Config, preset: lora.Preset, image_size: int) -> Cost:
    """Counts two batches, of one picture and of two: what grows is a picture's."""
    with torch.device("meta"):
        model = lora.attach(Florence2ForConditionalGeneration(config), preset, seed=1).train()
    learning, total = lora.trainable(model)
    with _shapes_alone(model):
        (first, kept_first), (second, kept_second) = (_step(model, count, image_size) for count in (1, 2))
    # fp32 and a 16-bit copy of all; gradient and AdamW's two moments of what is trained.
    return Cost(second - first, kept_second - kept_first, total * (4 + 2) + learning * 3 * 4)


@contextmanager
def _shapes_alone(model: nn.Module) -> Iterator[None]:
    """The model on tensors without numbers that say they are a CPU's: autocast passes over the device `meta`."""
    replaced = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model.to_empty(device="cpu")
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(replaced)


def _step(model: Any, pictures: int, image_size: int) -> tuple[int, int]:
    """Operations and bytes kept of one step under 16-bit autocast."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    # A GPU's autocast keeps norms in 32 bits, a CPU's does not.
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    hooks = [norm.register_forward_pre_hook(lambda _, given: (given[0].float(),)) for norm in norms]
    with FlopCounterMode(display=False) as counter:
        saved = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with torch.autocast("cpu", torch.bfloat16), saved:
            loss = _loss(model.base_model.model, pictures, image_size)
        loss.backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops(), sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _loss(model: Any, pictures: int, image_size: int) -> Tensor:
    """As the model itself goes about it, but for counting the `<image>` tokens, which asks for numbers."""
    side = image_size // STRIDE * STRIDE
    seen = model.get_image_features(torch.empty(pictures, 3, side, side)).pooler_output
    text = model.model.language_model
    prompt = text.shared(torch.zeros(pictures, PROMPT, dtype=torch.long))
    embedded = torch.cat([seen, prompt], dim=1)
    mask = torch.ones(embedded.shape[:2], dtype=torch.long)
    encoded = text.encoder(inputs_embeds=embedded, attention_mask=mask)[0]
    answered: Tensor = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
        attention_mask=mask,
        labels=torch.zeros(pictures, ANSWER, dtype=torch.long),
        use_cache=False,
    ).loss
    return answered


def row(name: str, found: Cost) -> str:
    """A line of the table."""
    epoch = f"{60 * found.hours:.0f} min" if found.hours < 1 else f"{found.hours:.1f} h"
    return (
        f"| `{name}` | {found.operations / 1e9:.0f} GFLOP | {epoch} | {found.kept / 1e9:.2f} GB | {found.pictures:,} |"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.estimate", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--base", required=True, help="folder of a checkpoint in transformers' layout, or a hub id")
    add("--revision", help="the hub's commit")
    add("--image-size", type=int, default=384, help="pixels a side (default: %(default)s)")
    options = parser.parse_args(argv)
    local = Path(options.base)
    try:
        if local.is_dir() and not (local / "config.json").exists():  # transformers would take its own defaults
            raise OSError(f"{local} holds no config.json")
        if not local.is_dir() and options.revision is None:
            raise OSError(f"{local} is no folder; to take it from the hub, give the commit with --revision")
        config = Florence2Config.from_pretrained(options.base, revision=options.revision or "main")
    except (OSError, ValueError) as error:
        print(f"estimate: {error}".splitlines()[0], file=sys.stderr)
        return 1
    print(HEADER)
    for name, preset in lora.PRESETS.items():
        print(row(name, cost(config, preset, options.image_size)), flush=True)
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="transformers|peft")
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    sys.exit(main())
