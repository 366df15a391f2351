"""predict(image, asks) -> answers with scores: the one place where the parts of the core meet."""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime

from . import answers, artifact, decoding, golden, locations, scores, tasks
from .engine import Engine
from .errors import ArtifactError, OutOfTime, TaskInputError
from .image import open_image, to_pixels
from .tasks import Task
from .tokenizer import Tokenizer

Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class Ask:
    """One question about an image: a task and its input, if it takes one: a phrase, or a region as four location tokens
    or in pixels of the upright image (x1, y1, x2, y2)."""

    task: Task
    input: str | Region | None = None

    def prompt(self, size: locations.Size) -> str:
        """What the model is asked, for an image of this width and height. Raises `TaskInputError`."""
        if isinstance(self.input, tuple):
            return self.task.ask(locations.to_text(locations.to_bins(self.input, size)))
        return self.task.ask(self.input)


@dataclass(frozen=True)
class Object:
    """One thing found. Coordinates are pixels of the upright image; one of `box` (x1, y1, x2, y2), `quad` (four
    corners) and `polygons` is there. `score` is explained in `scores`."""

    label: str
    score: float
    box: tuple[float, ...] | None
    quad: tuple[float, ...] | None
    polygons: tuple[tuple[float, ...], ...] | None


@dataclass(frozen=True)
class Prediction:
    """One answer. `text` is for tasks that answer in text, `objects` for those that answer in places; `score` is the
    geometric mean of the probabilities of the answer's tokens; `raw` is what the model wrote, and
    `ids` its tokens."""

    task: Task
    text: str
    score: float
    objects: tuple[Object, ...]
    raw: str
    ids: tuple[int, ...]
    truncated: bool

    @property
    def tokens(self) -> int:
        """How many tokens the model wrote."""
        return len(self.ids)


@dataclass(frozen=True)
class Result:
    """The answers about one image, in the order asked; `size` is width and height of the upright image, `sha256` that
    of its bytes in hex."""

    predictions: tuple[Prediction, ...]
    size: tuple[int, int]
    format: str
    sha256: str
    milliseconds: dict[str, float]  # image, vision, encoder, decoder


