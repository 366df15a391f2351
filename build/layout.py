"""Microsoft's names of Florence-2's tensors and modules -> transformers' native ones.

The same checkpoint is published in two layouts. Microsoft's follows its remote code (wrappers around each block:
`window_attn.fn.qkv`, `conv1.fn.dw`, `ffn.fn.net.fc1`); transformers' native one is what
`Florence2ForConditionalGeneration.state_dict()` lists, and the only one that the build knows beyond this module. The
renaming works on any dotted name, so it serves a checkpoint's tensors and an adapter's modules alike.

Two tensors are more than renamed, which `checkpoint` sees to: `image_projection` is [vision, text] in Microsoft's
layout and a Linear's weight, [text, vision], here; `final_logits_bias` is [1, vocabulary] there and [vocabulary] here.
"""

import re

# The names of one and the same tensor; it is kept under the first.
TIED = (
    "model.language_model.shared.weight",
    "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight",
    "lm_head.weight",
)

_PREFIXES = {
    "image_projection": "model.multi_modal_projector.image_projection.weight",  # a bare parameter, not a module
    "image_proj_norm": "model.multi_modal_projector.image_proj_norm",
    "image_pos_embed": "model.multi_modal_projector.image_position_embed",
    "visual_temporal_embed": "model.multi_modal_projector.visual_temporal_embed",
    "language_model.lm_head": "lm_head",
    "language_model.final_logits_bias": "lm_head.bias",  # transformers' model has none: a Linear's bias does the same
    "language_model.model": "model.language_model",
    "vision_tower": "model.vision_tower",
}
_PREFIX = re.compile(rf"^({'|'.join(map(re.escape, _PREFIXES))})(?=\.|$)")

# Within the vision tower. Each block is there a wrapper that holds its norm and, as `fn`, what it wraps.
_WITHIN_VISION = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\.convs\.)(\d+)\.proj\b", r"\1.conv"),
        (r"\b(?:window|channel)_attn\.norm\b", "norm1"),
        (r"\bffn\.norm\b", "norm2"),
        (r"\b(window_attn|channel_attn)\.fn\b", r"\1"),
        (r"\bffn\.fn\.net\b", "ffn"),
        (r"\b(conv[12])\.fn\.dw\b", r"\1"),
    )
]


def native_name(name: str) -> str:
    """The native name of a tensor or module; a name that is native already, or unknown, stays as it is."""
    prefix = _PREFIX.match(name)
    if prefix is None:
        return name
    rest = name[prefix.end() :]
    if prefix[1] == "vision_tower":
        for pattern, replacement in _WITHIN_VISION:
            rest = pattern.sub(replacement, rest)
    return _PREFIXES[prefix[1]] + rest
