"""Errors -> HTTP problem documents (RFC 9457, `application/problem+json`): the one table.

Every error response of the API has this shape, those of the framework included. A problem's `type` is a link into the
API's own documentation, `/docs#damaged-image`. What no one foresaw becomes a 500 that says nothing of its cause: the
cause goes to the log, where uvicorn and Lambda put it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from .florence.errors import (
    DamagedImage,
    FlorenceError,
    ImageTooLarge,
    InputError,
    NotAnImage,
    OutOfTime,
    TaskInputError,
    UnknownTask,
    UnsupportedFormat,
)
from .schemas import Problem
from .storage.errors import (
    BucketNotAllowed,
    NotSetUp,
    ObjectGone,
    StorageRefused,
    StorageUnavailable,
    UnknownResult,
)

MEDIA_TYPE = "application/problem+json"


class MissingImage(InputError):
    """The request carries no image."""


class MalformedBody(InputError):
    """The request's body is not what its content type says."""


class Busy(FlorenceError):
    """More requests are waiting than can be answered soon."""


@dataclass(frozen=True)
class Kind:
    """One kind of problem: what all its occurrences share."""

    slug: str  # the last part of its type
    status: HTTPStatus
    title: str
    meaning: str  # for the documentation
    retry_after: int | None = None  # seconds, where the same request may do better later

    @property
    def type(self) -> str:
        """The problem's type, a URI reference (RFC 9457, section 3.1.1)."""
        return f"/docs#{self.slug}"


_BAD_REQUEST, _UNPROCESSABLE = HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY
KINDS: dict[type[Exception], Kind] = {
    MissingImage: Kind(
        "missing-image",
        _BAD_REQUEST,
        "No image in the request",
        "The body is empty, the form lacks its file, or the JSON names no image.",
    ),
    MalformedBody: Kind(
        "malformed-body",
        _BAD_REQUEST,
        "Malformed body",
        "JSON that is none or has not the shape described here, base64 that is none, or too many images in a batch.",
    ),
    BucketNotAllowed: Kind(
        "bucket-not-allowed",
        HTTPStatus.FORBIDDEN,
        "Bucket not allowed",
        "`s3_uri` names a bucket that this server does not read for requests.",
    ),
    NotAnImage: Kind(
        "not-an-image", _BAD_REQUEST, "Not an image", "The bytes begin like no image format that is known here."
    ),
    UnsupportedFormat: Kind(
        "unsupported-format",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Unsupported image format",
        "An image, but neither JPEG, PNG, WebP nor GIF: convert it first.",
    ),
    ImageTooLarge: Kind(
        "image-too-large",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "Image too large",
        "More bytes or more pixels than are read. The model sees a few hundred pixels a side: little is lost by "
        "sending a smaller image.",
    ),
    DamagedImage: Kind(
        "damaged-image", _UNPROCESSABLE, "Damaged image", "The header is fine, but the pixels are cut off or broken."
    ),
    UnknownTask: Kind("unknown-task", HTTPStatus.NOT_FOUND, "Unknown task", "`GET /tasks` lists those there are."),
    TaskInputError: Kind(
        "task-input",
        _UNPROCESSABLE,
        "The task's input does not fit",
        "`input` or `region` is missing, malformed, or not wanted by this task.",
    ),
    ObjectGone: Kind(
        "object-gone", HTTPStatus.NOT_FOUND, "Object gone", "The bucket has no such object, or not any more."
    ),
    UnknownResult: Kind(
        "unknown-result",
        HTTPStatus.NOT_FOUND,
        "Unknown result",
        "Nothing was uploaded under this id while its address was good, or the result was deleted.",
    ),
    RequestValidationError: Kind(
        "invalid-request", _UNPROCESSABLE, "Invalid request", "A parameter has a value that cannot be."
    ),
    OutOfTime: Kind(
        "out-of-time",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Out of time",
        "Too little of the time allowed for the request was left to look at the image. `Retry-After` says when to try "
        "again; a smaller image is quicker.",
        retry_after=1,
    ),
    Busy: Kind(
        "busy",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Busy",
        "More requests are waiting than can be answered soon, and this one was not begun. `Retry-After` says when to "
        "try again.",
        retry_after=1,
    ),
    NotSetUp: Kind(
        "not-set-up",
        HTTPStatus.NOT_IMPLEMENTED,
        "Not set up",
        "This server lacks a setting, a package or credentials that the request needs; the answer names them.",
    ),
    StorageRefused: Kind(
        "storage-refused",
        HTTPStatus.BAD_GATEWAY,
        "Storage refused",
        "S3 does not let this server do what the request needs, or knows no such bucket: who runs the server can mend "
        "it.",
    ),
    StorageUnavailable: Kind(
        "storage-unavailable",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Storage unavailable",
        "S3 throttles or fails. `Retry-After` says when to try again.",
        retry_after=1,
    ),
    Exception: Kind(
        "internal-error",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Internal error",
        "A fault of the service. The server's log has its cause; the answer does not.",
    ),
}


