"""How sure the model was: scores out of the probabilities that the decoder gave.

An object's score is the probability of its label times the geometric mean, over its locations, of the probability that
the location lies near where it was drawn:

    score = product over the label's tokens of p(token)
            * geometric mean over the locations of sum(p(bin) for bins within REACH of the object's own extent)

each probability given all that was written before, and within a box or quad that a location follows. Without a label
the first factor is 1.

A location token's own probability says little: neighbouring bins are nearly equal answers and share it, so that a sure
box has 0.05 on each. What tells a good box from a bad one is how much lies near, and near is a share of the object: an
edge that is off by 10 bins is nothing to a box of 500 and much to one of 50.

Measured in COCO's mAP@[.5:.95] on the drawn world (miniature, int8), and as the rank correlation of score and IoU:

====================================================  ================  =================  ===========  ==============
score                                                 seed 8, 500       seed 8, 3,000      correlation  5 % to 95 % of
                                                      pictures          pictures                        the scores
====================================================  ================  =================  ===========  ==============
every score 1                                         0.8581            0.8583             0.00         1 to 1
label                                                 0.8642            0.8646             0.10         0.999 to 1.000
label, bins within 10                                 0.8649            0.8644             0.16         0.68 to 0.77
label, bins within 20                                 0.8677            0.8673             0.20         0.94 to 0.97
label, bins within 1/20 of the extent (this one)      0.8723            0.8724             0.37         0.74 to 0.96
label, bins within 1/10 of the extent                 0.8729            0.8734             0.37         0.96 to 1.00
====================================================  ================  =================  ===========  ==============

1/20 is taken rather than 1/10 for its spread: a minimum score has something to cut. Product, mean or smallest of the
locations instead of the geometric mean change the third decimal at most.
"""

from collections.abc import Sequence

import numpy as np

REACH = 0.05  # of the object's width or height, on either side of a location; one bin at least


def of_answer(probabilities: Sequence[float]) -> float:
    """The geometric mean of the tokens' probabilities; 0 for none."""
    return _geometric_mean(probabilities) if len(probabilities) else 0.0


def of_object(label: Sequence[float], bins: Sequence[int], rivals: Sequence[np.ndarray]) -> float:
    """The score of one object, in 0..1.

    `label`: the probabilities of the label's tokens. `bins`: its locations, x and y alternating. `rivals`: for each
    location the probabilities of all bins in its place, float [1000].
    """
    places = np.array(bins)
    near = []
    for axis in (0, 1):
        along = places[axis::2]
        reach = max(1, int(REACH * np.ptp(along))) if len(along) else 1
        near += [
            float(one[max(0, bin_ - reach) : bin_ + reach + 1].sum())
            for bin_, one in zip(along, rivals[axis::2], strict=True)
        ]
    return min(1.0, float(np.prod(label)) * (_geometric_mean(near) if near else 1.0))  # sums of floats may exceed 1


def _geometric_mean(probabilities: Sequence[float]) -> float:
    return float(np.exp(np.log(np.maximum(probabilities, 1e-12)).mean()))
