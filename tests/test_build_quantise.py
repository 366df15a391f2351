"""int8 weights: how near they are, and that no pair of them saturates 16 bits."""

import numpy as np
import pytest

from build import quantise


@pytest.mark.parametrize("inner", [2, 7, 128, 301])
def test_no_neighbouring_pair_of_one_sign_exceeds_128(inner: int) -> None:
    weight = np.random.default_rng(inner).standard_t(3, (inner, 64)).astype(np.float32)
    weight[:2, 0] = 1.0  # the worst case: two equal largest weights side by side
    weight[:, 1] = 0.0
    stored, scale = quantise.by_column(weight)
    assert stored.dtype == np.int8
    assert stored.shape == weight.shape
    padded = np.pad(stored.astype(int), ((0, inner % 2), (0, 0))).reshape(-1, 2, 64)
    assert np.maximum(padded, 0).sum(1).max() <= 128
    assert np.maximum(-padded, 0).sum(1).max() <= 128
    assert np.abs(stored.astype(int)).max() <= 127
    # Rounding is off by half a step; the first of a pair that would make 129 by one and a half.
    assert np.abs(stored * scale - weight).max() <= 1.5 * scale.max()
    assert not stored[:, 1].any()


def test_the_pair_bound_costs_little() -> None:
    weight = np.random.default_rng(0).standard_t(4, (768, 512)).astype(np.float32)
    stored, scale = quantise.by_column(weight)
    plain_scale = np.abs(weight).max(0) / 127
    plain = np.rint(weight / plain_scale) * plain_scale

    def error(other: np.ndarray) -> float:
        return float(np.linalg.norm(other - weight) / np.linalg.norm(weight))

    assert error(stored * scale) < 1.2 * error(plain)


def test_blocks_round_trip_to_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(10, 300)).astype(np.float32)
    stored, scale = quantise.by_block(weight)
    assert stored.dtype == np.uint8
    assert stored.shape == (10, 3, quantise.BLOCK)
    back = ((stored.astype(np.float32) - 128) * scale[..., None]).reshape(10, -1)
    assert np.abs(back[:, :300] - weight).max() <= scale.max() / 2 * 1.001
    assert not back[:, 300:].any()
