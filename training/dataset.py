"""COCO's records -> what transformers' Florence-2 is trained on: a question about a picture, and its answer.

Everything random is a function of the seed and one whole number, `epoch * len(lessons) + place`, so that a run that was
interrupted goes on with the very batches that it would have had, however many processes read the pictures. Prompts,
pixels and locations are the server's own.

What is asked, by the weights of a mix, of a picture that has the annotations for it:

- `<CAPTION>`: one of its captions, another draw each epoch.
- `<OD>`: the category and the four location tokens of each thing, left to right by the centres of their boxes, then
  top to bottom. Where the answer would be too long, the smallest boxes are left out and the rest keep their order.
- `<OPEN_VOCABULARY_DETECTION>`: the same for the things of one category, which is asked for by name.
- `<REGION_TO_CATEGORY>`: the category of one thing, which is asked for by its box.

COCO does not say which words of a caption stand for which box, so phrases are not grounded.

Pictures are mirrored, unless one of their captions speaks of left or right. (Captions that *name* things from left to
right, as the drawn world's do, become false all the same: teach them with `flip=0`.) The scale varies for the tasks of
places alone: a caption may speak of what no box marks, and a crop cuts off.

A picture that cannot be read is counted and another takes its place, and so is one whose boxes cannot be trusted:
COCO's boxes are true of the pixels as stored, and the server turns pictures upright, so a picture with boxes that EXIF
turns or mirrors, or of another size than annotated, is passed over.
"""

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tokenizers
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from handler.florence import tasks, tokenizer
from handler.florence.errors import ImageError
from handler.florence.image import open_image, to_pixels

from .coco import Box, DataError, Record, order
from .lessons import Lesson, listing, place
from .views import jittered, whole

Mix = Mapping[str, float]  # task token -> weight

