"""What training is said to cost on a GPU: counted by hand where that can be done, and as the docs say."""

import copy
from pathlib import Path

import pytest
from conftest import ROOT
from transformers import Florence2Config

from build import architecture
from training import estimate, lora

# PEFT 0.21 reads a property that transformers 5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

PAGE = (ROOT / "docs" / "training.md").read_text()


@pytest.fixture(scope="module")
def full(refdata: Path) -> Florence2Config:
    """Florence-2-base's shape."""
    config: Florence2Config = architecture.transformers_config(architecture.read(refdata / "florence2_tokenizer"))
    return config


@pytest.mark.slow
@pytest.mark.parametrize(("size", "preset"), [(384, "text"), (384, "linear"), (768, "text")], ids=str)
def test_the_docs_say_what_is_counted(full: Florence2Config, size: int, preset: str) -> None:
    assert estimate.row(preset, estimate.cost(full, lora.PRESETS[preset], size)) in PAGE.splitlines()


def test_an_adapter_costs_two_products_more_in_each_direction(full: Florence2Config) -> None:
    """A linear layer of a frozen model is multiplied through once forward and once backward; its adapter's two small
    products once forward and twice backward, but for the gradient of an input that nothing before has a part in."""
    small = copy.deepcopy(full)
    text = small.text_config
    text.encoder_layers, text.decoder_layers = 1, 1
    small.vision_config.depths = [1, 1, 1, 1]
    presets = [lora.Preset(["q_proj"], rank=rank, alpha=16, learning_rate=1e-4) for rank in (8, 16)]
    costs = [estimate.cost(small, preset, 384) for preset in presets]
    encoder, decoder = (384 // 32) ** 2 + 1 + estimate.PROMPT, estimate.ANSWER
    products = 2 * 8 * text.d_model  # a token's, for eight ranks more
    everywhere = 3 * 2 * products * (encoder + 2 * decoder)  # the encoder's attention; the decoder's two
    assert costs[1].operations - costs[0].operations == everywhere - products * (encoder + decoder)
    assert costs[1].constant - costs[0].constant == 3 * 8 * 2 * text.d_model * (4 + 2 + 12)
