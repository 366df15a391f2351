"""Images too large for a request: `POST /uploads` says where to put one, `GET /results/{id}` what came of it."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .. import problems
from ..florence.errors import ImageTooLarge
from ..florence.image import MAX_BYTES
from ..storage import uploads
from ..storage.documents import Document, from_json
from ..storage.errors import NotSetUp, StorageRefused, StorageUnavailable, UnknownResult
from . import examples
from .responses import origin
from .uploads import read_json

RETRY_AFTER = 2  # seconds

_COMMON = (RequestValidationError, NotSetUp, StorageRefused, StorageUnavailable, Exception)

router = APIRouter(tags=["large images"])


class UploadRequest(BaseModel):
    """The image that will be uploaded."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"content_type": "image/jpeg", "bytes": 8_000_000}]}
    )

    content_type: Literal["image/jpeg", "image/png", "image/webp", "image/gif"]
    bytes: int = Field(ge=1, le=MAX_BYTES, strict=True, description="Its exact size.")

    @field_validator("bytes", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return int(value) if isinstance(value, float) and value.is_integer() else value  # JSON Schema: 1.0 is whole


class Put(BaseModel):
    """The request that uploads the image, which is its body."""

    method: Literal["PUT"] = "PUT"
    url: str = Field(description="Signed: no other credentials are needed.")
    headers: dict[str, str] = Field(description="To be sent exactly so.")
    expires: datetime


class UploadAnswer(BaseModel):
    """Where to put the image, and where to ask for the result."""

    id: str
    upload: Put
    result: str = Field(description="Path of this API.")


class Pending(BaseModel):
    """There is no result yet."""

    status: uploads.Pending = Field(description="For the upload, or on the image.")


async def _asked(request: Request) -> UploadRequest:
    """Read as the body of every other route, within its limit. (The framework's own reading has none.)"""
    said = await read_json(request)
    try:
        return UploadRequest.model_validate(said)
    except ValidationError as error:
        complaints = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
        raise RequestValidationError(complaints) from None


@router.post(
    "/uploads",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": UploadRequest.model_json_schema()}},
        }
    },
    responses=problems.responses(problems.MalformedBody, ImageTooLarge, *_COMMON),
)
def upload(asked: Annotated[UploadRequest, Depends(_asked)], request: Request) -> UploadAnswer:
    """Ask where to upload an image that is too large for a request (Lambda takes 6 MB, in base64)."""
    place = uploads.lend(request.app.state.storage, asked.content_type, asked.bytes)
    put = Put(url=place.url, headers=place.headers, expires=datetime.fromtimestamp(place.expires, UTC))
    return UploadAnswer(id=place.id, upload=put, result=f"/results/{place.id}")


_RESULTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"example": examples.RESULT}}},
    202: {
        "model": Pending,
        "description": "Not yet: ask again.",
        "headers": {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    },
}


@router.get("/results/{id}", response_model=Document, responses=_RESULTS | problems.responses(UnknownResult, *_COMMON))
def result(id_: Annotated[str, Path(alias="id", pattern=uploads.ID)], request: Request) -> Response:
    """The result of an upload: 202 until it is there."""
    found = uploads.outcome(request.app.state.storage, id_)
    if isinstance(found, uploads.Pending):
        body, headers = Pending(status=found).model_dump_json(), {"Retry-After": str(RETRY_AFTER)}
        return Response(body, HTTPStatus.ACCEPTED, headers, "application/json")
    stored = from_json(found)
    headers = origin(stored.model, stored.version, stored.image, stored.truncated) if stored.model else {}
    return Response(found, headers=headers, media_type="application/json")
