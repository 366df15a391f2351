"""transformers' Florence-2 in torch: where the seed started, its recipe, and the two usual precisions.

The recipe fuses its adapter beforehand, so that the checkpoint is what it loads; `quantize_dynamic` runs at the start.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Florence2ForConditionalGeneration

from ..workload import Work
from . import Contender
from .reading import Reader


def prepare(contender: Contender, checkpoint: Path, out: Path) -> None:
    """Nothing: the checkpoint is served as it is."""


def load(contender: Contender, folder: Path, checkpoint: Path, threads: int) -> "Florence":
    """The model in the contender's form."""
    torch.set_num_threads(threads)
    dtype = torch.bfloat16 if contender.form == "bf16" else torch.float32
    model: Any = Florence2ForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype)
    model.eval()
    if contender.form == "int8":
        quantize: Any = torch.ao.quantization.quantize_dynamic
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is deprecated: it is what the recipe says
            model = quantize(model, {torch.nn.Linear}, dtype=torch.qint8)
    if contender.form == "compile":
        model.model.vision_tower = torch.compile(model.model.vision_tower)
        language = model.model.language_model
        language.encoder = torch.compile(language.encoder)
        language.decoder = torch.compile(language.decoder, dynamic=True)
    return Florence(model, Reader(checkpoint, contender.size), 3 if contender.form == "beams" else 1, dtype)


class Florence:
    """A model of transformers behind `generate`; several pictures go as one batch."""

    def __init__(self, model: Any, reader: Reader, beams: int, dtype: torch.dtype) -> None:
        self._model, self._reader, self._beams, self._dtype = model, reader, beams, dtype

    @torch.inference_mode()
    def answer(self, images: Sequence[bytes], works: Sequence[Work]) -> list[int]:
        """See `Model`."""
        counts = []
        for work in works:
            pixels = torch.from_numpy(self._reader.pixels(images)).to(self._dtype)
            places = (pixels.shape[-1] // 32) ** 2 + 1
            ids = [self._model.config.image_token_id] * places + self._reader.prompt(work.task)
            made = self._model.generate(
                input_ids=torch.tensor([ids] * len(images)),
                pixel_values=pixels,
                max_new_tokens=work.tokens,
                num_beams=self._beams,
                do_sample=False,
            )
            for row in made.tolist():
                self._reader.text(row)
                counts.append(len(row) - 1)  # less the start token
        return counts
