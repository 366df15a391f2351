"""The report as one HTML file: everything within, no script, nothing fetched. Jinja2 escapes what comes from data."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from handler.drawing import COLOURS
from handler.florence.image import open_image

from . import charts, summary
from .evaluations import Evaluation, Loss
from .ranking import Chosen, Marked

SIDE = 360  # pixels of a picture's longer side: the width of a phone; some 10 KB as WebP
QUALITY = 78


@dataclass(frozen=True)
class Shape:
    """A box as the sheet draws it."""

    x: float
    y: float
    width: float
    height: float
    label: str
    colour: str
    right: bool


@dataclass(frozen=True)
class Panel:
    """One column of a picture: the truth, or what one evaluation answered."""

    title: str
    series: int | None  # the evaluation's place; None for the truth
    shapes: tuple[Shape, ...]
    captions: tuple[tuple[tuple[str, bool], ...], ...]  # words, each with whether it is right
    missed: tuple[str, ...]
    wrong: tuple[str, ...]
    score: float | None


@dataclass(frozen=True)
class Card:
    """One picture of the sheet."""

    name: str
    why: str
    data: str  # the picture as a data URI
    width: int
    height: int
    panels: tuple[Panel, ...]


def render(
    evaluations: Sequence[Evaluation],
    chosen: Sequence[Chosen],
    losses: Sequence[Loss],
    where: str,
    provenance: Mapping[str, str],
) -> str:
    """The page. `where` names the pictures (`40 held-out pictures`); `provenance` is names and values.

    Raises `ImageError`.
    """
    # Markup: charts that matplotlib wrote, which escapes what it draws, and our own style sheet.
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    calibrations = {}
    for kind in ("captions", "detections"):
        measured = [(i, getattr(e.figures.calibration, kind)) for i, e in enumerate(evaluations)]
        if measured := [(i, each) for i, each in measured if each is not None and each.bins]:
            calibrations[kind] = Markup(charts.calibration(kind, measured))  # noqa: S704
    held_out = [each for each in losses if each.eval_loss is not None]
    return environment.get_template("page.html").render(
        headline=summary.headline(evaluations, where),
        remarks=summary.remarks(evaluations),
        evaluations=evaluations,
        figures=summary.figures(evaluations),
        categories=summary.categories(evaluations),
        losses=Markup(charts.losses(losses)) if losses else None,  # noqa: S704
        lowest=min(held_out, key=lambda each: each.eval_loss or 0.0) if held_out else None,
        calibrations=calibrations,
        cards=[card(one, evaluations) for one in chosen],
        where=where,
        provenance=provenance,
        style=Markup((Path(__file__).parent / "page.css").read_text(encoding="utf-8")),  # noqa: S704
    )


def card(chosen: Chosen, evaluations: Sequence[Evaluation]) -> Card:
    """A picture with its panels; one label has one colour in all of them. Raises `ImageError`."""
    record = chosen.record
    image = open_image(record.path.read_bytes()).image
    width, height = image.size
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY)
    colours = colours_of(chosen)
    truth = Panel(
        "Truth",
        None,
        tuple(_shape(thing.category, thing.box, colours, right=True) for thing in record.things),
        tuple(tuple((word, True) for word in caption.split()) for caption in record.captions),
        (),
        (),
        None,
    )
    answers = [
        _panel(each.name, series, marked, colours)
        for series, (each, marked) in enumerate(zip(evaluations, chosen.marked, strict=True))
    ]
    data = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Card(record.path.name, chosen.why, data, width, height, (truth, *answers))


def colours_of(chosen: Chosen) -> dict[str, str]:
    """A colour for each label of a picture, the same whoever says it; of the page's (`handler.drawing`)."""
    said = [found.label for marked in chosen.marked for found in marked.answer.objects]
    labels = dict.fromkeys([*(thing.category for thing in chosen.record.things), *said])
    return {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(labels)}


def _panel(title: str, series: int, marked: Marked, colours: Mapping[str, str]) -> Panel:
    found = list(zip(marked.answer.objects, marked.right, strict=True)) if marked.right else []
    return Panel(
        title,
        series,
        tuple(_shape(each.label, each.box, colours, right) for each, right in found if each.box is not None),
        (marked.words,) if marked.words else (),
        _counted(marked.missed),
        _counted([each.label for each, right in found if not right]),
        marked.score,
    )


def _counted(labels: Sequence[str]) -> tuple[str, ...]:
    """Such as `cup`, `book ×9`."""
    return tuple(label if count == 1 else f"{label} ×{count}" for label, count in Counter(labels).items())


def _shape(label: str, box: Sequence[float], colours: Mapping[str, str], right: bool) -> Shape:
    (x1, x2), (y1, y2) = sorted(box[0::2]), sorted(box[1::2])
    return Shape(x1, y1, x2 - x1, y2 - y1, label, colours[label], right)
