"""The HTTP API: one FastAPI app for the local server and for Lambda.

`create_app` takes a predictor that is already loaded: no route and no lifespan ever loads a model (Mangum would run a
lifespan at every invocation). Routes read the image, ask the predictor and serialise; `problems.py` makes problem
documents of errors.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.types import DecoratedCallable

from . import __version__, pages, problems, schemas
from .asks import ask
from .florence import tasks
from .florence.artifact import Manifest
from .florence.errors import (
    DamagedImage,
    ImageTooLarge,
    NotAnImage,
    OutOfTime,
    TaskInputError,
    UnknownTask,
    UnsupportedFormat,
)
from .florence.image import MAX_BYTES
from .florence.predictor import Ask, Predictor, Result
from .storage.errors import ObjectGone
from .uploads import OPENAPI_BODY, UploadedImage

DESCRIPTION = (
    "Captions and boxes from Microsoft's Florence-2. Send an image as the body of a request, or as the field `image` "
    "of a form. Coordinates are pixels of the image as it is seen, its EXIF orientation applied. Scores are "
    "probabilities."
)

_IMAGE_PROBLEMS = (
    problems.MissingImage,
    NotAnImage,
    UnsupportedFormat,
    ImageTooLarge,
    DamagedImage,
    ObjectGone,
    RequestValidationError,
    OutOfTime,
    problems.Busy,
    Exception,
)
# API Gateway gives up after 29 s (REST) or 30 s (HTTP), a cold start included.
GATEWAY_SECONDS = 27.0
RESERVE_SECONDS = 0.5  # of the invocation, to send an answer once generation was cut
MAX_WAITING = 16  # requests: some ten seconds of work at full size; each holds its image, 20 MiB at most

router = APIRouter()


def create_app(predictor: Predictor) -> FastAPI:
    """The app around a loaded predictor."""
    app = FastAPI(
        title="florence-lambda",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # the framework's page takes its scripts from a CDN; the one in `pages` does not
        redoc_url=None,
    )
    app.state.predictor, app.state.one_at_a_time = predictor, anyio.CapacityLimiter(1)
    problems.install(app)
    pages.install(app)
    app.include_router(router)
    return app


@dataclass(frozen=True)
class Inference:
    """The predictor behind a queue, for one request: one image at a time, since each takes all threads and up to 200 MB
    decoded."""

    predictor: Predictor
    one_at_a_time: anyio.CapacityLimiter
    deadline: float | None  # a time of `time.perf_counter`

    @property
    def manifest(self) -> Manifest:
        """The model's."""
        return self.predictor.manifest

    async def predict(self, image: bytes, *asks: Ask) -> Result:
        """The answers to `asks`. Raises `ImageError`, `TaskError`, `OutOfTime` and, at once, `Busy`."""
        if self.one_at_a_time.statistics().tasks_waiting >= MAX_WAITING:
            raise problems.Busy(f"{MAX_WAITING} requests are waiting already; try again.")
        # In a thread, so that the event loop stays free for `/health` meanwhile.
        return await anyio.to_thread.run_sync(
            self.predictor.predict, image, asks, self.deadline, limiter=self.one_at_a_time
        )


def _inference(request: Request) -> Inference:
    state = request.app.state
    return Inference(state.predictor, state.one_at_a_time, _deadline(request))


def _deadline(request: Request) -> float | None:
    """When the answer must be written: Lambda's context, which Mangum hands on, tells what is left."""
    context = request.scope.get("aws.context")
    if context is None:
        return None
    left: float = context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    return time.perf_counter() + min(left, GATEWAY_SECONDS)


Loaded = Annotated[Inference, Depends(_inference)]
MinScore = Annotated[float, Query(ge=0, le=1, description="Leave out objects with a lower score.")]


def _post(path: str, *further: type[Exception]) -> Callable[[DecoratedCallable], DecoratedCallable]:
    """A route that takes an image."""
    return router.post(
        path,
        tags=["images"],
        openapi_extra=OPENAPI_BODY,
        responses=problems.responses(*_IMAGE_PROBLEMS, *further),
        response_model_exclude_none=True,
    )


@_post("/caption")
async def caption(inference: Loaded, image: UploadedImage) -> schemas.CaptionAnswer:
    """Describe the image in a sentence."""
    result = await inference.predict(image, Ask(tasks.find("caption")))
    return schemas.caption(inference.manifest, result)


@_post("/detect")
async def detect(inference: Loaded, image: UploadedImage, min_score: MinScore = 0) -> schemas.DetectAnswer:
    """Find the objects in the image."""
    result = await inference.predict(image, Ask(tasks.find("detect")))
    return schemas.detect(inference.manifest, result, min_score)


@_post("/analyze")
async def analyze(inference: Loaded, image: UploadedImage, min_score: MinScore = 0) -> schemas.AnalyzeAnswer:
    """Describe the image and find its objects, in one pass over the image."""
    result = await inference.predict(image, Ask(tasks.find("caption")), Ask(tasks.find("detect")))
    return schemas.analyze(inference.manifest, result, min_score)


@_post("/tasks/{task}", UnknownTask, TaskInputError)
async def run_task(
    inference: Loaded,
    image: UploadedImage,
    task: Annotated[str, Path(description="A name from GET /tasks.")],
    text: Annotated[str | None, Query(alias="input", description="For those whose input is text.")] = None,
    region: Annotated[str | None, Query(description="For those whose input is a region: x1,y1,x2,y2 (pixels).")] = None,
    min_score: MinScore = 0,
) -> schemas.TaskAnswer:
    """Ask any of Florence-2's fifteen tasks."""
    result = await inference.predict(image, ask(task, text, region))
    return schemas.task(inference.manifest, result, min_score)


@router.get("/tasks", tags=["about"])
async def list_tasks() -> list[schemas.TaskInfo]:
    """The tasks there are."""
    return [
        schemas.TaskInfo(name=task.name, token=task.token, prompt=task.prompt, input=task.input, answer=task.answer)
        for task in tasks.TASKS
    ]


@router.get("/health", tags=["about"])
async def health() -> schemas.Health:
    """The process is alive; also while it works on an image."""
    return schemas.Health()


@router.get("/ready", tags=["about"], response_model_exclude_none=True)
async def ready(inference: Loaded) -> schemas.Ready:
    """The model is loaded, and this is it."""
    return schemas.Ready(model=schemas.model(inference.manifest), max_image_bytes=MAX_BYTES)
