"""Which pictures to show: what an answer got right, picture by picture, and the worst of them first.

A picture's score is the mean of two shares, of those that it has a truth for:

- objects: F1 of the boxes. A predicted box is right if it overlaps a true one of the same category by IoU 0.5 or more
  that no surer box has taken; 1 where nothing is to be found and nothing was.
- caption: ROUGE-L against its references. CIDEr says nothing of a single picture.

The score is for sorting; `evaluate` has the figures.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from ..coco import Record
from ..metrics import captions, ptb
from .evaluations import Answer, Found

IOU = 0.5  # COCO's AP50
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Marked:
    """An answer beside the truth. `right` says of each object, and `missed` of each true thing, what became of it;
    `words` are the caption's, each with whether the nearest reference has it in its order."""

    answer: Answer
    right: tuple[bool, ...]
    missed: tuple[str, ...]
    words: tuple[tuple[str, bool], ...]
    objects_score: float | None
    caption_score: float | None

    @property
    def score(self) -> float:
        """0 (all wrong) to 1."""
        scores = [score for score in (self.objects_score, self.caption_score) if score is not None]
        return sum(scores) / len(scores) if scores else 0.0


@dataclass(frozen=True)
class Chosen:
    """One picture of the sheet, marked for each evaluation in their order, and why it was chosen."""

    record: Record
    marked: tuple[Marked, ...]
    why: str


def mark(record: Record, answer: Answer, detects: bool) -> Marked:
    """Compares an answer with the truth; `detects` says whether objects were asked for."""
    right, missed, objects_score = _mark_objects(record, answer.objects) if detects else ((), (), None)
    words: tuple[tuple[str, bool], ...] = ()
    caption_score = None
    if answer.caption is not None:
        words, caption_score = _mark_caption(answer.caption.text, record.captions)
    return Marked(answer, right, missed, words, objects_score, caption_score)


def choose(pictures: Sequence[tuple[Record, tuple[Marked, ...]]], limit: int) -> list[Chosen]:
    """At most `limit` pictures by the score of the last evaluation, worst first.

    Where there are more: a half are the worst; a quarter those that lost most against the first evaluation, as far as
    any did; the others lie evenly over all that is left, from bad to good, so that the sheet shows the usual as well.
    """
    ranked = sorted(pictures, key=lambda one: (one[1][-1].score, one[0].id))
    if len(ranked) <= limit:
        return [Chosen(record, marked, "worst first") for record, marked in ranked]
    worst = -(-limit // 2)
    chosen = [Chosen(record, marked, "among the worst") for record, marked in ranked[:worst]]
    rest = ranked[worst:]
    lost = sorted((one for one in rest if _change(one[1]) < 0), key=lambda one: _change(one[1]))[: limit // 4]
    chosen += [Chosen(record, marked, "lost most") for record, marked in lost]
    taken = {record.id for record, _ in lost}
    rest = [one for one in rest if one[0].id not in taken]
    fair = limit - len(chosen)
    for i in range(fair):  # the middle of each of `fair` equal parts
        record, marked = rest[(2 * i + 1) * len(rest) // (2 * fair)]
        chosen.append(Chosen(record, marked, "an even sample"))
    return chosen


def _change(marked: tuple[Marked, ...]) -> float:
    return marked[-1].score - marked[0].score


def _mark_objects(record: Record, objects: Sequence[Found]) -> tuple[tuple[bool, ...], tuple[str, ...], float]:
    free = list(record.things)
    right = [False] * len(objects)
    for index in sorted(range(len(objects)), key=lambda i: -objects[i].score):
        found = objects[index]
        if found.box is None:
            continue
        overlaps = [overlap(found.box, thing.box) if thing.category == found.label else 0.0 for thing in free]
        best = max(range(len(free)), key=overlaps.__getitem__, default=None)
        if best is not None and overlaps[best] >= IOU:
            right[index] = True
            del free[best]
    total = len(objects) + len(record.things)
    return tuple(right), tuple(thing.category for thing in free), 2 * sum(right) / total if total else 1.0


def overlap(a: Box, b: Box) -> float:
    """Intersection over union; corners may stand in any order, as the model may write them."""
    (ax1, ax2), (ay1, ay2) = sorted(a[0::2]), sorted(a[1::2])
    (bx1, bx2), (by1, by2) = sorted(b[0::2]), sorted(b[1::2])
    shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
    return shared / union if union > 0 else 0.0


def _mark_caption(text: str, references: Sequence[str]) -> tuple[tuple[tuple[str, bool], ...], float | None]:
    shown = text.split()
    if not references:
        return tuple((word, True) for word in shown), None
    score = captions.rouge_l([(ptb.tokens(text), [ptb.tokens(one) for one in references])])
    words = [_plain(word) for word in shown]
    matchers = [SequenceMatcher(None, words, [_plain(word) for word in one.split()], False) for one in references]
    nearest = max(matchers, key=SequenceMatcher.ratio)
    common = {block.a + i for block in nearest.get_matching_blocks() for i in range(block.size)}
    return tuple((word, i in common or not words[i]) for i, word in enumerate(shown)), score


def _plain(word: str) -> str:
    return re.sub(r"\W", "", word).lower()
