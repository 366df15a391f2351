"""What is measured: the pictures, the questions, and how many tokens each answer has.

The weights are random, so an answer means nothing, and its form and length are fixed: `checkpoint` makes a model that
writes a label and a box over and over and never `</s>` by itself, and each contender stops at `Work.tokens`.
"""

import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

SIZE = 384  # pixels a side, of all contenders but the seed's start
FULL_SIZE = 768  # Florence-2's own
THREADS = 2
LABEL = 2  # tokens of an object's label


@dataclass(frozen=True)
class Work:
    """One question and the length of its answer in tokens, `<s>` and the last one included."""

    task: str
    tokens: int


CAPTION, DETECT = Work("caption", 20), Work("detect", 60)


@dataclass(frozen=True)
class Timing:
    """One thing to time in a contender's process: `works` asked about each of `images` pictures, `repeats` times."""

    name: str
    works: tuple[Work, ...]
    images: int = 1
    repeats: int = 1

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Timing":
        """From its fields, as `dataclasses.asdict` gives them."""
        return cls(**{**said, "works": tuple(Work(**work) for work in said["works"])})


@cache
def picture(seed: int = 0) -> bytes:
    """A JPEG of 1024 x 768 pixels with structure at every scale, about 100 KB."""
    random, image = np.random.default_rng(seed), Image.new("RGB", (1024, 768))
    for side in (4, 16, 64, 256):
        noise = Image.fromarray(random.integers(0, 256, (side * 3 // 4, side, 3), np.uint8))
        image = Image.blend(image, noise.resize(image.size, Image.Resampling.BICUBIC), 0.4)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return stream.getvalue()
