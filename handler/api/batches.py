"""Several images and one question: an answer or a problem for each."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from .. import __version__, problems, questions, schemas, serialise
from ..florence.errors import FlorenceError, TaskInputError
from . import description, responses
from .inference import Inference, Loaded
from .options import BatchOptions
from .uploads import Item, UploadedBatch, fetch

router = APIRouter()


@router.post(
    "/batch",
    tags=["images"],
    openapi_extra=description.batch_body(BatchOptions),
    responses=problems.responses(*description.PROBLEMS, TaskInputError),
    response_model_exclude_none=True,
)
async def batch(
    request: Request,
    response: Response,
    inference: Loaded,
    sent: UploadedBatch,
    query: Annotated[BatchOptions, Query()],
) -> schemas.BatchAnswer:
    """Ask the same of several images, one after the other. One that fails has its problem, and the others go on."""
    response.headers.update(responses.origin(serialise.model(inference.manifest), __version__))
    options = sent.options(query)
    if options.task == "analyze":
        if options.input is not None or options.region is not None:
            raise TaskInputError("To analyze takes neither an input nor a region.")
        question = questions.analyze(cut=options.cut)
    else:
        question = questions.task(options.task, options.input, options.region, options.cut)
    return schemas.BatchAnswer(items=[await _answer(request, inference, item, question) for item in sent.items])


async def _answer(
    request: Request, inference: Inference, item: Item, question: questions.Question
) -> schemas.BatchItem:
    try:
        image = item.source if isinstance(item.source, bytes) else await fetch(request, item.source)
        answer = await inference.answer(image, question)
    except FlorenceError as error:
        problem = problems.document(error, request)
        return schemas.BatchItem(name=item.name, status=problem.status, problem=problem)
    assert isinstance(answer, schemas.AnalyzeAnswer | schemas.TaskAnswer)
    return schemas.BatchItem(name=item.name, status=200, answer=answer)
