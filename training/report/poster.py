"""The report's essentials as a PNG for a README: headline, remarks, figures, losses, three pictures of the sheet."""

import io
import textwrap
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from handler.florence.image import open_image

from . import charts, summary
from .evaluations import Evaluation, Loss
from .page import colours_of
from .ranking import Chosen

SIZE = (12.0, 9.0)  # inches
DPI = 110
WORDS = 47  # characters to a line below a picture: a third of the width
PAPER = "#faf8f5"


def draw(evaluations: Sequence[Evaluation], chosen: Sequence[Chosen], losses: Sequence[Loss], where: str) -> bytes:
    """The PNG. Shows the worst picture, the middle one and the best of `chosen`. Raises `ImageError`."""
    with matplotlib.rc_context(charts.STYLE):
        figure = Figure(figsize=SIZE, dpi=DPI, facecolor=PAPER, layout="constrained")
        (top,), (bottom,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(1, 1.12), hspace=0.03)
        for part in (top, bottom):
            part.set_facecolor("none")
        title = "\n".join(textwrap.wrap(summary.headline(evaluations, where), 78))
        top.suptitle(title, x=0.012, ha="left", fontsize=17, fontweight="bold")
        remarks = "\n".join(textwrap.wrap(" ".join(summary.remarks(evaluations)), 150))
        bottom.suptitle(remarks, x=0.012, ha="left", fontsize=11, color=charts.MUTED)
        left, right = top.subplots(1, 2) if losses else (None, top.subplots())
        if left is not None:
            charts.plot_losses(left, losses)
            left.set_title("Loss: training (blue), held-out (orange)", fontsize=11, color=charts.MUTED, loc="left")
        _bars(right, evaluations)
        ranked = sorted(chosen, key=lambda one: one.marked[-1].score)
        picked = {"worst": ranked[0], "middle": ranked[len(ranked) // 2], "best": ranked[-1]}
        for axes, (which, one) in zip(bottom.subplots(1, len(picked)), picked.items(), strict=True):
            _picture(axes, one, f"The {which} of the sheet", [each.name for each in evaluations])
        buffer = io.BytesIO()
        figure.savefig(buffer, metadata={"Software": None}, pad_inches=0.25, bbox_inches="tight")
        return buffer.getvalue()


def _bars(axes: Axes, evaluations: Sequence[Evaluation]) -> None:
    """The figures between 0 and 1 side by side, and CIDEr, which goes to 10, as a share of its greatest here."""
    rows = [row for row in summary.figures(evaluations) if row.group in ("Captions", "Detection")][::-1]
    rows = [row for row in rows if row.name != "AP75"]
    height = 0.8 / len(evaluations)
    for series, each in enumerate(evaluations):
        for place, row in enumerate(rows):
            value = row.values[series]
            if value is None:
                continue
            most = max(1.0, *(v for v in row.values if v is not None))
            y = place + 0.4 - height * (series + 0.5)
            axes.barh(y, value / most, height * 0.88, color=charts.SERIES[series % len(charts.SERIES)])
            axes.text(value / most + 0.012, y, row.texts[series], va="center", fontsize=8, color=charts.INK)
        axes.barh(0, 0, color=charts.SERIES[series % len(charts.SERIES)], label=each.name)
    axes.set(yticks=range(len(rows)), yticklabels=[row.name for row in rows], xticks=[], xlim=(0, 1.12))
    axes.grid(visible=False)
    axes.tick_params(axis="y", labelcolor=charts.INK)
    handles, _ = axes.get_legend_handles_labels()
    axes.legend(
        handles=handles,
        labels=[each.name for each in evaluations],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(evaluations),
        frameon=False,
        fontsize=10,
    )


def _picture(axes: Axes, chosen: Chosen, title: str, names: Sequence[str]) -> None:
    """A picture with the boxes of the last evaluation, dashed where they are wrong, and below the true caption, the
    first evaluation's and the last's."""
    image = open_image(chosen.record.path.read_bytes()).image
    axes.imshow(image)
    axes.set(xticks=[], yticks=[], anchor="NW")  # so that the words below have the column's width, not the picture's
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    colours, marked = colours_of(chosen), chosen.marked[-1]
    for found, right in zip(marked.answer.objects, marked.right, strict=False):  # none is marked without a truth
        if found.box is None:
            continue
        (x1, x2), (y1, y2) = sorted(found.box[0::2]), sorted(found.box[1::2])
        colour = colours[found.label]
        style = "solid" if right else (0, (4, 2))
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, lw=2.2, linestyle=style))
        label = f"{found.label} {found.score:.2f}{'' if right else ' ✗'}"
        box = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        x, side = (min(x2, image.width), "right") if x1 + x2 > image.width else (max(x1, 0), "left")
        y, above = (y1, "bottom") if y1 > 0.08 * image.height else (max(y1, 0), "top")
        axes.text(x, y, label, color="white", fontsize=8, ha=side, va=above, bbox=box, clip_on=True)
    axes.set_title(title, fontsize=11, color=charts.MUTED, loc="left")
    said = marked.answer.caption.text if marked.answer.caption else ""
    true = chosen.record.captions[0] if chosen.record.captions else ""
    before = chosen.marked[0].answer.caption
    first = before.text if before and len(chosen.marked) > 1 else ""
    lines = [f"{who}: {text}" for who, text in (("truth", true), (names[0], first), (names[-1], said)) if text]
    wrapped = "\n".join("\n".join(textwrap.wrap(line, WORDS)[:3]) for line in lines)
    axes.set_xlabel(wrapped, loc="left", color=charts.INK)
