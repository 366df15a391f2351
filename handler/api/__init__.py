"""The HTTP API: one FastAPI app for the local server and for Lambda.

`create_app` takes a predictor that is already loaded: no route and no lifespan ever loads a model (Mangum would run a
lifespan at every invocation). Routes read the image (`uploads`), ask the predictor (`inference`) and answer
(`responses`); `handler.problems` makes problem documents of errors.

::

    images.py        one image and one question: /caption, /detect, ...
    batches.py       several images: /batch
    rekognition.py   POST /, as Amazon Rekognition's clients call it
    about.py         /tasks, /health, /ready
    options.py       what can be asked for in a query, a form or JSON
"""

from fastapi import FastAPI

from .. import __version__, pages, problems
from ..florence.predictor import Predictor
from . import about, batches, images, rekognition
from .inference import Queue
from .request_ids import RequestIds
from .uploads import ReadObject

DESCRIPTION = (
    "Captions and boxes from Microsoft's Florence-2. Send an image as the body of a request, as the field `image` of a "
    "form, or as base64 in JSON; options stand in the query, the form or the JSON. Coordinates are pixels of the image "
    "as it is seen, its EXIF orientation applied. Scores are probabilities."
)


def create_app(predictor: Predictor, cache_bytes: int = 0, read_object: ReadObject | None = None) -> FastAPI:
    """The app around a loaded predictor.

    `cache_bytes`: how much memory the answers that are remembered may take. `read_object` reads what a request names as
    `s3_uri`; without it such requests are refused.
    """
    app = FastAPI(
        title="florence-lambda",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # the framework's page takes its scripts from a CDN; the one in `pages` does not
        redoc_url=None,
    )
    app.state.queue, app.state.read_object = Queue(predictor, cache_bytes), read_object
    app.add_middleware(RequestIds)
    problems.install(app)
    pages.install(app)
    for part in (images, batches, rekognition, about):
        app.include_router(part.router)
    return app