_CAPTION, _DETECT, _FIND, _NAME = "<CAPTION>", "<OD>", "<OPEN_VOCABULARY_DETECTION>", "<REGION_TO_CATEGORY>"
TAUGHT = (_CAPTION, _DETECT, _FIND, _NAME)
LONGEST = 1024  # positions of Florence-2-base's decoder
STRIDE = 32  # of the vision tower, in pixels: each side of 32 becomes a token, and one more stands for the whole
_SIDES = re.compile(r"\b(?:left|right)", re.IGNORECASE)  # and lefthand, rightmost
_TOKEN = re.compile(r"</?\w+>")
_TRIES = 100  # pictures tried for one that can be read
_PAD, _IGNORED = 1, -100

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One lesson. `pixels` is float32 [3, S, S]; `prompt` and `answer` are ids, `<s>` … `</s>`."""

    record: int  # COCO's image id
    task: str
    pixels: np.ndarray
    prompt: list[int]
    answer: list[int]


class Lessons(Dataset[Example]):
    """The lessons of all epochs: `lessons[epoch * len(lessons) + place]`.

    `len` is the number of records that the mix has a question for. A lesson is at most `longest` tokens long, and no
    longer than the task's own `max_new_tokens`.
    """

    def __init__(
        self,
        records: Sequence[Record],
        words: tokenizers.Tokenizer,
        image_size: int,
        mix: Mix,
        seed: int,
        *,
        flip: float,
        jitter: float,
        longest: int = LONGEST,
    ) -> None:
        """`words` is a complete tokenizer, `image_size` the side S in pixels, `flip` the share of pictures mirrored,
        `jitter` (0 to below 1) how far the scale varies from 1.

        Captions that spell a token, such as `</s>`, are not taught. Raises `DataError` for a mix that COCO's
        annotations cannot teach or none of the records has an answer to, and for a category that an answer cannot name.
        """
        for task, weight in mix.items():
            if task not in TAUGHT:
                raise DataError(f"Annotations in COCO's format cannot teach {task}; they teach {', '.join(TAUGHT)}.")
            if not (math.isfinite(weight) and weight >= 0):
                raise DataError(f"The weight of {task} is {weight}; give a number from 0 on.")
        self._mix = {task: weight for task, weight in mix.items() if weight > 0}
        _check_names(records)
        self.records = [record for record in map(_in_words, records) if self._askable(record)]
        if not self.records:
            raise DataError(
                f"None of the {len(records)} pictures has annotations for {' or '.join(self._mix) or 'any task'}; "
                "add captions_*.json or instances_*.json, or ask for another task."
            )
        self._image_size, self._seed, self._flip, self._jitter, self._longest = image_size, seed, flip, jitter, longest
        self._words = words
        self._tokenizer = tokenizer.Tokenizer(words)
        # Shared by the processes that read: 1 where a record's picture was met and passed over.
        self._passed_over = torch.zeros(len(self.records), dtype=torch.uint8)
        self._passed_over.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def passed_over(self) -> Tensor:
        """uint8 [len]: 1 for a picture that was met, by any process of the loader, and could not be read or trusted."""
        return self._passed_over

    def __getitem__(self, index: int) -> Example:
        """Raises `DataError` where a hundred pictures one after the other cannot be read."""
        rng = np.random.default_rng((self._seed, index))
        at = index % len(self)
        for _ in range(_TRIES):
            image = None if self._passed_over[at] else self._open(at)
            if image is not None:
                return self._example(self.records[at], image, rng)
            at = int(rng.integers(len(self)))
        raise DataError(f"{self.records[at].path} and {_TRIES - 1} pictures before it cannot be read: copy them again.")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_tokenizer"}  # which cannot be pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._tokenizer = tokenizer.Tokenizer(self._words)

    def _askable(self, record: Record) -> list[str]:
        return [task for task in self._mix if (record.captions if task == _CAPTION else record.things)]

    def _open(self, at: int) -> Image.Image | None:
        """The record's picture, upright; None, counted and logged, where it cannot be taught."""
        record = self.records[at]
        try:
            data = record.path.read_bytes()
            image = open_image(data).image
        except (ImageError, OSError) as error:
            reason = str(error)
        else:
            if not record.things:
                return image
            if _turned(data):
                reason = "EXIF turns the picture, and the boxes may be those of the pixels as stored."
            elif image.size != record.size:
                reason = f"The picture has {image.size} pixels, and its annotations are for {record.size}."
            else:
                return image
        self._passed_over[at] = 1
        _log.warning("%s is passed over: %s", record.path, reason)
        return None

    def _example(self, record: Record, image: Image.Image, rng: np.random.Generator) -> Example:
        askable = self._askable(record)
        weights = np.array([self._mix[task] for task in askable])
        task = tasks.find(askable[rng.choice(len(askable), p=weights / weights.sum())])
        mirrored = bool(rng.random() < self._flip) and not any(map(_SIDES.search, record.captions))
        budget = min(task.max_new_tokens, self._longest)
        if task.token == _CAPTION:
            view = whole(image.size, mirrored)
            taught = Lesson(task.token, task.ask(), record.captions[rng.integers(len(record.captions))])
        else:
            boxes = [thing.box for thing in record.things]
            view = jittered(rng, image.size, boxes, self._jitter, mirrored)
            seen = [(thing, view.box(thing.box)) for thing in record.things]
            things = [(thing.category, box) for thing, box in seen if box is not None]
            things.sort(key=lambda thing: order(*thing))
            taught = self._of_things(task, things, view.size, rng, budget)
        return Example(
            record=record.id,
            task=task.token,
            pixels=to_pixels(view.picture(image), self._image_size)[0],
            prompt=self._tokenizer.encode(taught.prompt),
            # A caption beyond the budget loses its end, `</s>` included: it is not taught to end there.
            answer=self._tokenizer.encode(taught.answer)[:budget],
        )

    def _of_things(
        self,
        task: tasks.Task,
        things: list[tuple[str, Box]],
        size: tuple[int, int],
        rng: np.random.Generator,
        budget: int,
    ) -> Lesson:
        if task.token == _NAME:
            name, box = things[rng.integers(len(things))]
            return Lesson(task.token, task.ask(place(box, size)), name)
        if task.token == _DETECT:
            return Lesson(task.token, task.ask(), listing(self._fitting(things, budget), size))
        names = sorted({name for name, _ in things})
        name = names[rng.integers(len(names))]
        found = self._fitting([thing for thing in things if thing[0] == name], budget)
        return Lesson(task.token, task.ask(name), listing(found, size))

    def _fitting(self, things: list[tuple[str, Box]], budget: int) -> list[tuple[str, Box]]:
        """Without the smallest boxes that would make the answer longer than `budget` tokens; the largest stays."""
        costs = [len(self._tokenizer.encode(name)) + 2 for name, _ in things]  # four locations for <s> and </s>
        total = sum(costs) + 2
        dropped = set()
        for i in sorted(range(len(things)), key=lambda i: _area(things[i][1]))[:-1]:
            if total <= budget:
                break
            dropped.add(i)
            total -= costs[i]
        return [thing for i, thing in enumerate(things) if i not in dropped]


