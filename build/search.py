"""Which layers stay in fp32 where an artifact that is int8 throughout does not answer as the fp32 one does.

A checkpoint may have layers that int8 breaks: a channel some hundred times as large as the rest takes the scale of the
whole tensor with it. Each layer's harm is measured alone, in an artifact whose other layers are fp32, so that two
broken layers do not hide one another; then the most harmed are kept in fp32, one more at a time, until the gate holds.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from handler.florence.predictor import Predictor

from . import verify
from .errors import BuildError
from .precision import Precision

# Layers at most, of 43 at the full size: each has up to four times its bytes.
AT_MOST = 8


class GateError(BuildError):
    """The packed artifact does not answer as the fp32 one does."""


def keep_worst(
    write: Callable[[Precision, Path], object],
    layers: Sequence[str],
    expected: verify.Answers,
    images: Sequence[Path],
    out: Path,
) -> tuple[Precision, dict[str, float]]:
    """Writes with `write` into the folder `out`, which it makes anew each time, artifacts of other precisions until one
    reaches `verify.THRESHOLDS` against the answers `expected`; returns its precision and its figures. Raises
    `GateError`."""

    def measured(precision: Precision) -> dict[str, float]:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        write(precision, out)
        return verify.compare(expected, verify.answers(Predictor(out), images))

    bar = tqdm(layers, desc="measuring each layer's harm", unit="layer", leave=False, disable=None)
    harms = {layer: _harm(measured(Precision("fp32", {layer}))) for layer in bar}
    worst = sorted(layers, key=lambda layer: harms[layer], reverse=True)[:AT_MOST]
    counts = range(1, len(worst) + 1)
    for count in tqdm(counts, desc="keeping the most harmed", unit="layer", leave=False, disable=None):
        precision = Precision("int8", tuple(worst[:count]))
        figures = measured(precision)
        if not verify.shortfalls(figures):
            return precision, figures
    raise GateError(
        f"The packed artifact does not answer as the fp32 model does, not even with the layers that int8 harms "
        f"most ({', '.join(worst)}) in fp32: {', '.join(verify.shortfalls(figures))}. Nothing was written. "
        "`--precision fp32` builds without quantisation; `--gate report` measures and lets it pass."
    )


def _harm(figures: dict[str, float]) -> tuple[float, float]:
    """Words that came out otherwise, and where these are equally many, how far the probabilities moved."""
    return 1 - figures["tokens_equal"], figures["score_difference"]
