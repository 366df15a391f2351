"""Pixel coordinates <-> the thousand location tokens, `<loc_0>` to `<loc_999>`.

An axis of `size` pixels is cut into `BINS` equal bins; a coordinate becomes the bin that holds it, a bin becomes the
coordinate of its centre. Formulas: `BoxQuantizer` and `CoordinatesQuantizer` in Microsoft's `processing_florence2.py`,
mode "floor". (transformers truncates the centres to whole pixels; Microsoft's code and transformers.js do not.)

Coordinates alternate x, y: a box is x1, y1, x2, y2; a quad is four corners; a polygon any number of points.
"""

import re
from collections.abc import Iterable, Sequence

BINS = 1000  # location tokens per axis
BOX, QUAD = 4, 8  # locations that make one
# At most four digits: text may spell a number of any length, and `int` refuses thousands of digits.
TOKEN = re.compile(r"<loc_([0-9]{1,4})>")

Size = tuple[int, int]  # width, height in pixels


def to_bins(coordinates: Sequence[float], size: Size) -> list[int]:
    """Pixel coordinates (x, y alternating, of any length) -> bins, clamped to 0..999."""
    return [min(max(int(value * BINS // size[i % 2]), 0), BINS - 1) for i, value in enumerate(coordinates)]


def to_pixels(bins: Sequence[int], size: Size) -> list[float]:
    """Bins (x, y alternating, of any length) -> pixel coordinates of the bins' centres."""
    return [(bin_ + 0.5) * size[i % 2] / BINS for i, bin_ in enumerate(bins)]


def to_text(bins: Iterable[int]) -> str:
    """Bins -> the text the model reads and writes, such as `<loc_12><loc_34>`."""
    return "".join(f"<loc_{bin_}>" for bin_ in bins)


def from_text(text: str) -> list[int]:
    """Every location token in `text`, in order, as bins."""
    return [int(match) for match in TOKEN.findall(text)]
