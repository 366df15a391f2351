"""The vision tower against timm's `davit_base_fl`, an implementation and a renaming that owe nothing to transformers.

The same random weights, in Microsoft's names and of the true size, go into timm's model by timm's own converter and
into transformers' by ours; the feature maps must agree.
"""

import importlib
import importlib.util
import json
import sys
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import checkpoints
import pytest
import torch
from transformers.models.florence2.modeling_florence2 import Florence2VisionBackbone

from build import architecture, layout

# What timm 1.0 imports of torchvision, none of which DaViT uses.
_TORCHVISION = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.models.feature_extraction",
    "torchvision.ops.misc",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


class _StandIn(ModuleType):
    """A module that has every public name: a stand-in among those above, else an empty class."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


@pytest.fixture
def davit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`timm.models.davit`, with torchvision stood in for where it is not installed: it has no CPU build."""
    if importlib.util.find_spec("torchvision") is None:
        for name in _TORCHVISION:
            monkeypatch.setitem(sys.modules, name, _StandIn(name))
        modes = Enum("InterpolationMode", ["NEAREST", "BILINEAR", "BICUBIC", "BOX", "HAMMING", "LANCZOS"])
        sys.modules["torchvision.transforms.functional"].InterpolationMode = modes  # its members are keys of a table
    return importlib.import_module("timm.models.davit")


def test_the_vision_tower_computes_what_timms_does(refdata: Path, davit: ModuleType) -> None:
    names = json.loads((refdata / "florence2_checkpoint/microsoft_layout.json").read_text())
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: checkpoints.draw(name, shape, generator)
        for name, shape in names.items()
        if name.startswith("vision_tower.")
    }

    theirs = davit.davit_base_fl(num_classes=0).eval()
    loaded = theirs.load_state_dict(davit.checkpoint_filter_fn(weights, theirs), strict=False)
    assert not loaded.unexpected_keys
    assert set(loaded.missing_keys) == {"head.norm.weight", "head.norm.bias"}  # behind the feature map

    config = architecture.transformers_config(architecture.read(refdata / "florence2_tokenizer"))
    ours = Florence2VisionBackbone(config.vision_config).eval()
    prefix = "model.vision_tower."
    ours.load_state_dict({layout.native_name(name).removeprefix(prefix): weight for name, weight in weights.items()})

    # 384 pixels fill whole windows at every stage; at 224 each stage pads its grid up to windows of 12.
    for size in (384, 224):
        pixels = torch.randn(1, 3, size, size, generator=generator)
        with torch.inference_mode():
            expected = theirs.forward_features(pixels)
            features = ours(pixels).last_hidden_state
        assert features.shape == (1, 1024, size // 32, size // 32)
        assert expected.std() > 0.1
        torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