class Shuffled(Sampler[int]):
    """The indices of a whole run, epoch after epoch: in each, every record once, in an order drawn from the seed.

    One sampler for the run, because a sampler that is told the epoch is not told it by accelerate where several
    processes resume in the middle of one.
    """

    def __init__(self, count: int, seed: int, length: int) -> None:
        """`count` records, `length` indices in all."""
        self._count, self._seed, self._length = count, seed, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        for epoch in range(math.ceil(self._length / self._count)):
            drawn = np.random.default_rng((self._seed, epoch, 1)).permutation(self._count)
            yield from (epoch * self._count + drawn)[: self._length - epoch * self._count].tolist()


class Collate:
    """Examples -> a batch for `Florence2ForConditionalGeneration`, in the layout of transformers' `Florence2Processor`.

    `pixel_values` float32 [B, 3, S, S]; `input_ids` int64 [B, T + P]: `<image>` T times, `<s>` prompt `</s>`, padded
    on the right with 1; `attention_mask` int64 like it; `labels` int64 [B, A]: `<s>` answer `</s>`, padded with -100.
    T is (S / 32)² + 1. The model shifts the labels by itself.
    """

    def __init__(self, image_size: int, image_token_id: int) -> None:
        self._image = [image_token_id] * ((image_size // STRIDE) ** 2 + 1)

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        inputs = [self._image + example.prompt for example in examples]
        return {
            "pixel_values": torch.from_numpy(np.stack([example.pixels for example in examples])),
            "input_ids": _pad(inputs, _PAD),
            "attention_mask": _pad([[1] * len(row) for row in inputs], 0),
            "labels": _pad([example.answer for example in examples], _IGNORED),
        }


def _check_names(records: Sequence[Record]) -> None:
    """A category's name is what the model writes, and what `handler.florence.answers` must read back the same."""
    for name in sorted({thing.category for record in records for thing in record.things}):
        if not name or name != name.strip() or not name.isascii() or "<" in name or ">" in name:
            raise DataError(
                f"The category {name!r} of instances_*.json cannot be read back from an answer; "
                "give it a name of ASCII characters, without <, > and spaces around it."
            )


def _in_words(record: Record) -> Record:
    """The record without captions that would reach the model as tokens, not as text."""
    if not any("<" in caption for caption in record.captions):
        return record
    return replace(record, captions=tuple(caption for caption in record.captions if not _TOKEN.search(caption)))


def _pad(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _turned(data: bytes) -> bool:
    """Whether EXIF asks for the picture to be turned or mirrored; where it cannot be read, the server does neither."""
    if not any(mark in data for mark in (b"Exif", b"eXIf", b"EXIF")):  # of JPEG, PNG, WebP: spares a second look
        return False
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
            warnings.simplefilter("ignore")
            return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:  # Pillow raises whatever the bytes lead it to
        return False
