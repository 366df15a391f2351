"""Reads what `training.evaluate` and `training.train` wrote, and checks it before anything is drawn.

Does not compute figures, and does not look at pictures. Every mistake in a file is a `ReportError` of one line that
names the file and the mend.
"""

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..evaluate import FIGURES, PREDICTIONS


class ReportError(Exception):
    """The report cannot be written; the message names the file and the mend."""


def _absent(value: object) -> object:
    """COCO writes -1, and others NaN, where there is nothing to measure: None here."""
    return None if isinstance(value, float | int) and not (math.isfinite(value) and value >= 0) else value


Figure = Annotated[float | None, BeforeValidator(_absent)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class CaptionFigures(_Model):
    """`exact` and the like are in 0..1, CIDEr in 0..10; `bleu` holds BLEU-1 to BLEU-4."""

    exact: Figure
    bleu: tuple[Figure, Figure, Figure, Figure]
    rouge_l: Figure
    cider: Figure

    @property
    def bleu_4(self) -> float | None:
        return self.bleu[3]


class DetectionFigures(_Model):
    """COCO's average precisions, 0..1."""

    map: Figure
    ap50: Figure
    ap75: Figure = None
    per_category: dict[str, Figure] = {}


class Bin(_Model):
    """Answers of like score: their mean score, the share of them that is right, and how many they are."""

    score: float
    right: float
    count: int


class Calibration(_Model):
    """How far scores are from the share of right answers: the expected error, and the bins."""

    error: Figure
    bins: tuple[Bin, ...]


class Calibrations(_Model):
    captions: Calibration | None = None
    detections: Calibration | None = None


class Milliseconds(_Model):
    median: Figure = None


class Figures(_Model):
    """An evaluation's `figures.json`, as far as it is shown."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    precision: str
    pictures: int
    data: str = ""  # the fingerprint of the data
    captions: CaptionFigures | None
    detection: DetectionFigures | None
    calibration: Calibrations = Calibrations()
    milliseconds: Milliseconds = Milliseconds()
    unknown_labels: dict[str, int] = {}


class Caption(_Model):
    text: str
    score: float


class Found(_Model):
    """One predicted object; `box` is x1, y1, x2, y2 in pixels, None where the model named no place."""

    label: str
    score: float
    box: tuple[float, float, float, float] | None


class Answer(_Model):
    """What was answered about one picture."""

    image_id: int
    caption: Caption | None = None
    objects: tuple[Found, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: the name that the user gave it, its figures, and its answers by image id."""

    name: str
    directory: Path
    figures: Figures
    answers: dict[int, Answer]

    def labels(self) -> set[str]:
        """Every label that the model answered."""
        return {found.label for answer in self.answers.values() for found in answer.objects}


class Loss(_Model):
    """One line of the losses: None where it was not measured."""

    step: int = Field(ge=0)
    loss: float | None
    eval_loss: float | None


_AnyModel = TypeVar("_AnyModel", bound=BaseModel)


def read(name: str, directory: Path) -> Evaluation:
    """The evaluation in `directory`. Raises `ReportError`."""
    figures = _parse(Figures, _text(directory / FIGURES, "--evaluation"), directory / FIGURES)
    path = directory / PREDICTIONS
    answers = {}
    for number, line in enumerate(_text(path, "--evaluation").split("\n"), 1):
        if line.strip():
            answer = _parse(Answer, line, path, number)
            answers[answer.image_id] = answer
    if not answers:
        raise ReportError(f"{path} holds no answers: run python -m training.evaluate again.")
    return Evaluation(name, directory, figures, answers)


def read_losses(path: Path) -> list[Loss]:
    """The losses in the CSV at `path`, by step. Raises `ReportError`."""
    rows = csv.DictReader(_text(path, "--losses").splitlines())
    needed = Loss.model_fields.keys()
    if missing := needed - set(rows.fieldnames or ()):
        raise ReportError(
            f"{path} has no column {' or '.join(sorted(missing))}: name the losses.csv that training.train wrote."
        )
    losses = []
    for row in rows:
        found = json.dumps({name: row[name] or None for name in needed})
        losses.append(_parse(Loss, found, path, rows.line_num))
    if not losses:
        raise ReportError(f"{path} holds no losses yet: name a run that has trained, or leave --losses out.")
    return sorted(losses, key=lambda loss: loss.step)


def _text(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(f"{path} does not exist: correct {option}, or write it first.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read ({error}): correct {option}, or write it again.") from None


def _parse(model: type[_AnyModel], text: str, path: Path, line: int | None = None) -> _AnyModel:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        where = f"{path}, line {line}" if line else f"{path}"
        what = f"{field}: {first['msg']}" if field else first["msg"]
        raise ReportError(f"{where} is not as training wrote it ({what}): write it again.") from None
