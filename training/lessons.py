"""A drawn scene -> questions with their answers, in the words and tokens that are served. `dataset.py` does the same
for pictures in COCO's format, and writes objects and places as it is done here.

Prompts come from the task table, location tokens from `locations`; boxes and phrases stand from left to right, as the
scene lists its things. An object is its category name and four location tokens, as in Florence-2's own `<OD>`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from handler.florence import locations, tasks

from .shapes import Scene


@dataclass(frozen=True)
class Lesson:
    """One question about a picture and its answer, both as text."""

    task: str
    prompt: str
    answer: str


def lesson(scene: Scene, task: str, rng: np.random.Generator) -> Lesson:
    """The question and answer of `task` (a token such as `<OD>`) for this scene.

    `rng` picks the region of `<REGION_TO_CATEGORY>` and which things the caption of
    `<CAPTION_TO_PHRASE_GROUNDING>` names. Raises `KeyError` for a task that the drawn world does not teach.
    """
    asked: str | None = None
    size = scene.image.size
    if task == "<CAPTION>":
        answer = scene.caption
    elif task == "<DETAILED_CAPTION>":
        answer = scene.detailed_caption
    elif task == "<OD>":
        answer = listing(((thing.shape, thing.box) for thing in scene.things), size)
    elif task == "<CAPTION_TO_PHRASE_GROUNDING>":
        count = rng.integers(1, len(scene.things) + 1)
        named = [scene.things[i] for i in sorted(rng.permutation(len(scene.things))[:count])]
        asked = Scene(scene.image, scene.shade, scene.background, tuple(named)).caption
        answer = listing(((thing.phrase, thing.box) for thing in named), size)
        answer = answer[0].upper() + answer[1:]  # phrases are quoted from the caption
    elif task == "<REGION_TO_CATEGORY>":
        thing = scene.things[rng.integers(len(scene.things))]
        asked, answer = place(thing.box, size), thing.shape
    else:
        raise KeyError(task)
    return Lesson(task, tasks.find(task).ask(asked), answer)


TASKS = ("<CAPTION>", "<DETAILED_CAPTION>", "<OD>", "<CAPTION_TO_PHRASE_GROUNDING>", "<REGION_TO_CATEGORY>")


Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels


def listing(things: Iterable[tuple[str, Box]], size: locations.Size) -> str:
    """Named boxes in a picture of this width and height -> an answer: each name and its four location tokens."""
    return "".join(name + place(box, size) for name, box in things)


def place(box: Box, size: locations.Size) -> str:
    """A box -> its four location tokens."""
    return locations.to_text(locations.to_bins(box, size))
