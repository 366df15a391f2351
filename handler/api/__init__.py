"""The HTTP API: one FastAPI app for the local server and for Lambda.

`create_app` takes a predictor that is already loaded: no route and no lifespan ever loads a model (Mangum would run a
lifespan at every invocation). Routes read the image (`uploads`), ask the predictor (`inference`) and answer
(`responses`); `handler.problems` makes problem documents of errors.

::

    images.py         one image and one question: /caption, /detect, ...
    batches.py        several images: /batch
    large_images.py   those that are too large for a request: /uploads, /results
    rekognition.py    POST /, as Amazon Rekognition's clients call it
    about.py          /tasks, /health, /ready
    options.py        what can be asked for in a query, a form or JSON
"""

from fastapi import FastAPI

from .. import __version__, pages, problems
from ..florence.predictor import Predictor
from ..settings import Storage
from . import about, batches, images, large_images, rekognition
from .head import HeadAsGet
from .inference import Queue
from .request_ids import RequestIds

DESCRIPTION = (
    "Captions and boxes from Microsoft's Florence-2. Send an image as the body of a request, as the field `image` of a "
    "form, or in JSON as base64 or as the address of an object; options stand in the query, the form or the JSON. "
    "Coordinates are pixels of the image as it is seen, its EXIF orientation applied. Scores are probabilities."
)


def create_app(predictor: Predictor, cache_bytes: int = 0, storage: Storage | None = None) -> FastAPI:
    """The app around a loaded predictor.

    `cache_bytes`: how much memory the answers that are remembered may take. `storage`: the buckets that requests may
    name and upload to; without it none.
    """
    app = FastAPI(
        title="florence-lambda",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # the framework's page takes its scripts from a CDN; the one in `pages` does not
        redoc_url=None,
    )
    app.state.queue, app.state.storage = Queue(predictor, cache_bytes), storage or Storage()
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestIds)
    problems.install(app)
    pages.install(app)
    for part in (images, batches, large_images, rekognition, about):
        app.include_router(part.router)
    return app
