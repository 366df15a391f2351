"""The drawn world: the same from a seed, true in what it says, and readable as COCO data."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from training import shapes

SCENES = [shapes.draw(7, index) for index in range(60)]


def test_a_picture_is_the_same_whatever_else_was_drawn() -> None:
    again = shapes.draw(7, 30)
    assert again.things == SCENES[30].things
    assert again.caption == SCENES[30].caption
    assert np.array_equal(np.asarray(again.image), np.asarray(SCENES[30].image))


@pytest.mark.parametrize(("seed", "index"), [(8, 30), (7, 31)])
def test_other_seeds_and_indices_give_other_pictures(seed: int, index: int) -> None:
    assert shapes.draw(seed, index).image.tobytes() != SCENES[30].image.tobytes()


def test_things_stand_in_order_inside_the_picture_and_no_two_are_alike() -> None:
    assert {len(scene.things) for scene in SCENES} == {1, 2, 3, 4}
    for scene in SCENES:
        centres = [thing.box[0] + thing.box[2] for thing in scene.things]
        assert centres == sorted(centres)
        assert len({(thing.shape, thing.colour) for thing in scene.things}) == len(scene.things)
        for x1, y1, x2, y2 in (thing.box for thing in scene.things):
            assert 0 <= x1 < x2 <= scene.image.width
            assert 0 <= y1 < y2 <= scene.image.height


def test_boxes_hold_all_of_the_colour_and_are_tight() -> None:
    """Greys have no saturation, things have: what is vivid in a picture of one thing is the thing."""
    checked = 0
    for scene in (shapes.draw(7, index, most=1) for index in range(80)):
        if scene.things[0].texture != "plain":
            continue
        hsv = np.asarray(scene.image.convert("HSV"))
        rgb = np.asarray(scene.image).astype(int)
        vivid = (hsv[..., 1] > 100) & (np.ptp(rgb, axis=-1) > 60)
        ys, xs = np.nonzero(vivid)
        measured = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert np.abs(np.subtract(measured, scene.things[0].box)).max() <= 2
        checked += 1
    assert checked >= 5


def test_captions_name_the_things_from_left_to_right() -> None:
    for scene in SCENES:
        nouns = [word.strip(".,") for word in scene.caption.split() if word.strip(".,") in shapes.CATEGORIES]
        assert nouns == [thing.shape for thing in scene.things]
        assert scene.detailed_caption.endswith(f" on a {scene.shade} {scene.background} background.")


def test_word_by_word_one_way_to_go_on_is_clearly_the_commonest_in_cocos_manner() -> None:
    for scene in SCENES:
        said = [caption.split() for caption in scene.coco_captions]
        assert len(said) == 5
        for place in range(len(said[0])):
            ways = Counter(" ".join(words[place : place + 1]) for words in said if words[:place] == said[0][:place])
            (usual, times), *others = ways.most_common()
            assert usual == said[0][place]
            assert all(times >= 3 * rarer for _, rarer in others)


def test_the_new_shape_is_drawn_on_request_alone() -> None:
    assert shapes.NEW_SHAPE not in {thing.shape for scene in SCENES for thing in scene.things}
    assert {thing.shape for thing in shapes.draw(7, 0, [shapes.NEW_SHAPE]).things} == {shapes.NEW_SHAPE}


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="no shape 'blob'"):
        shapes.draw(7, 0, ["blob"])


def test_the_dataset_opens_in_pycocotools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes.main(["--out", str(tmp_path), "--count", "3", "--seed", "7"])
    coco = COCO(tmp_path / "instances.json")
    assert sorted(coco.getImgIds()) == [0, 1, 2]
    for index in range(3):
        boxes = [one["bbox"] for one in coco.loadAnns(coco.getAnnIds(index))]
        assert boxes == [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (t.box for t in SCENES[index].things)]
        assert (tmp_path / "images" / coco.loadImgs(index)[0]["file_name"]).is_file()
    captions = json.loads((tmp_path / "captions.json").read_text())["annotations"]
    assert [one["caption"] for one in captions][:2] == [SCENES[0].caption, SCENES[0].detailed_caption]
