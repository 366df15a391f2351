"""What can be asked about an image, for the API and the command line alike.

A question is what the predictor is asked, in one pass over the image, and how its answer is put together. Made without
an image, so that what cannot be asked is refused before one is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from . import schemas, serialise
from .asks import ask
from .florence import tasks
from .florence.errors import TaskInputError
from .serialise import ALL, Cut

if TYPE_CHECKING:
    from .florence.artifact import Manifest
    from .florence.predictor import Ask, Result

MAX_CLASSES = 32  # each is a question of its own: they decode side by side, and the slowest decides


class Detail(StrEnum):
    """How much a caption says."""

    BRIEF = "brief"  # a sentence
    DETAILED = "detailed"  # a few sentences
    PARAGRAPH = "paragraph"


_CAPTIONS = {
    Detail.BRIEF: "caption",
    Detail.DETAILED: "detailed-caption",
    Detail.PARAGRAPH: "more-detailed-caption",
}


@dataclass(frozen=True)
class Question:
    """What is asked, and what becomes of the answers."""

    asks: "tuple[Ask, ...]"
    answer: "Callable[[Manifest, Result], schemas.Answer]"

    @property
    def task(self) -> tasks.Task:
        """The first task, which decides the answer's kind."""
        return self.asks[0].task


def caption(detail: Detail = Detail.BRIEF) -> Question:
    """What the image shows."""
    return Question((_plain(_CAPTIONS[detail]),), serialise.caption)


def detect(classes: Sequence[str] = (), cut: Cut = ALL) -> Question:
    """The objects in the image, or those of `classes` alone, which may be any words. Raises `TaskInputError`."""
    return Question(_objects(classes), partial(serialise.objects, cut=cut, labels=classes))


def analyze(detail: Detail = Detail.BRIEF, classes: Sequence[str] = (), cut: Cut = ALL) -> Question:
    """`caption` and `detect` in one pass. Raises `TaskInputError`."""
    asks = (_plain(_CAPTIONS[detail]), *_objects(classes))
    return Question(asks, partial(serialise.analyze, cut=cut, labels=classes))


def classify(classes: Sequence[str] = (), min_score: float = 0.0, max_labels: int | None = None) -> Question:
    """The names of what `detect` finds, each once. Raises `TaskInputError`."""
    answer = partial(serialise.classify, labels=classes, min_score=min_score, max_labels=max_labels)
    return Question(_objects(classes), answer)


def ground(text: str | None, cut: Cut = ALL) -> Question:
    """Where the phrases of a caption are in the image. Raises `TaskInputError`."""
    return Question((ask("ground", text, None),), partial(serialise.objects, cut=cut))


def segment(text: str | None, region: str | None, cut: Cut = ALL) -> Question:
    """The outline of what a text names, or of what lies in a region. Raises `TaskInputError`."""
    if (text is None) == (region is None):
        raise TaskInputError(
            "What is to be outlined is named by a text or a region (x1,y1,x2,y2 in pixels): one of both."
        )
    if text is not None:
        return Question(
            (ask("referring-segmentation", text, None),), partial(serialise.objects, cut=cut, labels=[text.strip()])
        )
    return Question((ask("region-segmentation", None, region),), partial(serialise.objects, cut=cut))


def read(regions: bool = True, cut: Cut = ALL) -> Question:
    """The text in the image, with the corners of each piece or without."""
    return Question((_plain("read-regions" if regions else "read"),), partial(serialise.read, cut=cut))


def task(name: str, text: str | None = None, region: str | None = None, cut: Cut = ALL) -> Question:
    """Any of the fifteen tasks. Raises `UnknownTask` and `TaskInputError`."""
    return Question((ask(name, text, region),), partial(serialise.task, cut=cut))


def _plain(name: str) -> "Ask":
    return ask(name, None, None)


def _objects(classes: Sequence[str]) -> "tuple[Ask, ...]":
    if len(classes) > MAX_CLASSES:
        raise TaskInputError(f"At most {MAX_CLASSES} classes can be asked for at once; these are {len(classes)}.")
    if not classes:
        return (_plain("detect"),)
    return tuple(ask("open-vocabulary-detection", name, None) for name in classes)
