"""How far scores are from shares."""

import pytest

from training.metrics.calibration import Bin, calibrate


def test_scores_that_are_shares_have_no_error() -> None:
    found = calibrate([(0.75, place < 3) for place in range(4)] + [(0.25, place < 1) for place in range(4)])
    assert found.error == pytest.approx(0)
    assert found.bins == (Bin(0.25, 0.25, 4), Bin(0.75, 0.75, 4))


def test_the_error_is_the_mean_distance_weighted_by_the_number_of_answers() -> None:
    found = calibrate([(1.0, False), (1.0, True), (0.9, True), (0.0, False)])
    # scores of .9 and 1 share a bin: mean score 2.9 / 3, two of three right
    assert found.bins == (Bin(0, 0, 1), Bin(pytest.approx(2.9 / 3), pytest.approx(2 / 3), 3))
    assert found.error == pytest.approx(3 / 4 * 0.3)


def test_no_answers_have_no_error() -> None:
    assert (calibrate([]).error, calibrate([]).bins) == (None, ())
