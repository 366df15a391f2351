"""Random Florence-2 checkpoints for the tests, in both layouts, tiny or of the true size.

    python -m tests.checkpoints full OUT_DIR

writes the true configuration and tokenizer with random fp16 weights in Microsoft's layout (231 M parameters, 463 MB);
it needs the reference data (see `conftest.refdata`).

Microsoft's names are made here by the inverse of `build.layout`'s renaming, written a second time so that the two
hold each other to account.
"""

import argparse
import functools
import json
import math
import os
import re
import shutil
from pathlib import Path
from typing import Any, cast

import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import models, pre_tokenizers, processors, trainers
from transformers import Florence2Config, Florence2ForConditionalGeneration, GenerationConfig

from handler.florence import tasks
from handler.florence import tokenizer as florence_tokenizer

EMBEDDING = "model.language_model.shared.weight"
ALIASES = (
    "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
# microsoft/Florence-2-base's generation_config.json
GENERATION = {
    "bos_token_id": 0,
    "decoder_start_token_id": 2,
    "early_stopping": True,
    "eos_token_id": 2,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
    "no_repeat_ngram_size": 3,
    "num_beams": 3,
    "pad_token_id": 1,
}
_INVERSE = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^model\.multi_modal_projector\.image_projection\.weight$", "image_projection"),
        (r"^model\.multi_modal_projector\.image_position_embed", "image_pos_embed"),
        (r"^model\.multi_modal_projector\.", ""),
        (r"^lm_head", "language_model.lm_head"),
        (r"^model\.language_model", "language_model.model"),
        (r"^model\.vision_tower", "vision_tower"),
        (r"(^vision_tower\.convs\.\d+)\.conv", r"\1.proj"),
        (r"spatial_block\.norm1", "spatial_block.window_attn.norm"),
        (r"channel_block\.norm1", "channel_block.channel_attn.norm"),
        (r"_block\.norm2", "_block.ffn.norm"),
        (r"_attn\.(qkv|proj)", r"_attn.fn.\1"),
        (r"ffn\.(fc[12])", r"ffn.fn.net.\1"),
        (r"_block\.(conv[12])", r"_block.\1.fn.dw"),
    )
]


def microsoft_name(native: str) -> str:
    """The name in Microsoft's layout of a tensor or module of transformers' model."""
    for pattern, replacement in _INVERSE:
        native = pattern.sub(replacement, native)
    return native


def tiny_tokenizer() -> tokenizers.Tokenizer:
    """A bare byte-level BPE of BART's make: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, bytes, a few merges, `<mask>`."""
    return tokenizers.Tokenizer.from_str(_tiny_tokenizer_json())


