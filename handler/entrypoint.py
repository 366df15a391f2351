"""What Lambda calls: `handler.entrypoint.handle`. Tells events of HTTP from those of storage, and no more.

The model is loaded at import, once for each execution environment and within its init, and answers its golden case; a
start that cannot work (an unknown setting, a damaged artifact, wrong answers) fails there, before any request is taken.
"""

import binascii
import gc
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from .florence.artifact import verify_hashes
from .settings import load

if TYPE_CHECKING:
    from .florence.predictor import Predictor

gc.disable()  # what a start makes stays: looking through it for garbage took 0.15 s of the imports' 0.75
settings = load()


def _load(hashes: Future[None]) -> "Predictor":
    from .florence.predictor import Predictor

    loaded = Predictor(settings.artifact, settings.threads, hashes)
    loaded.self_test()
    return loaded


# Side by side: reading and hashing the weights, which needs next to no import; loading the model; and the imports of
# what serves it.
with ThreadPoolExecutor(2) as beside:
    loading = beside.submit(_load, beside.submit(verify_hashes, settings.artifact))

    from mangum import Mangum
    from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

    from . import problems, snapshot, telemetry
    from .api import create_app
    from .storage.delivery import deliver
    from .storage.errors import UnknownEvent

predictor = telemetry.WatchedPredictor(loading.result())
# A lifespan would run at every invocation; what is not named as text is sent in base64.
http = Mangum(
    telemetry.watch(create_app(predictor, settings.cache_bytes, settings.storage)),
    lifespan="off",
    text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE],
)
snapshot.register()
gc.freeze()
gc.enable()


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Serves one invocation. Raises `UnknownEvent`, `NotSetUp` and `DeliveryFailed`."""
    telemetry.begin(context)
    try:
        if _is_http(event):
            return _answer(event, context)
        return deliver(event, predictor, settings.storage, context.get_remaining_time_in_millis())
    finally:
        telemetry.end()


def _answer(event: dict[str, Any], context: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = http(event, context)
    except binascii.Error:  # no gateway sends it; who calls the function by hand may
        raise UnknownEvent("The event says that its body is base64, and it is not.") from None
    return answer


def _is_http(event: dict[str, Any]) -> bool:
    """API Gateway's REST APIs (v1) have `resource`; its HTTP APIs (v2) and function URLs `rawPath`; load balancers
    `elb`. WebSockets and Lambda's own reports of asynchronous invocations have a request's context too."""
    context = event.get("requestContext")
    return isinstance(context, dict) and ("resource" in event or "rawPath" in event or "elb" in context)
