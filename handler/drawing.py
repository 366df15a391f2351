"""Objects drawn over their image, with labels and scores, by Pillow.

Colours and looks follow the page's (`page/drawing.js`); one label has one colour. Does not decide what is drawn.
"""

from collections.abc import Sequence
from itertools import chain

from PIL import Image, ImageDraw, ImageFont

from .florence.image import open_image
from .schemas import Object

# The page's colours: told apart in the common colour blindnesses, legible under white text.
COLOURS = ("#0b6bcb", "#c2410c", "#0f7b52", "#a21caf", "#b45309", "#0e7490", "#be123c", "#4d5bd6", "#5f7a0f", "#7a5230")
FILL_OPACITY = 30  # of 255, within polygons
LINE = 1 / 250  # line width, of the image's longer side
TEXT = 1 / 40  # text height, of the image's longer side
MIN_TEXT = 11  # pixels


def draw(image: bytes, objects: Sequence[Object]) -> Image.Image:
    """The image as it is seen, RGB, with `objects` drawn over it. Raises `ImageError`."""
    canvas = open_image(image).image
    longest = max(canvas.size)
    width = max(2, round(longest * LINE))
    font = ImageFont.load_default(max(MIN_TEXT, longest * TEXT))
    pen = ImageDraw.Draw(canvas, "RGBA")
    labels = list(dict.fromkeys(found.label for found in objects))
    # The surest last, so that its label lies on top.
    for found in sorted(objects, key=lambda found: found.score):
        colour = COLOURS[labels.index(found.label) % len(COLOURS)]
        corners = _outline(pen, found, colour, width)
        if corners:
            _tag(pen, f"{found.label} {found.score:.2f}".strip(), corners, colour, font, width, canvas.size)
    return canvas


def _outline(pen: ImageDraw.ImageDraw, found: Object, colour: str, width: int) -> tuple[float, ...]:
    """Draws the outline of an object; returns its points, x and y alternating, none if it has no place."""
    if found.box:
        x1, y1, x2, y2 = found.box
        box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))  # the model may write the corners in any order
        pen.rectangle(box, outline=colour, width=width)
        return box
    shapes = found.polygons or ((found.quad,) if found.quad else ())
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    for shape in shapes:
        if len(shape) >= 6:  # fewer than three points enclose nothing
            pen.polygon(shape, outline=colour, fill=(red, green, blue, FILL_OPACITY), width=width)
    return tuple(chain.from_iterable(shapes))


def _tag(
    pen: ImageDraw.ImageDraw,
    text: str,
    points: tuple[float, ...],
    colour: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    margin: int,
    size: tuple[int, int],
) -> None:
    """Writes `text` above the upper left corner of `points`, or below it where the image ends."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    wide, high = right - left + 4 * margin, bottom - top + 4 * margin
    x = max(0, min(min(points[0::2]), size[0] - wide))
    y = min(points[1::2])
    y = y - high if y >= high else y
    pen.rectangle((x, y, x + wide, y + high), fill=colour)
    pen.text((x + 2 * margin - left, y + 2 * margin - top), text, fill="white", font=font)
