"""Scores of answers and objects: by hand, and from the engine's own scores on the miniature."""

import io
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from handler.florence import artifact, locations, scores, tasks
from handler.florence.image import open_image, to_pixels
from handler.florence.predictor import Ask, Predictor, _tokens
from training import shapes

MINI = ROOT / "models" / "mini"
SAMPLES = sorted((ROOT / "handler" / "page" / "samples").glob("*.png"))
DETECT = Ask(tasks.find("detect"))


def spread(centre: int, *shares: float) -> np.ndarray:
    """Probabilities of all bins: `shares[d]` on each bin at distance d from the centre."""
    bins = np.zeros(locations.BINS)
    for distance, share in enumerate(shares):
        bins[[centre - distance, centre + distance]] = share
    return bins


def test_an_object_by_hand() -> None:
    """A box of 40 x 100 bins: what lies within 2 bins counts along x, within 5 along y."""
    box = [100, 200, 140, 300]
    shares = (0.1, 0.1, 0.1, 0.1, 0.05, 0.05)  # 0.5 within 2 bins, 0.9 within 5
    rivals = [spread(bin_, *shares) for bin_ in box]
    assert scores.of_object([0.5, 0.8], box, rivals) == pytest.approx(0.4 * math.sqrt(0.5 * 0.9))
    assert scores.of_object([], box, rivals) == pytest.approx(math.sqrt(0.5 * 0.9))


def test_corners_in_any_order_have_the_same_extent() -> None:
    box = [100, 200, 140, 300]
    rivals = [spread(bin_, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05) for bin_ in box]
    turned = [2, 3, 0, 1]
    assert scores.of_object([], [box[i] for i in turned], [rivals[i] for i in turned]) == pytest.approx(
        scores.of_object([], box, rivals)
    )


def test_a_point_and_the_edges_of_the_image_have_a_neighbour() -> None:
    """A reach of at least one bin; beyond the first and the last there is nothing."""
    point = [0, 999, 0, 999]
    rivals = [np.full(locations.BINS, 0.001) for _ in point]
    assert scores.of_object([], point, rivals) == pytest.approx(0.002)


def test_a_polygon_of_separate_points() -> None:
    outline = [100, 100, 200, 100, 200, 200]
    assert scores.of_object([0.9], outline, [spread(bin_, 1.0) for bin_ in outline]) == pytest.approx(0.9)


def test_an_answer_is_as_sure_as_its_tokens_are_on_average() -> None:
    assert scores.of_answer([0.5, 0.5, 1.0]) == pytest.approx(0.25 ** (1 / 3))
    assert scores.of_answer([]) == 0


def test_the_end_of_the_answer_is_no_part_of_its_last_object() -> None:
    ends = np.cumsum([0, 4, 7, 7, 0])  # <s>, a label, two locations, </s>
    assert _tokens(ends, (0, 4)) == [1]
    assert _tokens(ends, (4, 18)) == [2, 3]


@pytest.mark.parametrize("beams", [1, 3])
def test_the_miniatures_scores_again_from_the_engines(beams: int, tmp_path: Path) -> None:
    for file in MINI.iterdir():
        shutil.copy(file, tmp_path)
    manifest = (MINI / artifact.MANIFEST).read_text().replace('"num_beams": 1', f'"num_beams": {beams}')
    (tmp_path / artifact.MANIFEST).write_text(manifest)
    predictor = Predictor(tmp_path)
    engine, tokenizer = predictor._engine, predictor._tokenizer
    assert predictor.manifest.generation.num_beams == beams
    first, found = tokenizer.location_ids.start, 0
    for sample in SAMPLES:
        data = sample.read_bytes()
        answer = predictor.predict(data, [DETECT]).predictions[0]
        pixels = to_pixels(open_image(data).image, predictor.manifest.image_size)
        memory = engine.encode(engine.see(pixels), [tokenizer.encode(DETECT.task.ask())])
        cache, given = engine.start(1), []  # the probabilities of every token in every place
        for id_ in (predictor.manifest.generation.decoder_start, *answer.ids[:-1]):
            raw, cache = engine.step(np.array([[id_]]), cache, memory)
            grown = np.exp(raw[0].astype(np.float64))
            given.append(grown / grown.sum())
        objects, label, at = iter(answer.objects), 1.0, 1 if answer.ids[0] == tokenizer.bos_id else 0
        while answer.ids[at] != tokenizer.eos_id:
            if answer.ids[at] not in tokenizer.location_ids:
                after_box = at > 0 and answer.ids[at - 1] in tokenizer.location_ids
                label = (1.0 if after_box else label) * given[at][answer.ids[at]]
                at += 1
                continue
            box = [id_ - first for id_ in answer.ids[at : at + 4]]
            near = []
            for place, bin_ in enumerate(box):
                reach = max(1, abs(box[(place + 2) % 4] - bin_) // 20)
                low, high = max(0, bin_ - reach), min(999, bin_ + reach)
                near.append(given[at + place][first + low : first + high + 1].sum())
            assert next(objects).score == pytest.approx(label * math.prod(near) ** 0.25, rel=1e-3)
            found, at = found + 1, at + 4
        assert next(objects, None) is None
    assert found > 10


def test_scores_tell_good_boxes_from_bad() -> None:
    """What a minimum score is for: on 100 drawn pictures the better half by score lies closer to the truth."""
    predictor, pairs = Predictor(MINI), []
    for index in range(100):
        scene, buffer = shapes.draw(8, index), io.BytesIO()
        scene.image.save(buffer, "PNG")
        for thing in predictor.predict(buffer.getvalue(), [DETECT]).predictions[0].objects:
            truths = [other.box for other in scene.things if other.shape == thing.label]
            pairs.append((thing.score, max((_iou(thing.box or (0, 0, 0, 0), truth) for truth in truths), default=0.0)))
    scored, overlap = np.array(pairs).T
    assert np.quantile(scored, 0.95) - np.quantile(scored, 0.05) > 0.15
    sure = scored > np.median(scored)
    assert overlap[sure].mean() > overlap[~sure].mean() + 0.02


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)
