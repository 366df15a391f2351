"""`POST /` as Amazon Rekognition answers it: boto3's client, with our address as its `endpoint_url`, works unchanged.

Its DetectLabels is our detection, its DetectText our reading with regions. The protocol is AWS's JSON 1.1: the
operation in the header `X-Amz-Target`, bytes in base64, errors with a `__type` that the client makes an exception of.
What a request asks for beyond that (image properties, filters) is refused rather than passed over. Signatures are not
looked at: who may call is for whatever stands in front.
"""

from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import questions
from ..florence.errors import ImageError, ImageTooLarge, InputError, OutOfTime
from ..formats import rekognition
from ..problems import Busy, MalformedBody
from ..serialise import Cut
from ..storage.errors import BucketNotAllowed, NotSetUp, ObjectGone, StorageRefused, StorageUnavailable
from . import uploads
from .inference import Loaded
from .responses import plain, provenance

router = APIRouter()

MEDIA_TYPE = "application/x-amz-json-1.1"
_SERVICE = "RekognitionService."
# What the client makes of our errors; the nearest counts. It tries again by itself when throttled.
_EXCEPTIONS: dict[type[Exception], str] = {
    ImageTooLarge: "ImageTooLargeException",
    ImageError: "InvalidImageFormatException",
    BucketNotAllowed: "InvalidS3ObjectException",
    ObjectGone: "InvalidS3ObjectException",
    StorageRefused: "InvalidS3ObjectException",
    NotSetUp: "InvalidS3ObjectException",
    MalformedBody: "SerializationException",
    InputError: "InvalidParameterException",
    OutOfTime: "ThrottlingException",
    Busy: "ThrottlingException",
    StorageUnavailable: "ThrottlingException",
}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _S3Object(_Request):
    Bucket: str
    Name: str
    Version: str | None = None


class _Image(_Request):
    Bytes: str | None = None
    S3Object: _S3Object | None = None

    @property
    def source(self) -> dict[str, Any]:
        """The same as our JSON has it."""
        stored = self.S3Object
        version = f"?versionId={stored.Version}" if stored and stored.Version else ""
        return {"image": self.Bytes, "s3_uri": stored and f"s3://{stored.Bucket}/{stored.Name}{version}"}


class _DetectLabels(_Request):
    Image: _Image
    MaxLabels: int | None = Field(default=None, ge=0)
    MinConfidence: float = Field(default=55, ge=0, le=100)  # Rekognition's own default
    Features: list[Literal["GENERAL_LABELS"]] = []


class _DetectText(_Request):
    Image: _Image


_OPERATIONS: dict[str, type[_DetectLabels | _DetectText]] = {"DetectLabels": _DetectLabels, "DetectText": _DetectText}


@router.post("/", include_in_schema=False)
async def call(request: Request, inference: Loaded) -> JSONResponse:
    """One operation."""
    target = request.headers.get("x-amz-target")
    if target is None:
        raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET"})
    operation = _OPERATIONS.get(target.removeprefix(_SERVICE))
    if operation is None:
        return _refuse("UnknownOperationException", f"There are {' and '.join(_OPERATIONS)} here, not {target}.")
    try:
        asked = operation.model_validate(await uploads.read_json(request))
        image = await uploads.fetch(request, asked.Image.source)
        if isinstance(asked, _DetectLabels):
            question = questions.detect(cut=Cut(asked.MinConfidence / 100))
        else:
            question = questions.read()
        answer = await inference.answer(image, question)
    except ValidationError as error:
        complaints = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}." for each in error.errors())
        return _refuse("InvalidParameterException", " ".join(complaints))
    except (InputError, OutOfTime, Busy, NotSetUp, StorageRefused, StorageUnavailable) as error:
        nearest = next(kind for kind in type(error).__mro__ if kind in _EXCEPTIONS)
        return _refuse(_EXCEPTIONS[nearest], str(error))
    response = rekognition.response(answer)
    if isinstance(response, rekognition.DetectLabels) and isinstance(asked, _DetectLabels):
        response = response.model_copy(update={"Labels": response.Labels[: asked.MaxLabels]})
    return JSONResponse(plain(response), headers=provenance(answer), media_type=MEDIA_TYPE)


def _refuse(exception: str, message: str) -> JSONResponse:
    return JSONResponse({"__type": exception, "message": message}, HTTPStatus.BAD_REQUEST, media_type=MEDIA_TYPE)
