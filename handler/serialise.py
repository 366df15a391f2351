"""The core's `Result` -> the shapes of `schemas`: numbers rounded, objects cut at a score or a number.

Each function takes the predictions that its question asks for (`questions`), in that order. Asks the model nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import __version__, schemas

if TYPE_CHECKING:  # the predictor brings ONNX Runtime, which this does not need
    from .florence.artifact import Manifest
    from .florence.predictor import Object, Prediction, Result


@dataclass(frozen=True)
class Cut:
    """Which objects are kept: those of at least `min_score`, and of these the `max_objects` surest, in their order."""

    min_score: float = 0.0
    max_objects: int | None = None


ALL = Cut()


def model(manifest: "Manifest") -> schemas.Model:
    """Which model this manifest describes."""
    return schemas.Model(
        name=manifest.name,
        adapter=manifest.adapter["id"] if manifest.adapter else None,
        artifact=manifest.id,
        precision=manifest.precision,
        notice=manifest.notice or None,
    )


def caption(manifest: "Manifest", result: "Result") -> schemas.CaptionAnswer:
    """The answer to one caption."""
    (text,) = result.predictions
    return schemas.CaptionAnswer(caption=text.text, score=round(text.score, 4), **_about(manifest, result))


def objects(
    manifest: "Manifest", result: "Result", cut: Cut = ALL, labels: Sequence[str] = ()
) -> schemas.ObjectsAnswer:
    """The objects of all predictions. `labels`: what each prediction was asked for, where the model does not say."""
    return schemas.ObjectsAnswer(objects=_objects(result.predictions, cut, labels), **_about(manifest, result))


def analyze(
    manifest: "Manifest", result: "Result", cut: Cut = ALL, labels: Sequence[str] = ()
) -> schemas.AnalyzeAnswer:
    """The answer to a caption and then what `objects` takes."""
    text, *found = result.predictions
    return schemas.AnalyzeAnswer(
        caption=text.text,
        score=round(text.score, 4),
        objects=_objects(found, cut, labels),
        **_about(manifest, result),
    )


def read(manifest: "Manifest", result: "Result", cut: Cut = ALL) -> schemas.ReadAnswer:
    """The answer to a task that reads: its text, or the texts of its regions a line each."""
    (answer,) = result.predictions
    objects = _objects(result.predictions, cut)
    return schemas.ReadAnswer(
        text=answer.text or "\n".join(found.label for found in objects),
        score=round(answer.score, 4),
        objects=objects,
        **_about(manifest, result),
    )


def classify(
    manifest: "Manifest",
    result: "Result",
    labels: Sequence[str] = (),
    min_score: float = 0.0,
    max_labels: int | None = None,
) -> schemas.ClassifyAnswer:
    """Each label of what `objects` would hold once; of those asked for also what was not found, with score 0."""
    scores: dict[str, list[float]] = {label: [] for label in labels}
    for found in _objects(result.predictions, ALL, labels):
        scores.setdefault(found.label, []).append(found.score)
    names = [schemas.Label(label=name, score=max(of, default=0), count=len(of)) for name, of in scores.items() if name]
    names.sort(key=lambda name: -name.score)
    kept = [name for name in names if name.score >= min_score][:max_labels]
    return schemas.ClassifyAnswer(labels=kept, **_about(manifest, result))


def task(manifest: "Manifest", result: "Result", cut: Cut = ALL) -> schemas.TaskAnswer:
    """The answer to one task of any kind."""
    (answer,) = result.predictions
    return schemas.TaskAnswer(
        task=answer.task.name,
        text=answer.text,
        score=round(answer.score, 4),
        objects=_objects(result.predictions, cut),
        **_about(manifest, result),
    )


def _about(manifest: "Manifest", result: "Result") -> dict[str, Any]:
    width, height = result.size
    stages = {stage: round(spent, 1) for stage, spent in result.milliseconds.items()}
    return {
        "truncated": any(prediction.truncated for prediction in result.predictions),
        "image": schemas.Image(width=width, height=height, format=result.format, sha256=result.sha256),
        "model": model(manifest),
        "version": __version__,
        "milliseconds": schemas.Milliseconds(**stages, total=round(sum(stages.values()), 1)),
    }


def _objects(predictions: Iterable["Prediction"], cut: Cut, labels: Sequence[str] = ()) -> list[schemas.Object]:
    asked = list(labels) or None
    found = [
        (one, asked[number] if asked else one.label)
        for number, prediction in enumerate(predictions)
        for one in prediction.objects
        if one.score >= cut.min_score
    ]
    if cut.max_objects is not None:
        surest = sorted(range(len(found)), key=lambda place: -found[place][0].score)[: cut.max_objects]
        found = [found[place] for place in sorted(surest)]
    return [_object(one, label) for one, label in found]


def _object(found: "Object", label: str) -> schemas.Object:
    return schemas.Object(
        label=label,
        score=round(found.score, 4),
        box=_rounded(found.box),
        quad=_rounded(found.quad),
        polygons=tuple(_rounded(polygon) for polygon in found.polygons or ()) or None,
    )


def _rounded(coordinates: tuple[float, ...] | None) -> Any:
    """To a thousandth of a pixel: far below a location bin's width, and free of 0.30000000000000004."""
    return tuple(round(value, 3) for value in coordinates) if coordinates else None
