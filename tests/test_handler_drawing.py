"""Objects drawn over images: the right pixels, in the page's colours."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image

from handler.drawing import COLOURS, draw
from handler.schemas import Object

PAGE = Path(__file__).parents[1] / "handler" / "page"


def jpeg(width: int, height: int, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "JPEG", exif=exif)
    return buffer.getvalue()


def colour(index: int) -> tuple[int, ...]:
    return tuple(bytes.fromhex(COLOURS[index][1:]))


def test_a_box_is_drawn_on_its_edge_and_not_within() -> None:
    picture = draw(jpeg(400, 300), [Object(label="a", score=1, box=(100, 100, 300, 200))])
    for x, y in [(100, 150), (300, 150), (200, 200), (250, 100)]:
        assert picture.getpixel((x, y)) == colour(0)
    assert picture.getpixel((200, 150)) == (255, 255, 255)
    assert picture.getpixel((50, 50)) == (255, 255, 255)


def test_corners_may_come_in_any_order() -> None:
    upright = draw(jpeg(400, 300), [Object(label="a", score=1, box=(100, 100, 300, 200))])
    for box in [(300, 200, 100, 100), (300, 100, 100, 200), (100, 200, 300, 100)]:
        assert draw(jpeg(400, 300), [Object(label="a", score=1, box=box)]) == upright


def test_labels_have_a_colour_each() -> None:
    objects = [
        Object(label=label, score=0.5, box=(x, 50, x + 40, 90)) for label, x in [("a", 10), ("b", 110), ("a", 210)]
    ]
    picture = draw(jpeg(400, 300), objects)
    assert [picture.getpixel((x + 20, 90)) for x in (10, 110, 210)] == [colour(0), colour(1), colour(0)]


def test_polygons_and_quads_are_outlined_and_filled_lightly() -> None:
    square = (100.0, 100.0, 300.0, 100.0, 300.0, 200.0, 100.0, 200.0)
    for found in (Object(label="a", score=1, quad=square), Object(label="a", score=1, polygons=(square, (1.0, 2.0)))):
        picture = draw(jpeg(400, 300), [found])
        assert picture.getpixel((300, 150)) == colour(0)
        within = picture.getpixel((200, 150))
        assert isinstance(within, tuple)
        assert all(200 < channel <= 255 for channel in within)
        assert within != (255, 255, 255)


def test_boxes_are_in_pixels_of_the_oriented_image() -> None:
    picture = draw(jpeg(400, 200, orientation=6), [Object(label="a", score=1, box=(50, 300, 150, 390))])
    assert picture.size == (200, 400)
    assert picture.getpixel((100, 390)) == colour(0)


def test_an_object_without_a_place_leaves_the_image_alone() -> None:
    picture = draw(jpeg(40, 30), [Object(label="a", score=1)])
    assert picture.getcolors() == [(1200, (255, 255, 255))]


@pytest.mark.parametrize("box", [(0, 0, 400, 300), (395, 0, 400, 5), (0, 295, 1, 300)])
def test_labels_stay_within_the_image(box: tuple[float, float, float, float]) -> None:
    picture = draw(jpeg(400, 300), [Object(label="a rather long label", score=0.5, box=box)])
    tag = sum(count for count, pixel in picture.getcolors(100_000) or [] if pixel == colour(0))
    assert tag > 1000  # of a tag of 24 x 150 pixels and more


def test_the_page_has_the_same_colours() -> None:
    script = (PAGE / "drawing.js").read_text()
    assert tuple(re.findall(r'"(#[0-9a-f]{6})"', script)) == COLOURS
