"""`config.json` and `generation_config.json` -> one frozen description of the network.

Reads both forms of Florence-2's configuration: transformers' native one and Microsoft's (`vision_config.dim_embed`,
`image_pos_embed`, `visual_temporal_embedding`). Defaults are transformers' own: the settings pass through its
`Florence2Config`. Everything that this project's graph does not compute is refused here, by name, so that nothing
further on has to ask. Knows nothing about tensors.

What needs no field because Florence-2 knows it in one form alone: every activation is GELU (the exact one, with erf),
every LayerNorm has eps 1e-5, the depthwise kernels are 3 x 3, the text model is BART with its position offset of 2.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import Florence2Config

from .errors import CheckpointError

# `<unk>`: byte-level BPE has a token for every byte and never writes it, and `handler.florence.tasks` refuses it.
_UNUSED_TOKEN = 3

# The settings that make the network; the rest of the file (dropout, labels, code to run) is not looked at.
_VISION_KEYS = (
    *("embed_dim", "depths", "num_heads", "num_groups", "window_size", "mlp_ratio", "qkv_bias", "in_channels"),
    *("patch_size", "patch_stride", "patch_padding", "patch_prenorm", "activation_function"),
    *("projection_dim", "max_position_embeddings", "max_temporal_embeddings"),
)
_TEXT_KEYS = (
    *("vocab_size", "d_model", "encoder_layers", "decoder_layers", "encoder_attention_heads"),
    *("decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim", "max_position_embeddings", "scale_embedding"),
    *("activation_function", "bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id"),
    "forced_eos_token_id",
)

# Generation settings that would change the answers and that our decoding does not have, with their neutral values.
_NEUTRAL_GENERATION: dict[str, tuple[object, ...]] = {
    "do_sample": (False,),
    "repetition_penalty": (1.0,),
    "encoder_repetition_penalty": (1.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "diversity_penalty": (0.0,),
    "num_beam_groups": (1,),
    "min_length": (0,),
    "bad_words_ids": (),
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
}


@dataclass(frozen=True)
class Stage:
    """One of the vision tower's stages: a convolution that shrinks the grid, then `depth` pairs of blocks."""

    dim: int  # channels
    depth: int  # pairs of a spatial (window attention) and a channel (group attention) block
    heads: int  # of the window attention
    groups: int  # of the channel attention
    patch: int  # the convolution's kernel, stride and padding
    stride: int
    padding: int
    prenorm: bool  # LayerNorm before the convolution (over its input's channels) rather than after it


@dataclass(frozen=True)
class Vision:
    """DaViT and the projector behind it."""

    stages: tuple[Stage, ...]
    window: int  # the window attention's side, in grid cells
    mlp_ratio: float  # hidden width of the feed-forward blocks over their channels
    qkv_bias: bool
    max_positions: int  # rows of each position embedding: the largest last grid's side
    max_temporal: int  # rows of the temporal embedding, of which an image uses the first
    projection: int  # width of the image features: the text model's


@dataclass(frozen=True)
class Text:
    """BART."""

    vocabulary: int  # rows of the tied embedding, padding rows included
    width: int
    encoder_layers: int
    decoder_layers: int
    encoder_heads: int
    decoder_heads: int
    encoder_ffn: int
    decoder_ffn: int
    max_positions: int  # the position tables have two rows more
    scale_embedding: bool  # token embeddings times sqrt(width)


@dataclass(frozen=True)
class Generation:
    """How the checkpoint wants to be decoded."""

    bos: int
    pad: int
    eos: int
    decoder_start: int
    forced_bos: int | None  # the first token
    forced_eos: int | None  # the last token at the length limit
    num_beams: int
    no_repeat_ngram_size: int  # 0: off
    early_stopping: bool
    length_penalty: float
    max_length: int | None  # in tokens, the start token included; None: the checkpoint does not say


