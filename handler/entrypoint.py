"""What Lambda calls: `handler.entrypoint.handle`. Tells events of HTTP from those of storage, and no more.

The model is loaded at import, once for each execution environment and within its init; a start that cannot work (an
unknown setting, a damaged artifact) fails there, before any request is taken.
"""

from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from . import problems
from .api import create_app
from .florence.predictor import Predictor
from .settings import load

settings = load()
predictor = Predictor(settings.artifact, settings.threads)
# A lifespan would run at every invocation; what is not named as text is sent in base64.
http = Mangum(create_app(predictor), lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE])


class UnknownEvent(ValueError):
    """An event of no form that is served here; the message shows its keys."""


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serves one invocation. Raises `UnknownEvent`."""
    if "requestContext" in event:  # API Gateway (v1 and v2), function URLs, load balancers
        answer: dict[str, Any] = http(event, context)
        return answer
    raise UnknownEvent(f"No event that is served here has the keys {', '.join(sorted(event))}.")
