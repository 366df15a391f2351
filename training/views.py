"""Another view of the same picture, mirrored or at another scale, whose boxes stay true.

A view is a window on the picture, which may be smaller (a crop) or larger (the rest is the colour that the network sees
as nothing), and whether it is mirrored. Boxes move with the pixels and are clipped to the window.

A clipped box is the part of the box that is seen, as COCO's own boxes end at the picture's edge; of a thing that does
not fill its box it may be a little larger than what is seen of the thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from handler.florence.image import MEAN

from .coco import Box, clip

VISIBLE = (
    0.5  # share of a box: what is seen less must not be seen at all, or the answer would lack a thing that is there
)
_TRIES = 20  # windows drawn until one cuts no box too short
_LEAST = 1.0  # pixels: the least side of a box
_NOTHING = tuple(round(255 * channel) for channel in MEAN)  # is 0 after normalisation


@dataclass(frozen=True)
class View:
    """`window` is left, top, right, bottom in whole pixels of the picture; it may reach beyond it."""

    window: tuple[int, int, int, int]
    mirrored: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        left, top, right, bottom = self.window
        return right - left, bottom - top

    def picture(self, image: Image.Image) -> Image.Image:
        """What is seen of the RGB picture."""
        left, top, _, _ = self.window
        if self.window != (0, 0, *image.size):
            seen = Image.new("RGB", self.size, _NOTHING)
            seen.paste(image, (-left, -top))
            image = seen
        return ImageOps.mirror(image) if self.mirrored else image

    def box(self, box: Box) -> Box | None:
        """The box in the view's pixels, clipped to it; None where nothing of it is seen."""
        left, top, _, _ = self.window
        x1, y1, x2, y2 = clip((box[0] - left, box[1] - top, box[2] - left, box[3] - top), self.size)
        if x2 <= x1 or y2 <= y1:
            return None
        return (self.size[0] - x2, y1, self.size[0] - x1, y2) if self.mirrored else (x1, y1, x2, y2)


def whole(size: tuple[int, int], mirrored: bool = False) -> View:
    """The picture as it is, of this width and height, or mirrored."""
    return View((0, 0, *size), mirrored)


def jittered(
    rng: np.random.Generator, size: tuple[int, int], boxes: Sequence[Box], jitter: float, mirrored: bool = False
) -> View:
    """A window of 1 - `jitter` to 1 + `jitter` times the picture's sides at a random place: a smaller one within the
    picture, a larger one around it.

    Each box is either seen, by at least the share `VISIBLE`, or not at all, and at least one is seen. Where no such
    window is found it is the whole picture.
    """
    for _ in range(_TRIES):
        scale = rng.uniform(1 - jitter, 1 + jitter)
        width, height = (max(1, round(side * scale)) for side in size)
        # Between nought and the room that is left, whether that is the picture's or the window's.
        left, top = (int(rng.integers(min(0, room), max(0, room) + 1)) for room in (size[0] - width, size[1] - height))
        view = View((left, top, left + width, top + height), mirrored)
        seen = [(box, view.box(box)) for box in boxes]
        if any(part for _, part in seen) and all(part is None or _enough(box, part) for box, part in seen):
            return view
    return whole(size, mirrored)


def _enough(box: Box, part: Box) -> bool:
    wide, high = part[2] - part[0], part[3] - part[1]
    # A hair less than the least side: subtracting the window's corner rounds a side of exactly a pixel.
    return wide * high >= VISIBLE * (box[2] - box[0]) * (box[3] - box[1]) and min(wide, high) >= _LEAST - 1e-6