@dataclass(frozen=True)
class Architecture:
    """The whole network.

    `image_token` is the id that stands for an image feature in the prompt ids of transformers' model. Microsoft's
    vocabulary has none: there it is an id that no prompt holds.
    """

    vision: Vision
    text: Text
    generation: Generation
    image_token: int


def read(directory: Path) -> Architecture:
    """The architecture that `config.json` and, if there is one, `generation_config.json` describe.

    Raises `CheckpointError` for a missing or unreadable file, another kind of model, and any setting outside what
    Florence-2 has.
    """
    raw = _read_json(directory / "config.json")
    if raw.get("model_type") != "florence2":
        raise CheckpointError(
            f"{directory / 'config.json'} is of model_type {raw.get('model_type')!r}, not 'florence2'."
        )
    try:
        config = _typed(raw)
        image_token: int = config.image_token_id
        generation_file = directory / "generation_config.json"
        # As `generate` does: with the file its settings alone count, without it those that the text model's carry.
        settings = (
            _read_json(generation_file)
            if generation_file.exists()
            else {**config.text_config.to_dict(), **raw.get("text_config", {})}
        )
        architecture = Architecture(
            vision=_vision(config.vision_config),
            text=_text(config.text_config),
            generation=_generation(settings, config.text_config),
            image_token=image_token if image_token < config.text_config.vocab_size else _UNUSED_TOKEN,
        )
    except (StrictDataclassError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"The settings in {directory} are not Florence-2's: {error}.") from error
    if architecture.vision.projection != architecture.text.width:
        raise CheckpointError(
            f"The image features are {architecture.vision.projection} wide, the text model {architecture.text.width}."
        )
    return architecture


def transformers_config(architecture: Architecture) -> Florence2Config:
    """The same architecture as transformers' configuration."""
    vision, text, generation = architecture.vision, architecture.text, architecture.generation
    stages = vision.stages
    return Florence2Config(
        vision_config={
            "embed_dim": [stage.dim for stage in stages],
            "depths": [stage.depth for stage in stages],
            "num_heads": [stage.heads for stage in stages],
            "num_groups": [stage.groups for stage in stages],
            "patch_size": [stage.patch for stage in stages],
            "patch_stride": [stage.stride for stage in stages],
            "patch_padding": [stage.padding for stage in stages],
            "patch_prenorm": [stage.prenorm for stage in stages],
            "window_size": vision.window,
            "mlp_ratio": vision.mlp_ratio,
            "qkv_bias": vision.qkv_bias,
            "max_position_embeddings": vision.max_positions,
            "max_temporal_embeddings": vision.max_temporal,
            "projection_dim": vision.projection,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": text.vocabulary,
            "d_model": text.width,
            "encoder_layers": text.encoder_layers,
            "decoder_layers": text.decoder_layers,
            "encoder_attention_heads": text.encoder_heads,
            "decoder_attention_heads": text.decoder_heads,
            "encoder_ffn_dim": text.encoder_ffn,
            "decoder_ffn_dim": text.decoder_ffn,
            "max_position_embeddings": text.max_positions,
            "scale_embedding": text.scale_embedding,
            "bos_token_id": generation.bos,
            "pad_token_id": generation.pad,
            "eos_token_id": generation.eos,
            "decoder_start_token_id": generation.decoder_start,
            "forced_eos_token_id": generation.forced_eos,
        },
        image_token_id=architecture.image_token,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"There is no {path}.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not a JSON object.")
    return content


