"""Bytes and question -> arrays, for every contender but ours: with our own code, which is faster than theirs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from handler.florence import tasks
from handler.florence.image import open_image, to_pixels
from handler.florence.tokenizer import Tokenizer


class Reader:
    """The tokenizer of the checkpoint, and the pictures' size."""

    def __init__(self, checkpoint: Path, size: int) -> None:
        self._tokenizer, self._size = Tokenizer.load(checkpoint / "tokenizer.json"), size

    def pixels(self, images: Sequence[bytes]) -> np.ndarray:
        """float32 [B, 3, S, S]."""
        return np.concatenate([to_pixels(open_image(image).image, self._size) for image in images])

    def prompt(self, task: str) -> list[int]:
        """`<s>` question `</s>`."""
        return self._tokenizer.encode(tasks.find(task).ask())

    def text(self, ids: Sequence[int]) -> str:
        """What the ids say."""
        return self._tokenizer.decode(ids)
