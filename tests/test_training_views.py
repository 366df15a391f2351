"""Boxes held against the pixels: a rectangle is painted, the view is taken, and its pixels are looked for again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handler.florence.image import to_pixels
from training.coco import Box
from training.views import VISIBLE, View, jittered, whole

Size = tuple[int, int]
RED = (255, 0, 0)
sides = st.integers(8, 60)


@st.composite
def boxes_in(draw: st.DrawFn, size: Size) -> tuple[int, int, int, int]:
    """A box of whole pixels inside a picture, so that it can be painted exactly."""
    x1, y1 = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    return x1, y1, draw(st.integers(x1 + 1, size[0])), draw(st.integers(y1 + 1, size[1]))


def painted(size: Size, box: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGB", size, (0, 60, 200))
    image.paste(RED, box)
    return image


def found(image: Image.Image) -> Box | None:
    """The bounds of the red pixels."""
    rows, columns = np.nonzero((np.asarray(image) == RED).all(-1))
    if not len(rows):
        return None
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@given(st.data(), st.tuples(sides, sides), st.booleans())
@settings(deadline=None)  # as elsewhere: the machine may be busy
def test_a_box_moves_with_its_pixels(data: st.DataObject, size: Size, mirrored: bool) -> None:
    """In any window, within the picture, around it or across its edge."""
    box = data.draw(boxes_in(size))
    left, top = data.draw(st.integers(-30, 50)), data.draw(st.integers(-30, 50))
    view = View((left, top, left + data.draw(sides), top + data.draw(sides)), mirrored)
    picture = view.picture(painted(size, box))
    assert picture.size == view.size
    assert view.box(box) == found(picture)


@given(st.data(), st.tuples(sides, sides), st.floats(0, 0.9), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_jitter_cuts_no_box_short_and_leaves_one(
    data: st.DataObject, size: Size, jitter: float, mirrored: bool, seed: int
) -> None:
    boxes = data.draw(st.lists(boxes_in(size), min_size=1, max_size=6))
    view = jittered(np.random.default_rng(seed), size, boxes, jitter, mirrored)
    shares = []
    for box in boxes:
        seen = found(view.picture(painted(size, box)))
        assert view.box(box) == seen
        if seen is not None:
            shares.append(area(seen) / area(box))
    assert shares
    assert min(shares) >= VISIBLE
    for side, was in zip(view.size, size, strict=True):
        assert (1 - jitter) * was - 1 <= side <= (1 + jitter) * was + 1


def test_the_scale_varies_both_ways_and_the_place_too() -> None:
    rng = np.random.default_rng(1)
    views = [jittered(rng, (100, 80), [(40.0, 30.0, 60.0, 50.0)], 0.3) for _ in range(200)]
    widths = [view.size[0] for view in views]
    assert min(widths) < 75
    assert max(widths) > 125
    assert len({view.window[:2] for view in views}) > 150


def test_no_jitter_is_the_whole_picture_untouched() -> None:
    image = painted((40, 30), (1, 2, 3, 4))
    view = jittered(np.random.default_rng(0), image.size, [(1.0, 2.0, 3.0, 4.0)], 0.0)
    assert view == whole(image.size)
    assert view.picture(image) is image


@pytest.mark.parametrize("mirrored", [False, True])
def test_beyond_the_picture_is_what_the_network_sees_as_nothing(mirrored: bool) -> None:
    view = View((-32, 0, 32, 64), mirrored)
    pixels = to_pixels(view.picture(Image.new("RGB", (64, 64), "white")), 64)[0]
    margin = pixels[:, :, 40:] if mirrored else pixels[:, :, :24]  # away from the edge, which resampling blurs
    assert np.abs(margin).max() < 0.02  # half a step of 8 bits is 0.009 of a standard deviation
    assert pixels[:, :, :24].min() > 2 if mirrored else pixels[:, :, 40:].min() > 2


def area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