def _typed(raw: dict[str, Any]) -> Any:
    """transformers' own configuration object, with its defaults and its checks of each value's type."""
    vision, text = dict(raw["vision_config"]), raw["text_config"]
    if "dim_embed" in vision:  # Microsoft's form
        vision["embed_dim"] = vision["dim_embed"]
        position, temporal = vision["image_pos_embed"], vision["visual_temporal_embedding"]
        _expect("image_pos_embed.type", position["type"], "learned_abs_2d")
        _expect("visual_temporal_embedding.type", temporal["type"], "COSINE")
        _expect("image_feature_source", vision["image_feature_source"], ["spatial_avg_pool", "temporal_avg_pool"])
        vision["max_position_embeddings"] = position["max_pos_embeddings"]
        vision["max_temporal_embeddings"] = temporal["max_temporal_embeddings"]
    config: Any = Florence2Config(
        vision_config={key: vision[key] for key in _VISION_KEYS if key in vision},
        text_config={"model_type": "bart"} | {key: text[key] for key in _TEXT_KEYS if key in text},
        **({"image_token_id": raw["image_token_id"]} if "image_token_id" in raw else {}),
    )
    _expect("vision_config.activation_function", config.vision_config.activation_function, "gelu")
    _expect("vision_config.in_channels", config.vision_config.in_channels, 3)
    _expect("text_config.activation_function", config.text_config.activation_function, "gelu")
    _expect("tie_word_embeddings", raw.get("tie_word_embeddings", True), True)
    return config


def _expect(name: str, value: object, expected: object) -> None:
    if value != expected:
        raise ValueError(f"{name} is {value!r}, and the graph knows {expected!r} alone")


def _vision(config: Any) -> Vision:
    columns = (
        config.embed_dim,
        config.depths,
        config.num_heads,
        config.num_groups,
        config.patch_size,
        config.patch_stride,
        config.patch_padding,
        config.patch_prenorm,
    )
    stages = tuple(Stage(*row) for row in zip(*columns, strict=True))
    for stage in stages:
        if stage.dim % stage.heads or stage.dim % stage.groups:
            raise ValueError(f"{stage.dim} channels do not divide into {stage.heads} heads or {stage.groups} groups")
    return Vision(
        stages=stages,
        window=config.window_size,
        mlp_ratio=float(config.mlp_ratio),
        qkv_bias=config.qkv_bias,
        max_positions=config.max_position_embeddings,
        max_temporal=config.max_temporal_embeddings,
        projection=config.projection_dim,
    )


def _text(config: Any) -> Text:
    return Text(
        vocabulary=config.vocab_size,
        width=config.d_model,
        encoder_layers=config.encoder_layers,
        decoder_layers=config.decoder_layers,
        encoder_heads=config.encoder_attention_heads,
        decoder_heads=config.decoder_attention_heads,
        encoder_ffn=config.encoder_ffn_dim,
        decoder_ffn=config.decoder_ffn_dim,
        max_positions=config.max_position_embeddings,
        scale_embedding=config.scale_embedding,
    )


def _generation(settings: dict[str, Any], text_config: Any) -> Generation:
    for name, neutral in _NEUTRAL_GENERATION.items():
        if settings.get(name) is not None and settings[name] not in neutral:
            raise ValueError(f"{name} is {settings[name]!r}, which the decoding does not have: remove it")

    def setting(name: str, kind: type, default: object = None) -> Any:
        value = settings.get(name)
        value = default if value is None else value
        if value is not None and not (isinstance(value, kind) or (kind is float and isinstance(value, int))):
            raise ValueError(f"{name} is {value!r}, not of type {kind.__name__}")
        return value

    return Generation(
        bos=setting("bos_token_id", int, text_config.bos_token_id),
        pad=setting("pad_token_id", int, text_config.pad_token_id),
        eos=setting("eos_token_id", int, text_config.eos_token_id),
        decoder_start=setting("decoder_start_token_id", int, text_config.decoder_start_token_id),
        forced_bos=setting("forced_bos_token_id", int),
        forced_eos=setting("forced_eos_token_id", int),
        num_beams=setting("num_beams", int, 1),
        no_repeat_ngram_size=setting("no_repeat_ngram_size", int, 0),
        early_stopping=setting("early_stopping", bool, False),
        length_penalty=float(setting("length_penalty", float, 1.0)),
        max_length=setting("max_length", int),
    )