def tiny_config(vocabulary: int | None = None, image_token: int = 3) -> Florence2Config:
    """Three stages of 16 to 32 channels, total stride 16; a text model 48 wide, 2 + 3 layers: 0.3 M parameters.

    Without `vocabulary` it is transformers' native form of the tiny tokenizer's: complete, `<image>`, padding to 64.
    Neighbouring sizes differ wherever the architecture allows it, so that no two can be mistaken for each other.
    """
    if vocabulary is None:
        image_token = _tiny_vocabulary()
        vocabulary = -(-(image_token + 1) // 64) * 64
    return Florence2Config(
        vision_config={
            "embed_dim": [16, 24, 32],
            "depths": [1, 2, 1],
            "num_heads": [2, 3, 4],
            "num_groups": [4, 2, 2],
            "patch_size": [7, 3, 3],
            "patch_stride": [4, 2, 2],
            "patch_padding": [3, 1, 1],
            "patch_prenorm": [False, True, True],
            "window_size": 3,
            "max_position_embeddings": 10,
            "max_temporal_embeddings": 5,
            "projection_dim": 48,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": vocabulary,
            "d_model": 48,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 3,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 80,
            "decoder_ffn_dim": 96,
            "max_position_embeddings": 128,
        },
        image_token_id=image_token,
    )


def random_model(
    config: Florence2Config, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Florence2ForConditionalGeneration:
    """transformers' model in fp32, every tensor drawn (see `draw`) and rounded to `dtype`, in eval mode."""
    model: Any = Florence2ForConditionalGeneration(config)
    model.eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name not in ALIASES:
            tensor.copy_(draw(name, list(tensor.shape), generator).to(dtype))
    model.generation_config = GenerationConfig(**GENERATION)  # type: ignore[no-untyped-call]
    return cast(Florence2ForConditionalGeneration, model)


def draw(name: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    """Random numbers that keep activations near 1: matrices by fan-in, norms about 1, biases about 0.

    The temporal embedding, a constant of the architecture, gets its true values; the output bias of Microsoft's layout
    is zero, as in every published checkpoint.
    """
    if name.endswith("pos_idx_to_embed"):
        angles = torch.arange(shape[0])[:, None] * torch.exp(
            torch.arange(shape[1] // 2) * -(math.log(10000) / (shape[1] // 2))
        )
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    if name.endswith("final_logits_bias"):
        return torch.zeros(shape)
    noise = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise
    fan_in = shape[0] if name.endswith("image_projection") else math.prod(shape[1:])
    return noise / math.sqrt(fan_in)


def save_native(
    directory: Path, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Florence2ForConditionalGeneration:
    """Writes a tiny checkpoint as transformers itself saves it; returns the model, in fp32."""
    model: Any = random_model(tiny_config(), seed, dtype)
    model.to(dtype).save_pretrained(directory)
    tokenizer = tiny_tokenizer()
    florence_tokenizer.complete(tokenizer)
    tokenizer.add_special_tokens(["<image>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    return cast(Florence2ForConditionalGeneration, model.float())


def save_microsoft(
    directory: Path, *, dtype: torch.dtype = torch.float16, pickled: bool = True, seed: int = 0
) -> Florence2ForConditionalGeneration:
    """Writes a tiny checkpoint in Microsoft's layout, with all aliases where pickled; returns the model, in fp32."""
    config = tiny_config(_tiny_vocabulary())
    model = random_model(config, seed, dtype)
    tensors = microsoft_tensors(model, dtype)
    directory.mkdir(parents=True, exist_ok=True)
    if pickled:
        torch.save(tensors, directory / "pytorch_model.bin")
    else:
        kept = {name: tensor for name, tensor in tensors.items() if name not in map(microsoft_name, ALIASES)}
        save_file(kept, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(microsoft_config(config), indent=2))
    (directory / "generation_config.json").write_text(json.dumps(GENERATION, indent=2))
    tiny_tokenizer().save(str(directory / "tokenizer.json"))
    return model


def microsoft_tensors(model: Florence2ForConditionalGeneration, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The model's tensors as Microsoft's code would save them: aliases share memory, a zero `final_logits_bias`."""
    state = model.state_dict()
    tensors = {
        microsoft_name(name): tensor.to(dtype).contiguous() for name, tensor in state.items() if name not in ALIASES
    }
    tensors["image_projection"] = tensors["image_projection"].T.contiguous()
    tensors |= {microsoft_name(name): tensors[microsoft_name(EMBEDDING)] for name in ALIASES}
    tensors["language_model.final_logits_bias"] = torch.zeros(1, len(state[EMBEDDING]), dtype=dtype)
    return tensors


def microsoft_config(config: Florence2Config) -> dict[str, Any]:
    """`config.json` in Microsoft's form."""
    settings = config.to_dict()
    vision, text = settings["vision_config"], settings["text_config"]
    renamed = ("embed_dim", "model_type", "max_position_embeddings", "max_temporal_embeddings")
    return {
        "model_type": "florence2",
        "projection_dim": vision["projection_dim"],
        "vision_config": {key: value for key, value in vision.items() if key not in renamed}
        | {
            "model_type": "davit",
            "dim_embed": vision["embed_dim"],
            "visual_temporal_embedding": {
                "type": "COSINE",
                "max_temporal_embeddings": vision["max_temporal_embeddings"],
            },
            "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": vision["max_position_embeddings"]},
            "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"],
        },
        "text_config": text | {"model_type": "florence2_language"},
        "vocab_size": text["vocab_size"],
        "torch_dtype": "float16",
    }


def full_size(directory: Path, refdata: Path, seed: int = 0) -> None:
    """Writes a checkpoint of Florence-2-base's true size, random, in Microsoft's layout: fp16, `pytorch_model.bin`.

    Names and shapes are those of Microsoft's own model class, not of `build` or transformers.
    """
    layout: dict[str, list[int]] = json.loads((refdata / "florence2_checkpoint/microsoft_layout.json").read_text())
    aliases = [microsoft_name(name) for name in ALIASES]
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: draw(name, shape, generator).half() for name, shape in layout.items() if name not in aliases}
    tensors |= dict.fromkeys(aliases, tensors[microsoft_name(EMBEDDING)])
    directory.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, directory / "pytorch_model.bin")
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(refdata / "florence2_tokenizer" / name, directory / name)
    (directory / "generation_config.json").write_text(json.dumps(GENERATION, indent=2))


def _tiny_vocabulary() -> int:
    return tiny_tokenizer().get_vocab_size() + len(florence_tokenizer.APPENDED)


@functools.cache
def _tiny_tokenizer_json() -> str:
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([task.prompt for task in tasks.TASKS], trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    text: str = tokenizer.to_str()
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a random checkpoint of the true size in Microsoft's layout.")
    parser.add_argument("size", choices=["full"])
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    default = Path(__file__).resolve().parents[2] / "shared" / "refdata"
    full_size(arguments.out, Path(os.environ.get("FLORENCE_REFDATA", default)))


if __name__ == "__main__":
    main()
