"""The image in an HTTP request: the raw body, or the field `image` of a multipart form.

Never holds more than the limit: a body that announces more is refused unread, one that turns out to be more is refused
where it passes the limit. (FastAPI's own `max_body_size` answers in plain text where ours is a problem document.)
Does not look at the image: the core does.
"""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.types import Message, Receive

from .florence.errors import ImageTooLarge
from .florence.image import MAX_BYTES
from .problems import MissingImage

_BINARY = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "required": ["image"], "properties": {"image": _BINARY}}

# The request body for OpenAPI, which FastAPI cannot derive from a function that reads the request itself.
OPENAPI_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": _BINARY}, "multipart/form-data": {"schema": _FORM}},
    }
}


async def read_image(request: Request) -> bytes:
    """The image's bytes, unchecked. Raises `ImageTooLarge` and `MissingImage`."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > MAX_BYTES:
        raise _too_large()
    bounded = Request(request.scope, _bounded(request.receive))
    # Any other type is a raw image: curl --data-binary calls it application/x-www-form-urlencoded.
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await bounded.body()
        if not body:
            raise MissingImage("The request is empty: send an image as its body, or as the field 'image' of a form.")
        return body
    async with bounded.form(max_files=1) as form:
        upload = form.get("image")
        if not isinstance(upload, UploadFile) or not upload.size:
            raise MissingImage("The form has no file in its field 'image'.")
        return await upload.read()


UploadedImage = Annotated[bytes, Depends(read_image)]


def _bounded(receive: Receive) -> Receive:
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BYTES:
            raise _too_large()
        return message

    return bounded


def _too_large() -> ImageTooLarge:
    return ImageTooLarge(f"The request has more than {MAX_BYTES / 1e6:g} MB, the most that is read.")
