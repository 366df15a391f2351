"""Locations against transformers' vectors and against exact arithmetic."""

import json
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from handler.florence import locations

SIZES = st.tuples(st.integers(1, 65_535), st.integers(1, 65_535))


def test_quantizer_vectors(refdata: Path) -> None:
    """There and back gives the same pixel, or the last inside, after transformers' truncation to whole pixels.

    Its third vector, an error for anything but two or four columns, has no counterpart: here coordinates are one flat
    sequence of x and y, of any length.
    """
    vectors = json.loads((refdata / "florence2_vectors" / "quantizer.json").read_text())
    assert [vector["kind"] for vector in vectors] == ["boxes", "points", "error"]
    for vector in vectors[:2]:
        size = tuple(vector["size_wh"])
        for coordinates, expected in zip(vector["input"], vector["expected_dequantized"], strict=True):
            bins = locations.to_bins(coordinates, size)
            assert [int(pixel) for pixel in locations.to_pixels(bins, size)] == expected


@given(size=SIZES, x=st.integers(-100, 70_000), y=st.integers(-100, 70_000))
def test_a_pixel_becomes_the_bin_that_holds_it(size: tuple[int, int], x: int, y: int) -> None:
    for value, side, bin_ in zip((x, y), size, locations.to_bins((x, y), size), strict=True):
        assert bin_ == min(max(value * 1000 // side, 0), 999)
        if 0 <= value < side:
            assert Fraction(bin_ * side, 1000) <= value < Fraction((bin_ + 1) * side, 1000)


@given(size=SIZES, bins=st.lists(st.integers(0, 999), max_size=9))
def test_a_bin_comes_back(size: tuple[int, int], bins: list[int]) -> None:
    pixels = locations.to_pixels(bins, size)
    assert locations.to_bins(pixels, size) == bins
    for i, (pixel, bin_) in enumerate(zip(pixels, bins, strict=True)):
        assert abs(pixel - Fraction(2 * bin_ + 1, 2000) * size[i % 2]) < 1e-6


@given(bins=st.lists(st.integers(0, 999)), words=st.text("abc <>", max_size=5))
def test_text(bins: list[int], words: str) -> None:
    text = locations.to_text(bins)
    assert locations.from_text(text) == bins
    assert locations.from_text(words + text + words) == bins


def test_what_is_no_location() -> None:
    assert locations.to_text([0, 999]) == "<loc_0><loc_999>"
    for text in ("<loc_>", "<loc_-1>", "<loc_12345>", "<loc_1.5>", "<loc_\u0663>", "<LOC_1>", "<loc_1 >"):
        assert locations.from_text(text) == []
