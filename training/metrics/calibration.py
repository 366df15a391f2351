"""How far scores can be taken as probabilities of being right."""

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10  # of equal width over 0..1


@dataclass(frozen=True)
class Bin:
    """Answers of like score: their mean score, the share of them that is right, and how many they are."""

    score: float
    right: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """`error` is the expected calibration error (Guo et al., 2017): the mean over all answers of the distance between
    score and share of right ones in their bin; None where there is no answer. Empty bins are left out."""

    error: float | None
    bins: tuple[Bin, ...]


def calibrate(judged: Sequence[tuple[float, bool]]) -> Calibration:
    """For each answer its score in 0..1, and whether it was right."""
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for score, right in judged:
        groups[min(int(score * BINS), BINS - 1)].append((score, right))
    bins = tuple(
        Bin(sum(s for s, _ in group) / len(group), sum(r for _, r in group) / len(group), len(group))
        for group in groups
        if group
    )
    error = sum(one.count * abs(one.right - one.score) for one in bins) / len(judged) if judged else None
    return Calibration(error, bins)
