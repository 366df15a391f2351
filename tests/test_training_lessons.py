"""Lessons: what is taught is what the server asks and reads."""

import numpy as np
import pytest

from handler.florence import answers, locations, tasks
from training import shapes
from training.lessons import TASKS, lesson

SCENES = [shapes.draw(7, index) for index in range(30)]
RNG = np.random.default_rng(0)


def test_captions_are_the_scenes_own() -> None:
    for scene in SCENES:
        assert lesson(scene, "<CAPTION>", RNG).answer == scene.caption
        assert lesson(scene, "<DETAILED_CAPTION>", RNG).answer == scene.detailed_caption


def test_prompts_are_those_that_are_served() -> None:
    for task in ("<CAPTION>", "<DETAILED_CAPTION>", "<OD>"):
        assert lesson(SCENES[0], task, RNG).prompt == tasks.find(task).ask(None)


@pytest.mark.parametrize("task", ["<OD>", "<CAPTION_TO_PHRASE_GROUNDING>"])
def test_the_servers_parser_finds_the_things_in_the_answer(task: str) -> None:
    """Within a bin: a location token is a thousandth of the picture."""
    for scene in SCENES:
        size = scene.image.size
        found = answers.parse(tasks.find(task), lesson(scene, task, RNG).answer, size).objects
        named = {(thing.shape if task == "<OD>" else thing.phrase.lower()): thing.box for thing in scene.things}
        assert found
        if task == "<OD>":
            assert [one.label for one in found] == [thing.shape for thing in scene.things]
            pairs = list(zip(found, [thing.box for thing in scene.things], strict=True))
        else:
            pairs = [(one, named[one.label.lower()]) for one in found]
        for one, box in pairs:
            assert one.box is not None
            assert np.abs(np.subtract(one.box, box)).max() <= max(size) / locations.BINS


def test_a_region_is_asked_by_the_box_of_the_category_that_answers() -> None:
    for scene in SCENES:
        taught = lesson(scene, "<REGION_TO_CATEGORY>", RNG)
        place = locations.from_text(taught.prompt)
        shapes_there = [t.shape for t in scene.things if locations.to_bins(t.box, scene.image.size) == place]
        assert shapes_there == [taught.answer]


def test_grounding_asks_with_a_caption_of_the_phrases_answered() -> None:
    for scene in SCENES:
        taught = lesson(scene, "<CAPTION_TO_PHRASE_GROUNDING>", RNG)
        for found in answers.parse(tasks.find(taught.task), taught.answer, scene.image.size).objects:
            assert found.label in taught.prompt


def test_every_task_taught_is_there_and_others_are_refused() -> None:
    assert [lesson(SCENES[0], task, RNG).task for task in TASKS] == list(TASKS)
    with pytest.raises(KeyError, match="OCR"):
        lesson(SCENES[0], "<OCR>", RNG)