def install(app: FastAPI) -> None:
    """Let `app` answer every error with a problem document."""
    app.add_exception_handler(FlorenceError, _from_table)
    app.add_exception_handler(RequestValidationError, _from_validation)
    app.add_exception_handler(HTTPException, _from_framework)
    app.add_exception_handler(ClientDisconnect, _to_no_one)
    app.add_exception_handler(Exception, _from_nowhere)
    derive = app.openapi

    def openapi() -> dict[str, Any]:
        description = derive()
        description["components"]["schemas"]["Problem"] = Problem.model_json_schema()
        return description

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def responses(*errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that can fail with `errors`, each with an example."""
    result: dict[int | str, dict[str, Any]] = {}
    for kind in (KINDS[error] for error in errors):
        entry = result.setdefault(
            kind.status.value,
            {
                "description": kind.status.phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        value = {"type": kind.type, "title": kind.title, "status": kind.status.value}
        example = {"summary": kind.title, "description": kind.meaning, "value": value}
        entry["content"][MEDIA_TYPE]["examples"][kind.slug] = example
    return result


def document(error: Exception, request: Request | None = None) -> Problem:
    """The document of an error that is in the table, or whose base is. Raises other errors again."""
    return _problem(_kind(error), str(error), request)


def _problem(kind: Kind, detail: str, request: Request | None) -> Problem:
    return Problem(
        type=kind.type, title=kind.title, status=kind.status.value, detail=detail, request_id=_request_id(request)
    )


def _request_id(request: Request | None) -> str | None:
    request_id: str | None = getattr(request.state, "request_id", None) if request else None
    return request_id


def _kind(error: Exception) -> Kind:
    """The nearest kind in the table; an error that is no one's fault but ours is unforeseen, and raised again."""
    nearest = next(type_ for type_ in type(error).__mro__ if type_ in KINDS)
    if nearest is Exception:
        raise error
    return KINDS[nearest]


def _respond(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    # The id's header is set here too: what the outermost layer sends has not passed the one that sets it.
    headers = {**(headers or {}), **({"X-Request-Id": problem.request_id} if problem.request_id else {})}
    return JSONResponse(problem.model_dump(exclude_none=True), problem.status, headers, MEDIA_TYPE)


def _from_table(request: Request, error: Exception) -> JSONResponse:
    retry_after = _kind(error).retry_after
    return _respond(document(error, request), None if retry_after is None else {"Retry-After": str(retry_after)})


def _from_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    complaints = (f"{'.'.join(map(str, each['loc'][1:]))}: {each['msg']}." for each in error.errors())
    return _respond(_problem(KINDS[RequestValidationError], " ".join(complaints), request))


def _from_framework(request: Request, error: Exception) -> JSONResponse:
    """The framework's own errors say no more than their status: type about:blank (RFC 9457, section 4.2.1)."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = str(error.detail)
    if status is HTTPStatus.NOT_FOUND:
        detail = f"There is nothing at {request.url.path}; /docs lists what there is."
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = Headers(error.headers).get("allow", "nothing")
        detail = f"{request.method} is not allowed at {request.url.path}, only {allowed}."
    elif not detail.endswith("."):
        detail += "."
    problem = Problem(
        type="about:blank", title=status.phrase, status=status.value, detail=detail, request_id=_request_id(request)
    )
    return _respond(problem, error.headers)


def _to_no_one(_: Request, error: Exception) -> Response:
    """The client left before its request was whole: nobody reads this, and it is no fault to log."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


def _from_nowhere(request: Request, error: Exception) -> JSONResponse:
    """Sent by the outermost layer, which raises the error again afterwards, for the log."""
    detail = "Something went wrong here that is not your fault; the log says what."
    return _respond(_problem(KINDS[Exception], detail, request))
