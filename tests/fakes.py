"""A predictor without a model, for tests of what stands around it."""

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

from handler.florence.image import open_image
from handler.florence.predictor import Ask, Object, Prediction, Predictor, Result
from handler.florence.tasks import Answer

# Runs the command line with the stand-in: python -c COMMAND_LINE serve, in the project's folder.
COMMAND_LINE = (
    "import sys; sys.path.append('tests'); from fakes import FakePredictor; from handler.florence import predictor; "
    "predictor.Predictor = lambda artifact, threads: FakePredictor(); "
    "from handler.__main__ import main; sys.exit(main())"
)
NOTICE = "A stand-in for tests: it looks at nothing."


class FakeManifest:
    """The part of a manifest that is shown to users."""

    name = "fake"
    id = "0" * 64
    adapter: dict[str, Any] | None = None
    precision = "fp32"
    notice = NOTICE
    image_size = 96


class FakePredictor(Predictor):
    """Answers every task with what its kind of answer holds, at places that depend on the image's size alone."""

    def __init__(self) -> None:
        self.manifest: Any = FakeManifest()
        self.asked: list[Ask] = []
        self.deadline: float | None = None  # of the last question
        self.running = 0
        self.most_running = 0
        self.before: Callable[[], object] = lambda: None  # what happens during an inference: wait, raise
        self._lock = threading.Lock()

    def self_test(self) -> None:
        pass

    def predict(self, image: bytes, asks: Sequence[Ask], deadline: float | None = None) -> Result:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            self.deadline = deadline
            self.before()
            picture = open_image(image)
            self.asked += asks
            return Result(
                predictions=tuple(_prediction(ask, picture.size) for ask in asks),
                size=picture.size,
                format=picture.format,
                sha256=hashlib.sha256(image).hexdigest(),
                milliseconds={"image": 1.25, "vision": 2.0, "encoder": 3.0, "decoder": 4.0},
            )
        finally:
            with self._lock:
                self.running -= 1


def _prediction(ask: Ask, size: tuple[int, int]) -> Prediction:
    width, height = size
    box = (width * 0.1, height * 0.1, width * 0.5, height * 0.5)
    objects: tuple[Object, ...] = ()
    text = ""
    match ask.task.answer:
        case Answer.TEXT:
            text = f"a fake answer to {ask.task.name}" + (f" {ask.input}" if ask.input else "")
        case Answer.POLYGONS:
            objects = (Object("", 0.5, None, None, ((0.0, 0.0, width * 0.5, 0.0, width * 0.5, height * 0.5),)),)
        case Answer.QUADS:
            objects = (Object("text", 0.5, None, (0.0, 0.0, width, 0.0, width, height, 0.0, height), None),)
        case _:
            other = (width * 0.6, height * 0.2, width * 0.9, height * 0.95)
            objects = (Object("red circle", 0.98765432, box, None, None), Object("blue square", 0.4, other, None, None))
    return Prediction(ask.task, text, 0.87654321, objects, raw="", ids=(0,) * 9, truncated=ask.task.name == "read")
