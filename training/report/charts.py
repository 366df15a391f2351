"""Curves and diagrams by matplotlib: axes for the PNG, SVG for the page.

An SVG's colours are CSS variables, so that one drawing serves the light and the dark page; its text is text. Series
differ by colour (Okabe and Ito's, told apart in the common colour blindnesses), marker and dashes. No legends: the page
writes its own.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .evaluations import Calibration, Loss

# Okabe and Ito: "Color Universal Design", 2008. The page has brighter ones of its own for the dark.
SERIES = ("#5f6b76", "#0072b2", "#d55e00", "#009e73", "#b0559a", "#8a6d00")
MARKERS = "osD^vP"
DASHES: tuple[Any, ...] = ((None, None), (5, 2), (None, None), (2, 2), (6, 2, 2, 2), (None, None))
SIZE = (3.7, 3.2)  # inches; on a phone an SVG keeps nine tenths of it, so that its text stays readable
INK, MUTED, LINE = "#1d1a17", "#6b645c", "#e4dfd8"
TRAINING, HELD_OUT = SERIES[1], SERIES[2]
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES)
}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "font.size": 10,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # names come from data: a dollar is a dollar
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def plot_losses(axes: Axes, losses: Sequence[Loss]) -> None:
    """Training and held-out loss by step; the lowest held-out one is marked."""
    trained = [(each.step, each.loss) for each in losses if each.loss is not None]
    held_out = [(each.step, each.eval_loss) for each in losses if each.eval_loss is not None]
    if trained:
        axes.plot(*zip(*trained, strict=True), color=TRAINING, linewidth=1.4)
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color=HELD_OUT, linewidth=1.8, marker="o", markersize=3.5)
        step, lowest = min(held_out, key=lambda pair: pair[1])
        axes.plot(step, lowest, color=HELD_OUT, marker="o", markersize=9, fillstyle="none", markeredgewidth=1.5)
    axes.set(xlabel="step", ylabel="loss")
    axes.set_ylim(bottom=0)


def plot_calibration(axes: Axes, calibrations: Sequence[tuple[int, Calibration]]) -> None:
    """Share of right answers by score, with the number of each evaluation's series; the larger the mark, the more
    answers. On the diagonal a score is the probability that it seems to be."""
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, dashes=(2, 3))
    for series, calibration in calibrations:
        bins = [each for each in calibration.bins if each.count]
        most = max((each.count for each in bins), default=1)
        colour, marker = SERIES[series % len(SERIES)], MARKERS[series % len(MARKERS)]
        x, y = [each.score for each in bins], [each.right for each in bins]
        axes.plot(x, y, color=colour, linewidth=1.2, dashes=DASHES[series % len(DASHES)])
        sizes = [16 + 90 * each.count / most for each in bins]
        axes.scatter(x, y, s=sizes, color=colour, marker=marker, alpha=0.8, linewidths=0)
    axes.set(xlabel="score", ylabel="share right", xlim=(-0.02, 1.04), ylim=(-0.02, 1.04))


def losses(rows: Sequence[Loss]) -> str:
    """`plot_losses` as SVG."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": "losses"}):
        figure = Figure(figsize=SIZE, layout="constrained")
        plot_losses(figure.add_subplot(), rows)
        return _svg(figure)


def calibration(name: str, calibrations: Sequence[tuple[int, Calibration]]) -> str:
    """`plot_calibration` as SVG."""
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=SIZE, layout="constrained")
        plot_calibration(figure.add_subplot(), calibrations)
        return _svg(figure)


def _svg(figure: Figure) -> str:
    """The figure as an SVG element to stand in HTML: the same bytes each time, without ids that another might have."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=empty)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 var(--sans)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg
