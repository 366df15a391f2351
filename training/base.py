"""The checkpoint that training starts from, in transformers' layout, whole or not at all."""

import textwrap
from pathlib import Path
from typing import Any

import huggingface_hub
import tokenizers
import torch
from transformers import Florence2ForConditionalGeneration

from handler.florence import tokenizer

_FILE = "tokenizer.json"


class BaseError(Exception):
    """The checkpoint cannot be used: one line that names it and the mend."""


def load(base: str | Path, revision: str | None = None) -> tuple[Florence2ForConditionalGeneration, Any]:
    """The model in fp32 and its complete tokenizer (of the `tokenizers` library), from a folder or the hub.

    Raises `BaseError`, for a checkpoint that lacks a tensor, too: transformers would draw it at random.
    """
    local = Path(base).is_dir()
    if not local and revision is None:
        raise BaseError(f"{base} is no folder; to take it from the hub, give the commit with --revision.")
    try:
        loaded: Any = Florence2ForConditionalGeneration.from_pretrained(
            base, revision=revision or "main", dtype=torch.float32, output_loading_info=True
        )
        file = Path(base, _FILE) if local else huggingface_hub.hf_hub_download(str(base), _FILE, revision=revision)
        words = tokenizers.Tokenizer.from_file(str(file))
        tokenizer.complete(words)
    except Exception as error:  # three libraries, each with many ways to say that a file is missing or wrong
        reason = textwrap.shorten(str(error), 200, placeholder=" ...")  # transformers may list all its models
        raise BaseError(
            f"{base} is no Florence-2 checkpoint in transformers' layout: {reason} (Of Microsoft's checkpoints the hub "
            "has the same weights in that layout under florence-community/.)"
        ) from error
    model, report = loaded
    amiss = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if amiss:
        raise BaseError(
            f"{base} lacks {len(amiss)} of Florence-2's tensors or has them in another shape, such as {amiss[0]}: "
            "download it again."
        )
    return model, words
