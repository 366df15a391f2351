"""What changed between the first evaluation and the last, in sentences and tables. Measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .evaluations import Evaluation, Figures


@dataclass(frozen=True)
class Metric:
    """One row of the table of figures."""

    name: str
    group: str
    field: str  # where it stands in figures.json
    unit: str = ""  # "", "%" or "ms"
    more_is_better: bool = True

    def get(self, figures: Figures) -> float | None:
        """The value, None where it was not measured."""
        value: Any = figures
        for part in self.field.split("."):
            value = None if value is None else getattr(value, part)
        found: float | None = value
        return found

    def show(self, value: float | None, sign: bool = False) -> str:
        """Such as `0.512`, `34.0 %`, with a sign `+3.1 pp`; a dash for what was not measured."""
        if value is None:
            return "–"
        percent = f"{100 * value:+.1f} {'pp' if sign else '%'}"
        text = {"%": percent, "ms": f"{value:+.1f} ms"}.get(self.unit, f"{value:+.3f}")
        return text.replace("-", "−") if sign else text.lstrip("+").replace("-", "−")


METRICS = (
    Metric("CIDEr", "Captions", "captions.cider"),
    Metric("BLEU-4", "Captions", "captions.bleu_4"),
    Metric("ROUGE-L", "Captions", "captions.rouge_l"),
    Metric("Exactly right", "Captions", "captions.exact", "%"),
    Metric("mAP .5:.95", "Detection", "detection.map"),
    Metric("AP50", "Detection", "detection.ap50"),
    Metric("AP75", "Detection", "detection.ap75"),
    Metric("Calibration error, captions", "Scores", "calibration.captions.error", more_is_better=False),
    Metric("Calibration error, detections", "Scores", "calibration.detections.error", more_is_better=False),
    Metric("Median time a picture", "Speed", "milliseconds.median", "ms", more_is_better=False),
)
_SOMETHING = 0.05  # less is as good as nothing, and no multiple of it says much
_MAIN = tuple(metric for metric in METRICS if metric.name in ("CIDEr", "mAP .5:.95"))
_QUALITY = tuple(metric for metric in METRICS if metric.group in ("Captions", "Detection"))


@dataclass(frozen=True)
class Row:
    """A metric or a category: its values by evaluation, as text and in numbers, and the change from first to last."""

    name: str
    group: str
    values: tuple[float | None, ...]
    texts: tuple[str, ...]
    change: str
    better: bool | None  # None: the change is nothing, or unknown
    new: bool = False  # a category that the first evaluation never named

    @property
    def difference(self) -> float:
        first, last = self.values[0], self.values[-1]
        return last - first if first is not None and last is not None else 0.0


def _row(metric: Metric, name: str, values: tuple[float | None, ...], new: bool = False) -> Row:
    first, last = values[0], values[-1]
    change, better = "", None
    if len(values) > 1 and first is not None and last is not None:
        change = metric.show(last - first, sign=True)
        if metric.show(last) != metric.show(first):
            better = (last > first) == metric.more_is_better
    return Row(name, metric.group, values, tuple(metric.show(value) for value in values), change, better, new)


def figures(evaluations: Sequence[Evaluation]) -> list[Row]:
    """The table of figures, without what nobody measured."""
    rows = [_row(metric, metric.name, tuple(metric.get(e.figures) for e in evaluations)) for metric in METRICS]
    return [row for row in rows if any(value is not None for value in row.values)]


def categories(evaluations: Sequence[Evaluation]) -> list[Row]:
    """AP by category: the new ones first, then from the greatest gain to the greatest loss."""
    tables = [e.figures.detection.per_category if e.figures.detection else {} for e in evaluations]
    known = evaluations[0].labels()
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = tuple(table.get(name) for table in tables)
        if any(value is not None for value in values):
            rows.append(_row(_MAIN[1], name, values, new=len(values) > 1 and name not in known))
    return sorted(rows, key=lambda row: (not row.new, -row.difference, row.name))


def headline(evaluations: Sequence[Evaluation], where: str) -> str:
    """The main change measured, in a sentence; `where` is such as `40 held-out pictures`."""
    first, last = evaluations[0], evaluations[-1]
    for metric in _MAIN:
        before, after = metric.get(first.figures), metric.get(last.figures)
        if before is None or after is None:
            continue
        if first is last:
            return f"{metric.name} is {metric.show(after)} on {where}."
        if metric.show(before) == metric.show(after):
            return f"{metric.name} stays at {metric.show(after)} on {where}."
        verb = "rises" if after > before else "falls"
        times = f", {after / before:.1f} times as much," if before >= _SOMETHING and after / before >= 1.5 else ""
        return f"{metric.name} {verb} from {metric.show(before)} to {metric.show(after)}{times} on {where}."
    return f"{' and '.join(e.name for e in evaluations)}, answering {where}."


def remarks(evaluations: Sequence[Evaluation]) -> list[str]:
    """What else is worth a sentence: detection, new and old categories, and what the last step cost."""
    first, last = evaluations[0], evaluations[-1]
    if first is last:
        return []
    said = [f"From “{first.name}” to “{last.name}”."]
    metric = _MAIN[1]
    before, after = metric.get(first.figures), metric.get(last.figures)
    if _MAIN[0].get(last.figures) is not None and before is not None and after is not None:
        said.append(f"{metric.name} goes from {metric.show(before)} to {metric.show(after)}.")
    rows = categories(evaluations)
    new = [row for row in rows if row.new and row.values[-1] is not None]
    if new:
        kinds = f"{len(new)} new categories, the best of them" if len(new) > 1 else "A new category,"
        said.append(f"{kinds} {new[0].name}: AP {new[0].texts[-1]}.")
    old = [row for row in rows if not row.new and row.change]
    if old and any(row.new for row in rows):
        worst = min(old, key=lambda row: row.difference)
        said.append(f"Of the categories it knew, {worst.name} fares worst: {worst.change}.")
    if len(evaluations) > 2:
        said += _last_step(evaluations[-2], last)
    return said


def _last_step(before: Evaluation, after: Evaluation) -> list[str]:
    moved = []
    for metric in _QUALITY:
        a, b = metric.get(before.figures), metric.get(after.figures)
        if a is not None and b is not None:
            moved.append((abs(b - a), metric, b - a))
    if not moved:
        return []
    most, metric, change = max(moved, key=lambda one: one[0])
    if metric.show(most) == metric.show(0):
        return [f"From “{before.name}” to “{after.name}” no figure moves."]
    shown = metric.show(change, sign=True)
    return [f"From “{before.name}” to “{after.name}” the figure that moves most is {metric.name}: {shown}."]
