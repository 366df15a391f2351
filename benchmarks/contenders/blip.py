"""BLIP-base in transformers, fp32, 384 px: the captioner that Florence-2 took the place of. It finds no objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BlipForConditionalGeneration

from .. import checkpoint as checkpoints
from ..workload import Work
from . import Contender
from .reading import Reader


def prepare(contender: Contender, checkpoint: Path, out: Path) -> None:
    """A model of BLIP-base's shapes."""
    checkpoints.write_blip(out)


def load(contender: Contender, folder: Path, checkpoint: Path, threads: int) -> "Blip":
    """The model."""
    torch.set_num_threads(threads)
    model: Any = BlipForConditionalGeneration.from_pretrained(folder)
    model.eval()
    return Blip(model, Reader(checkpoint, contender.size))


class Blip:
    """A model of transformers behind `generate`."""

    def __init__(self, model: Any, reader: Reader) -> None:
        self._model, self._reader = model, reader

    @torch.inference_mode()
    def answer(self, images: Sequence[bytes], works: Sequence[Work]) -> list[int]:
        """See `Model`."""
        counts = []
        for work in works:
            pixels = torch.from_numpy(self._reader.pixels(images))
            made = self._model.generate(
                pixel_values=pixels,
                max_new_tokens=work.tokens,
                min_new_tokens=work.tokens,
                num_beams=1,
                do_sample=False,
            )
            counts += [work.tokens if row[work.tokens - 1 :] else 0 for row in made.tolist()]
        return counts
