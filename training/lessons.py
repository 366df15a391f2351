"""A drawn scene -> questions with their answers, in the words and tokens that are served.

Prompts come from the task table, location tokens from `locations`; boxes and phrases stand from left to right, as the
scene lists its things. An object is its category name and four location tokens, as in Florence-2's own `<OD>`.
"""

from dataclasses import dataclass

import numpy as np

from handler.florence import locations, tasks

from .shapes import Scene, Thing


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
    if task == "<CAPTION>":
        answer = scene.caption
    elif task == "<DETAILED_CAPTION>":
        answer = scene.detailed_caption
    elif task == "<OD>":
        answer = "".join(thing.shape + _place(thing, scene) for thing in scene.things)
    elif task == "<CAPTION_TO_PHRASE_GROUNDING>":
        count = rng.integers(1, len(scene.things) + 1)
        named = [scene.things[i] for i in sorted(rng.permutation(len(scene.things))[:count])]
        asked = Scene(scene.image, scene.shade, scene.background, tuple(named)).caption
        answer = "".join(thing.phrase + _place(thing, scene) for thing in named)
        answer = answer[0].upper() + answer[1:]  # phrases are quoted from the caption
    elif task == "<REGION_TO_CATEGORY>":
        thing = scene.things[rng.integers(len(scene.things))]
        asked, answer = _place(thing, scene), thing.shape
    else:
        raise KeyError(task)
    return Lesson(task, tasks.find(task).ask(asked), answer)


TASKS = ("<CAPTION>", "<DETAILED_CAPTION>", "<OD>", "<CAPTION_TO_PHRASE_GROUNDING>", "<REGION_TO_CATEGORY>")


def _place(thing: Thing, scene: Scene) -> str:
    return locations.to_text(locations.to_bins(thing.box, scene.image.size))
