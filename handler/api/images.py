"""One image and one question."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.types import DecoratedCallable

from .. import formats, questions, schemas
from ..florence.errors import TaskInputError, UnknownTask
from ..formats import coco, hf, rekognition
from . import description, examples
from .inference import Loaded
from .options import (
    AnalyzeOptions,
    CaptionOptions,
    ClassifyOptions,
    DetectOptions,
    GroundOptions,
    Options,
    ReadOptions,
    SegmentOptions,
    TaskOptions,
)
from .responses import respond
from .uploads import Uploaded

router = APIRouter()


def _post(
    path: str, options: type[Options], answer: Any, example: examples.Example, *further: type[Exception]
) -> Callable[[DecoratedCallable], DecoratedCallable]:
    """A route that takes an image and answers with one of these shapes."""
    return router.post(
        path,
        tags=["images"],
        openapi_extra=description.body(options, example.asked),
        response_model=answer,
        responses=description.responses(*further, example=example.answer),
    )


@_post(
    "/caption", CaptionOptions, schemas.CaptionAnswer | list[hf.GeneratedText] | list[coco.Caption], examples.CAPTION
)
async def caption(inference: Loaded, sent: Uploaded, query: Annotated[CaptionOptions, Query()]) -> Response:
    """Describe the image: in a sentence, in detail, or in a paragraph."""
    options = sent.options(query)
    answer = await inference.answer(sent.image, questions.caption(options.detail))
    return await respond(answer, options.form, options.image_id)


@_post(
    "/detect",
    DetectOptions,
    schemas.ObjectsAnswer | list[hf.Detection] | list[coco.Detection] | rekognition.DetectLabels,
    examples.DETECT,
    TaskInputError,
)
async def detect(inference: Loaded, sent: Uploaded, query: Annotated[DetectOptions, Query()]) -> Response:
    """Find the objects in the image, or those of `classes` alone, which may be any words."""
    options = sent.options(query)
    answer = await inference.answer(sent.image, questions.detect(options.classes, options.cut))
    return await respond(answer, options.form, options.image_id)


@_post("/analyze", AnalyzeOptions, schemas.AnalyzeAnswer, examples.ANALYZE, TaskInputError)
async def analyze(inference: Loaded, sent: Uploaded, query: Annotated[AnalyzeOptions, Query()]) -> Response:
    """Describe the image and find its objects, in one pass over the image."""
    options = sent.options(query)
    return await respond(
        await inference.answer(sent.image, questions.analyze(options.detail, options.classes, options.cut))
    )


@_post(
    "/classify",
    ClassifyOptions,
    schemas.ClassifyAnswer | list[hf.Label] | rekognition.DetectLabels,
    examples.CLASSIFY,
    TaskInputError,
)
async def classify(inference: Loaded, sent: Uploaded, query: Annotated[ClassifyOptions, Query()]) -> Response:
    """Name what is to be seen, each name once, without places. Of `classes` also what is not there, with score 0."""
    options = sent.options(query)
    question = questions.classify(options.classes, options.min_score, options.max_labels)
    return await respond(await inference.answer(sent.image, question), options.form)


@_post(
    "/ground",
    GroundOptions,
    schemas.ObjectsAnswer | list[hf.Detection] | list[coco.Detection] | rekognition.DetectLabels,
    examples.GROUND,
    TaskInputError,
)
async def ground(inference: Loaded, sent: Uploaded, query: Annotated[GroundOptions, Query()]) -> Response:
    """Find the phrases of a caption in the image."""
    options = sent.options(query)
    answer = await inference.answer(sent.image, questions.ground(options.text, options.cut))
    return await respond(answer, options.form, options.image_id)


@_post(
    "/segment",
    SegmentOptions,
    schemas.ObjectsAnswer | list[hf.Segment] | list[coco.Detection] | rekognition.DetectLabels,
    examples.SEGMENT,
    TaskInputError,
)
async def segment(inference: Loaded, sent: Uploaded, query: Annotated[SegmentOptions, Query()]) -> Response:
    """Outline what a text names, or what lies in a region."""
    options = sent.options(query)
    answer = await inference.answer(sent.image, questions.segment(options.text, options.region, options.cut))
    return await respond(answer, options.form, options.image_id)


@_post(
    "/read",
    ReadOptions,
    schemas.ReadAnswer | list[hf.GeneratedText] | list[coco.Result] | rekognition.DetectText,
    examples.READ,
    TaskInputError,
)
async def read(inference: Loaded, sent: Uploaded, query: Annotated[ReadOptions, Query()]) -> Response:
    """Read the text in the image, and tell where each piece stands."""
    options = sent.options(query)
    question = questions.read(options.regions, options.cut)
    formats.check(question.task, options.form)
    return await respond(await inference.answer(sent.image, question), options.form, options.image_id)


@_post(
    "/tasks/{task}",
    TaskOptions,
    schemas.TaskAnswer | list[hf.Element] | list[coco.Result] | rekognition.Response,
    examples.TASK,
    UnknownTask,
    TaskInputError,
)
async def run_task(
    inference: Loaded,
    sent: Uploaded,
    task: Annotated[str, Path(description="A name from GET /tasks.")],
    query: Annotated[TaskOptions, Query()],
) -> Response:
    """Ask any of Florence-2's fifteen tasks."""
    options = sent.options(query)
    question = questions.task(task, options.input, options.region, options.cut)
    formats.check(question.task, options.form)
    return await respond(await inference.answer(sent.image, question), options.form, options.image_id)
