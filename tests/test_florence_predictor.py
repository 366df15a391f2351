"""From bytes to answers on the committed miniature."""

import pytest
from conftest import ROOT

from handler.florence import tasks
from handler.florence.errors import NotAnImage, TaskInputError
from handler.florence.predictor import Ask, Predictor

SAMPLES = sorted((ROOT / "handler" / "page" / "samples").glob("*.png"))
CAPTION, DETECT = Ask(tasks.find("caption")), Ask(tasks.find("detect"))
GROUND = Ask(tasks.find("ground"), "A purple cross.")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(ROOT / "models" / "mini", threads=1)


def test_questions_asked_together_are_answered_as_apart(predictor: Predictor) -> None:
    for sample in SAMPLES:
        image = sample.read_bytes()
        together = predictor.predict(image, [CAPTION, DETECT, GROUND]).predictions
        apart = [predictor.predict(image, [ask]).predictions[0] for ask in (CAPTION, DETECT, GROUND)]
        assert [one.ids for one in together] == [one.ids for one in apart]
        for one in together:
            assert 0 <= one.score <= 1
            assert all(0 <= thing.score <= 1 for thing in one.objects)


def test_grounding_finds_the_phrase(predictor: Predictor) -> None:
    found = predictor.predict(SAMPLES[0].read_bytes(), [GROUND]).predictions[0].objects
    assert [thing.label for thing in found] == ["A purple cross"]
    assert found[0].box == pytest.approx((9, 8, 65, 62), abs=3)  # as it was drawn


def test_a_bad_question_costs_nothing(predictor: Predictor) -> None:
    with pytest.raises(TaskInputError):
        predictor.predict(b"", [Ask(tasks.find("ground"))])
    with pytest.raises(NotAnImage):
        predictor.predict(b"not an image at all", [CAPTION])
