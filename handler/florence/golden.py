"""The golden case: a picture in the artifact, and the first tokens of its answers, which are asked for again wherever
the artifact is to be served.

Sessions may load without complaint and compute nonsense: a kernel that is wrong on this CPU, a library of another
version. Words are the same on every CPU and locations move by bins (docs/adr/0005), so anything else is refused. Only
sums in another order are allowed for: an answer is kept up to the first token that was chosen by a hair. A model that
is sure of nothing (random weights) keeps next to nothing, and has only to answer at all.
"""

from collections.abc import Sequence

import numpy as np

from .decoding import Decoded

TASKS = ("caption", "detect")
LONGEST = 8  # tokens of each answer
NEAR = 5  # bins that make no other answer, where one is kept
FAR = 40  # bins that a location may be off: on Arm up to 37, on x86-64 up to 5
# Of a token's probability: the most that another may have had in its place. AVX-512 against AVX2, over 1,015 tokens,
# moved logarithms of probabilities by 3e-6 at most for words and 0.03 for locations; this leaves 0.1.
RIVAL = 0.9


def certain(decoded: Decoded, locations: range) -> list[int]:
    """The tokens before the first that might have fallen otherwise. `locations`: the ids of the location tokens, among
    which `decoded.rivals` compares."""
    kept: list[int] = []
    for token, probability, rivals in zip(decoded.ids, decoded.probabilities, decoded.rivals, strict=True):
        rival = 1 - probability
        if rivals is not None:
            bins = np.arange(len(rivals))
            far = rivals[np.abs(bins - (token - locations.start)) > NEAR]
            rival = max(1 - float(rivals.sum()), float(far.max()))
        if rival > RIVAL * probability:
            break
        kept.append(token)
    return kept


def same(expected: Sequence[int], found: Sequence[int], locations: range) -> bool:
    """Whether `found` begins with the tokens `expected`, locations taken for the same up to `FAR` bins."""
    return len(found) >= len(expected) and all(
        abs(one - other) <= FAR if one in locations and other in locations else one == other
        for one, other in zip(expected, found, strict=False)
    )
