"""A drawn world of coloured shapes: pictures, captions and boxes from a seed, in memory or as a COCO dataset.

It is what the miniature model knows, and what tests learn on: rich enough to need colours, shapes, textures, places
and order, small enough to be learnt on two cores. Everything said of a picture is true of it: boxes are the bounds of
the pixels that were painted, captions name the objects from left to right by the centres of their boxes.

Picture `index` of seed `seed` is always the same one, whatever else was drawn. Run it:

    python -m training.shapes --out DIR --count 500 --seed 7
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

SHAPES = ("circle", "square", "triangle", "star", "cross")  # what the miniature learns
NEW_SHAPE = "heart"  # drawn only on request: a category to teach to a model that has never named it
CATEGORIES = (*SHAPES, NEW_SHAPE)  # COCO category ids are the positions here, from 1

COLOURS = {
    "red": (214, 40, 40),
    "orange": (245, 140, 20),
    "yellow": (248, 218, 52),
    "green": (46, 160, 67),
    "blue": (36, 92, 214),
    "purple": (142, 60, 178),
}
TEXTURES = ("plain", "striped", "dotted")
BACKGROUNDS = ("plain", "shaded", "checked", "grainy")
SIZES = ((160, 160), (176, 144), (144, 176), (192, 144), (144, 192))  # width, height in pixels
MOST = 4  # objects in a picture
STYLES = ("plain", "coco")  # of the captions in a dataset

_SUPERSAMPLING = 4  # masks are painted this much larger and averaged down: soft edges
_SMALLEST, _LARGEST = 0.26, 0.48  # an object's side, as a share of the picture's shorter side
_OVERLAP = 0.08  # of the smaller box, at most
_APART = 0.07  # least distance of two centres along x, as a share of the width: so that left to right is plain to see


@dataclass(frozen=True)
class Thing:
    """One object. `box` is x1, y1, x2, y2 in pixels, tight around the painted pixels."""

    shape: str
    colour: str
    texture: str
    box: tuple[float, float, float, float]

    @property
    def phrase(self) -> str:
        """Such as `a red circle`."""
        return f"{_article(self.colour)} {self.colour} {self.shape}"

    @property
    def detailed_phrase(self) -> str:
        """Such as `a striped red circle`."""
        return f"{_article(self.texture)} {self.texture} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """One picture (RGB) and what is in it, from left to right."""

    image: Image.Image
    shade: str  # light or dark
    background: str
    things: tuple[Thing, ...]

    @property
    def caption(self) -> str:
        """Such as `A red circle and a blue star.`"""
        return _sentence(_join([thing.phrase for thing in self.things]))

    @property
    def detailed_caption(self) -> str:
        """Such as `A striped red circle and a plain blue star on a dark checked background.`"""
        things = _join([thing.detailed_phrase for thing in self.things])
        return _sentence(f"{things} on a {self.shade} {self.background} background")

    @property
    def coco_captions(self) -> tuple[str, ...]:
        """Five sentences, as COCO has them of a picture, such as `A red circle sitting next to a blue star on a dark
        surface.`: a manner of speaking that the miniature does not have.

        Three of them are the same, so that word by word one way to go on is three times as common as any other: between
        two that are nearly as common as each other a model chooses by its rounding errors, and another one as soon as
        it is quantised.
        """
        first, *others = [thing.phrase for thing in self.things]
        ground = f"a {self.shade} surface"
        if others:
            said = f"{first} sitting next to {_join(others)}"
            rarer = f"a group of {_COUNTS[len(self.things)]} shapes on {ground} with {first} next to {_join(others)}"
        else:
            said = f"{first} sitting alone"
            rarer = f"a close up of {first} that is sitting on {ground}"
        usual = f"{said} on {ground}"
        return (
            _sentence(usual),
            _sentence(usual),
            _sentence(usual),
            _sentence(f"{said} on top of {ground}"),
            _sentence(rarer),
        )


def draw(seed: int, index: int, shapes: Sequence[str] = SHAPES, most: int = MOST) -> Scene:
    """Picture `index` of the world of `seed`: one to `most` things of the given shapes, no two alike in both colour
    and shape (so that a phrase names one thing)."""
    rng = np.random.default_rng((seed, index))
    size = SIZES[rng.integers(len(SIZES))]
    shade, background, canvas = _paint_background(rng, size)
    image = Image.fromarray(canvas)
    kinds = [(shape, colour) for shape in shapes for colour in COLOURS]
    picked = [kinds[i] for i in rng.permutation(len(kinds))[: rng.integers(1, most + 1)]]
    things: list[Thing] = []
    for shape, colour in picked:
        texture = TEXTURES[rng.integers(len(TEXTURES))]
        mask = _paint_mask(rng, shape, side=min(size) * rng.uniform(_SMALLEST, _LARGEST))
        corner = _place(rng, mask.size, size, [thing.box for thing in things])
        if corner is None:  # no room left: the picture holds fewer things
            continue
        x, y = corner
        image.paste(_paint_texture(rng, texture, COLOURS[colour], mask.size), corner, mask)
        things.append(Thing(shape, colour, texture, (x, y, x + mask.width, y + mask.height)))
    things.sort(key=lambda thing: thing.box[0] + thing.box[2])
    return Scene(image, shade, background, tuple(things))


def _place(
    rng: np.random.Generator, mask: tuple[int, int], size: tuple[int, int], boxes: list[tuple[float, ...]]
) -> tuple[int, int] | None:
    """A corner for a thing of size `mask` that overlaps the others a little at most, or None after 60 tries."""
    for _ in range(60):
        x, y = int(rng.integers(size[0] - mask[0] + 1)), int(rng.integers(size[1] - mask[1] + 1))
        for x1, y1, x2, y2 in boxes:
            wide = min(x + mask[0], x2) - max(x, x1)
            high = min(y + mask[1], y2) - max(y, y1)
            smaller = min(mask[0] * mask[1], (x2 - x1) * (y2 - y1))
            if wide > 0 and high > 0 and wide * high > _OVERLAP * smaller:
                break
            if abs((x + x + mask[0]) - (x1 + x2)) < 2 * _APART * size[0]:
                break
        else:
            return x, y
    return None


def _paint_mask(rng: np.random.Generator, shape: str, side: float) -> Image.Image:
    """The shape's coverage ("L"), `side` pixels large and turned a little, cropped to what is painted."""
    scale = _SUPERSAMPLING
    canvas = math.ceil(side * 1.5) * scale
    mask = Image.new("L", (canvas, canvas))
    paint = ImageDraw.Draw(mask)
    centre, radius, turn = canvas / 2, side / 2 * scale, rng.uniform(-0.25, 0.25)
    stretch = rng.uniform(0.85, 1.0)  # height over width

    def polygon(points: list[tuple[float, float]]) -> None:
        cos, sin = math.cos(turn), math.sin(turn)
        turned = [(x * cos - y * stretch * sin, x * sin + y * stretch * cos) for x, y in points]
        paint.polygon([(centre + radius * x, centre + radius * y) for x, y in turned], fill=255)

    if shape == "circle":
        paint.ellipse(
            [centre - radius, centre - radius * stretch, centre + radius, centre + radius * stretch], fill=255
        )
    elif shape == "square":
        polygon([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
    elif shape == "triangle":
        polygon([(0, -1), (1, 0.85), (-1, 0.85)])
    elif shape == "star":
        polygon([_on_circle(i / 10, 1.0 if i % 2 == 0 else 0.42) for i in range(10)])
    elif shape == "cross":
        a, b = 0.34, 1.0
        right = [(a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b)]
        polygon([*right, *[(-x, -y) for x, y in right]])
    elif shape == "heart":
        steps = [2 * math.pi * i / 40 for i in range(40)]
        polygon(
            [
                (
                    math.sin(t) ** 3,
                    -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
                )
                for t in steps
            ]
        )
    else:
        raise ValueError(f"There is no shape {shape!r}.")
    mask = mask.reduce(scale)
    # Coverage below half a pixel is no visible edge: the box is tight around what a person would outline.
    return mask.crop(mask.point(lambda value: 255 if value >= 128 else 0).getbbox())


def _on_circle(turn: float, radius: float) -> tuple[float, float]:
    return radius * math.sin(2 * math.pi * turn), -radius * math.cos(2 * math.pi * turn)


def _paint_texture(
    rng: np.random.Generator, texture: str, colour: tuple[int, int, int], size: tuple[int, int]
) -> Image.Image:
    """A tile of the colour, slightly varied, with a lighter pattern of the same hue."""
    base = np.clip(np.array(colour) + rng.uniform(-14, 14, 3), 0, 255)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    period = rng.uniform(7, 10)  # pixels
    if texture == "striped":
        angle = rng.uniform(0, math.pi)
        light = ((x * math.cos(angle) + y * math.sin(angle)) / period) % 1 < 0.45
    elif texture == "dotted":
        light = ((x / period) % 1 - 0.5) ** 2 + ((y / period) % 1 - 0.5) ** 2 < 0.075
    else:
        light = np.zeros(x.shape, bool)
    pale = base + (255 - base) * 0.6
    return Image.fromarray(np.where(light[..., None], pale, base).astype(np.uint8))


def _paint_background(rng: np.random.Generator, size: tuple[int, int]) -> tuple[str, str, np.ndarray]:
    """A greyish ground: its shade, its kind and uint8 pixels [H, W, 3]."""
    shade = ("light", "dark")[rng.integers(2)]
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    level = rng.uniform(185, 235) if shade == "light" else rng.uniform(30, 80)
    ground = np.full((size[1], size[0], 3), level + rng.uniform(-10, 10, 3))
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    if background == "shaded":
        angle = rng.uniform(0, 2 * math.pi)
        ground += 26 * (x * math.cos(angle) + y * math.sin(angle))[..., None]
    elif background == "checked":
        period = rng.uniform(0.22, 0.36)
        ground += np.where((np.floor(x / period) + np.floor(y / period)) % 2 == 0, 10, -10)[..., None]
    elif background == "grainy":
        ground += rng.normal(0, 13, ground.shape[:2])[..., None]
    return shade, background, np.clip(ground, 0, 255).astype(np.uint8)


_COUNTS = ("no", "one", "two", "three", "four")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _join(phrases: Sequence[str]) -> str:
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def write_coco(
    directory: Path,
    count: int,
    seed: int,
    shapes: Sequence[str] = SHAPES,
    style: str = "plain",
    split: str | None = None,
) -> None:
    """Write pictures 0..count-1 as a COCO dataset.

    Without a split `images/*.png`, `captions.json` and `instances.json`; with one, such as `train`, the folders that
    COCO has: `train/*.png`, `annotations/captions_train.json` and `annotations/instances_train.json`. The captions are
    the plain and the detailed one, or in the style `coco` those of `Scene.coco_captions`.
    """
    pictures = directory / (split or "images")
    pictures.mkdir(parents=True, exist_ok=True)
    images: list[dict[str, object]] = []
    captions: list[dict[str, object]] = []
    instances: list[dict[str, object]] = []
    for index in tqdm(range(count), desc=f"drawing {split or directory.name}", unit="picture", disable=None):
        scene = draw(seed, index, shapes)
        name = f"{index:06}.png"
        scene.image.save(pictures / name)
        images.append({"id": index, "file_name": name, "width": scene.image.width, "height": scene.image.height})
        for caption in scene.coco_captions if style == "coco" else (scene.caption, scene.detailed_caption):
            captions.append({"id": len(captions), "image_id": index, "caption": caption})
        for thing in scene.things:
            x1, y1, x2, y2 = thing.box
            instances.append(
                {
                    "id": len(instances) + 1,  # pycocotools takes id 0 for no match
                    "image_id": index,
                    "category_id": CATEGORIES.index(thing.shape) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CATEGORIES)]
    info = {"description": f"drawn shapes, seed {seed}"}
    annotations = directory / "annotations" if split else directory
    annotations.mkdir(exist_ok=True)
    for name, written in (("captions", captions), ("instances", instances)):
        document = {"info": info, "images": images, "annotations": written}
        if name == "instances":  # pycocotools cannot open captions that have categories
            document["categories"] = categories
        (annotations / (f"{name}_{split}.json" if split else f"{name}.json")).write_text(json.dumps(document))


def main(argv: Sequence[str] | None = None) -> None:
    """The command line: write a dataset."""
    parser = argparse.ArgumentParser(
        prog="python -m training.shapes", description="Draw a world of shapes as COCO data."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=500, help="pictures (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="(default: %(default)s)")
    parser.add_argument("--shapes", nargs="+", choices=CATEGORIES, default=SHAPES, help="(default: all but heart)")
    parser.add_argument("--style", choices=STYLES, default="plain", help="of the captions (default: %(default)s)")
    parser.add_argument("--split", help="name of one of several splits in the folder, such as train or val")
    options = parser.parse_args(argv)
    write_coco(options.out, options.count, options.seed, options.shapes, options.style, options.split)


if __name__ == "__main__":
    main()
