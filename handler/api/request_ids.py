"""An id for each request, in the answer's `X-Request-Id` and in every problem document.

On Lambda it is the invocation's own, which its log lines bear; elsewhere the one that a proxy in front has given, and
without either a new one.
"""

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"
_ACCEPTED = re.compile(r"[\w.:/+=-]{1,128}", re.ASCII)  # nothing that could break a log line or a header


class RequestIds:
    """Middleware that sets `request_id` in the request's state and the header in its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = scope.setdefault("state", {})["request_id"] = _find(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        return await self._app(scope, receive, send_with_id)


def _find(scope: Scope) -> str:
    context = scope.get("aws.context")  # Mangum's
    given: str = getattr(context, "aws_request_id", None) or Headers(scope=scope).get(HEADER, "")
    return given if _ACCEPTED.fullmatch(given) else str(uuid.uuid4())
