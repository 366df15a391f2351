"""What the service says of itself."""

from fastapi import APIRouter, Request

from .. import formats, schemas, serialise
from ..florence import tasks
from ..florence.image import MAX_BYTES
from .inference import Loaded

LAMBDA_BYTES = 4_500_000  # Lambda takes 6 MB of request, which holds the image in base64

router = APIRouter(tags=["about"])


@router.get("/tasks")
async def list_tasks() -> list[schemas.TaskInfo]:
    """The tasks there are, and what each needs."""
    return [
        schemas.TaskInfo(
            name=task.name,
            token=task.token,
            prompt=task.prompt,
            input=task.input,
            answer=task.answer,
            formats=[form for form in formats.Format if formats.has(task, form)],
        )
        for task in tasks.TASKS
    ]


@router.get("/health")
async def health() -> schemas.Health:
    """The process is alive; also while it works on an image."""
    return schemas.Health()


@router.get("/ready", response_model_exclude_none=True)
async def ready(request: Request, inference: Loaded) -> schemas.Ready:
    """The model is loaded, and this is it."""
    limit = LAMBDA_BYTES if "aws.context" in request.scope else MAX_BYTES  # the page makes larger images smaller
    return schemas.Ready(model=serialise.model(inference.manifest), max_image_bytes=limit)