class Predictor:
    """A loaded artifact. Safe to call from one thread at a time."""

    def __init__(self, directory: Path, threads: int | None = None, hashes: Future[None] | None = None) -> None:
        """`hashes`: `artifact.verify_hashes`, where it is under way. Raises `ArtifactError`."""
        self.manifest = artifact.read_manifest(directory)
        self._directory = directory
        # Beside the loading of the graphs, which takes longer: hashing reads the weights at 1.7 GB/s on one core, from
        # pages that the first answer needs anyway. Its complaint names the file, so it goes before the others'.
        with ThreadPoolExecutor(2) as beside:
            hashes = hashes or beside.submit(artifact.verify_hashes, directory)
            tokenizer = beside.submit(Tokenizer.load, directory / artifact.TOKENIZER)
            try:
                self._engine = Engine(directory, self.manifest, threads)
            finally:
                hashes.result()
            self._tokenizer = tokenizer.result()
        self._until_first_token = 0.0  # seconds that vision and encoder took the last time

    def predict(self, image: bytes, asks: Sequence[Ask], deadline: float | None = None) -> Result:
        """Answers all questions; the vision pass runs once.

        `deadline` is a time of `time.perf_counter`: answers that are not finished then are cut there (`truncated`).
        Raises `ImageError` or `TaskError`; `OutOfTime` where the deadline would pass before the first token, going by
        how long it took the last time.
        """
        for ask in asks:  # refused here rather than after the image is decoded, which tells the size
            self._check(ask)
        clock = [time.perf_counter()]
        picture = open_image(image)
        pixels = to_pixels(picture.image, self.manifest.image_size)
        clock.append(time.perf_counter())
        if deadline is not None and clock[-1] + self._until_first_token >= deadline:
            raise OutOfTime("Too little time is left to look at the image; try again.")
        features = self._engine.see(pixels)
        clock.append(time.perf_counter())
        prompts = [self._tokenizer.encode(ask.prompt(picture.size)) for ask in asks]
        memory = self._engine.encode(features, prompts)
        clock.append(time.perf_counter())
        self._until_first_token = clock[-1] - clock[-3]

        def expired() -> bool:
            return deadline is not None and time.perf_counter() >= deadline

        generation = self.manifest.generation
        bounds = [
            decoding.Bounds(min(ask.task.max_new_tokens + 2, generation.max_length - 1), ask.task.answer.place)
            for ask in asks
        ]
        places = self._tokenizer.location_ids
        if generation.num_beams == 1:
            decoded = decoding.greedy(self._engine, memory, bounds, generation, places, expired)
        else:
            decoded = [
                decoding.beam(self._engine, memory.rows(np.array([row])), bound, generation, places, expired)
                for row, bound in enumerate(bounds)
            ]
        clock.append(time.perf_counter())
        stages = zip(("image", "vision", "encoder", "decoder"), clock, clock[1:], strict=False)
        return Result(
            predictions=tuple(self._read(ask, one, picture.size) for ask, one in zip(asks, decoded, strict=True)),
            size=picture.size,
            format=picture.format,
            sha256=hashlib.sha256(image).hexdigest(),
            milliseconds={name: (after - before) * 1000 for name, before, after in stages},
        )

    def self_test(self) -> None:
        """Answers the artifact's golden case. Whoever serves calls it first: it is the warm-up as well, after which
        threads, buffers and pages of the weights are there.

        Raises `ArtifactError` where the answers are not those that the build wrote down.
        """
        case = self.manifest.golden
        if case is None:
            raise ArtifactError(f"{self._directory} holds no golden case. Build the artifact again.")
        try:
            found = self._draft((self._directory / artifact.GOLDEN).read_bytes(), case.size)
        except Exception as error:  # ONNX Runtime's errors have no common base
            raise ArtifactError(f"{self._directory} cannot answer its golden case: {error}") from error
        for task, expected in case.answers.items():
            if not golden.same(expected, found[task].ids, self._tokenizer.location_ids):
                said, wanted = self._tokenizer.decode(found[task].ids), self._tokenizer.decode(expected)
                raise ArtifactError(
                    f"{self._directory} answers its golden case wrongly: {task} is {said!r} instead of {wanted!r}. "
                    f"Its files are whole, so this machine computes otherwise: onnxruntime {onnxruntime.__version__}, "
                    f"built with {self.manifest.tools.get('onnxruntime')}. Install requirements/run.txt, or build the "
                    "artifact again."
                )

    def certain(self, image: bytes, size: int) -> artifact.Golden:
        """What a golden case of this picture at `size` pixels has to be answered with. Raises `ImageError`."""
        places, found = self._tokenizer.location_ids, self._draft(image, size)
        return artifact.Golden(size, {name: golden.certain(one, places) for name, one in found.items()})

    def _draft(self, image: bytes, size: int) -> dict[str, decoding.Decoded]:
        """The first tokens of the golden tasks' answers, without beams, by the tasks' names."""
        features = self._engine.see(to_pixels(open_image(image).image, size))
        asked = [tasks.find(name) for name in golden.TASKS]
        memory = self._engine.encode(features, [self._tokenizer.encode(task.ask()) for task in asked])
        generation = replace(self.manifest.generation, forced_eos=None)  # the answers go on
        bounds = [decoding.Bounds(golden.LONGEST, task.answer.place) for task in asked]
        decoded = decoding.greedy(self._engine, memory, bounds, generation, self._tokenizer.location_ids)
        return dict(zip(golden.TASKS, decoded, strict=True))

    def _check(self, ask: Ask) -> None:
        """Raises `TaskInputError` where the input does not fit the task, or the encoder."""
        room = self.manifest.positions - artifact.image_tokens(self.manifest.image_size)
        tokens = len(self._tokenizer.encode(ask.prompt((1, 1))))
        if tokens > room:
            raise TaskInputError(
                f"The text for the task {ask.task.name} makes a question of {tokens} tokens; at most {room} fit."
            )

    def _read(self, ask: Ask, decoded: decoding.Decoded, size: tuple[int, int]) -> Prediction:
        pieces = self._tokenizer.pieces(decoded.ids)
        raw = "".join(pieces)
        parsed = answers.parse(ask.task, raw, size)
        ends = np.cumsum([len(piece) for piece in pieces])
        objects = tuple(
            Object(found.label, self._score(found, decoded, ends), found.box, found.quad, found.polygons)
            for found in parsed.objects
        )
        return Prediction(
            task=ask.task,
            text=parsed.text,
            score=scores.of_answer(decoded.probabilities),
            objects=objects,
            raw=raw,
            ids=decoded.ids,
            truncated=decoded.truncated,
        )

    def _score(self, found: answers.Found, decoded: decoding.Decoded, ends: np.ndarray) -> float:
        label = [decoded.probabilities[i] for i in _tokens(ends, found.label_span)]
        bins, rivals = [], []
        for i in _tokens(ends, found.locations_span):
            one = decoded.rivals[i]
            if one is not None:  # polygons have separators between their locations
                bins.append(decoded.ids[i] - self._tokenizer.location_ids.start)
                rivals.append(one)
        return scores.of_object(label, bins, rivals)


def _tokens(ends: np.ndarray, span: answers.Span) -> list[int]:
    """The tokens with text in `span`, given where each one's text ends; `</s>`, which has none, is in no span."""
    starts = np.concatenate([[0], ends[:-1]])
    return [int(i) for i in np.flatnonzero((ends > span[0]) & (starts < span[1]))]
