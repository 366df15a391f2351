"""What a request sends: images, and the options that stand beside them in a form or in JSON.

An image is the raw body; the field `image` of a multipart form; or in JSON `image` (base64, or a `data:` URL), `s3_uri`
(an object in a bucket) or `inputs` (base64, as Hugging Face's clients send it, their options in `parameters`).

Never holds more than the limit: a body that announces more is refused unread, one that turns out to be more is refused
where it passes the limit. (FastAPI's own `max_body_size` answers in plain text where ours is a problem document.)
Does not look at the image: the core does.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.types import Message, Receive

from ..florence.errors import ImageTooLarge
from ..florence.image import MAX_BYTES
from ..problems import MalformedBody, MissingImage
from ..storage import addresses
from .inference import deadline
from .options import Options

MAX_IMAGES = 32  # of a batch
MAX_JSON = MAX_BYTES * 4 // 3 + 2**16  # base64, and some options
_DATA_URL = re.compile(r"data:[\w.+-]*(?:/[\w.+-]*)?(?:;[\w.=+-]*)*;base64,", re.ASCII | re.IGNORECASE)

OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True)
class Upload:
    """One image, and what was said beside it."""

    image: bytes
    said: dict[str, Any]
    json: bool = False  # said in JSON, where a number is no text; in a form all are texts
    huggingface: bool = False  # said in the names of Hugging Face's clients

    def options(self, query: OptionsT) -> OptionsT:
        """The options of the query, and before them those of the body. Raises `RequestValidationError`."""
        if not self.said and not self.huggingface:
            return query
        kind = type(query)
        said = {"format": "hf"} if self.huggingface and "format" in kind.model_fields else {}
        for name, value in self.said.items():
            said[kind.HF.get(name, name) if self.huggingface else name] = value
        try:
            merged = query.model_dump(mode="json", exclude_unset=True) | said
            return kind.model_validate_json(json.dumps(merged), strict=True) if self.json else kind(**merged)
        except ValidationError as error:
            complaints = [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
            raise RequestValidationError(complaints) from None


@dataclass(frozen=True)
class Item:
    """One image of a batch: its bytes, or where they are, and what it is called."""

    name: str | None
    source: bytes | dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Several images, and what was said beside them."""

    items: tuple[Item, ...]
    said: dict[str, Any]
    json: bool

    def options(self, query: OptionsT) -> OptionsT:
        """As `Upload.options`."""
        return Upload(b"", self.said, self.json).options(query)


async def read_upload(request: Request) -> Upload:
    """The request's one image, unchecked. Raises `ImageTooLarge`, `MissingImage` and `MalformedBody`."""
    if _is_json(request):
        said = await read_json(request)
        huggingface = "inputs" in said
        source: dict[str, Any] = {name: said.pop(name) for name in ("image", "s3_uri", "inputs") if name in said}
        parameters = said.pop("parameters", None) if huggingface else None
        if parameters is not None and not isinstance(parameters, dict):
            raise MalformedBody("The 'parameters' must be an object.")
        said |= {name: value for name, value in (parameters or {}).items() if value is not None}
        return Upload(await fetch(request, source), said, json=True, huggingface=huggingface)
    # Any other type is a raw image: curl --data-binary calls it application/x-www-form-urlencoded.
    if not _is_form(request):
        body = await _bounded(request, MAX_BYTES).body()
        if not body:
            raise MissingImage("The request is empty: send an image as its body, or as the field 'image' of a form.")
        return Upload(body, {})
    async with _bounded(request, MAX_BYTES).form(max_files=1) as form:
        upload = form.get("image")
        if not isinstance(upload, UploadFile) or not upload.size:
            raise MissingImage("The form has no file in its field 'image'.")
        return Upload(await upload.read(), _fields(form))


async def read_batch(request: Request) -> Batch:
    """The request's images, unchecked, at least one. Raises `ImageTooLarge`, `MissingImage` and `MalformedBody`."""
    if _is_json(request):
        said = await read_json(request)
        images = said.pop("images", [])
        if not isinstance(images, list) or not all(isinstance(each, dict | str) for each in images):
            raise MalformedBody("The 'images' must be a list of objects with 'image' or 's3_uri'.")
        sources = [{"image": each} if isinstance(each, str) else each for each in images]
        if not all(isinstance(each.get("name", ""), str) for each in sources):
            raise MalformedBody("The 'name' of an image must be a text.")
        items = [Item(each.get("name") or _text(each.get("s3_uri")), each) for each in sources]
    elif _is_form(request):
        async with _bounded(request, MAX_BYTES).form(max_files=MAX_IMAGES + 1) as form:
            files = [each for each in form.getlist("image") if isinstance(each, UploadFile)]
            items = [Item(file.filename or None, await file.read()) for file in files]
            said = _fields(form)
    else:
        raise MissingImage("A batch is a form with several files in its fields 'image', or JSON with 'images'.")
    if not items:
        raise MissingImage("There is no image in this batch: send fields 'image' of a form, or 'images' in JSON.")
    if len(items) > MAX_IMAGES:
        raise MalformedBody(f"A batch has at most {MAX_IMAGES} images; this one has {len(items)}.")
    return Batch(tuple(items), said, _is_json(request))


async def fetch(request: Request, source: dict[str, Any]) -> bytes:
    """The one image that an object of JSON holds or names.

    Raises `MissingImage`, `MalformedBody` and, where it is in a bucket, what `addresses.read` raises.
    """
    given = [name for name in ("image", "s3_uri", "inputs") if source.get(name)]
    if len(given) != 1:
        raise MissingImage("JSON holds one image: 'image' (base64 or a data: URL) or 's3_uri'.")
    (name,) = given
    value = source[name]
    if not isinstance(value, str):
        raise MalformedBody(f"The field '{name}' must be a text.")
    if name == "s3_uri":
        return await addresses.read(value, request.app.state.storage, deadline(request))
    return decode(value, name)


def decode(value: str, name: str) -> bytes:
    """Base64, with or without line breaks or the head of a `data:` URL. Raises `MalformedBody` and `ImageTooLarge`."""
    head = _DATA_URL.match(value, 0, 200)
    text = value[head.end() if head else 0 :]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedBody(f"The field '{name}' is neither base64 nor a data: URL in base64.") from None


async def read_json(request: Request) -> dict[str, Any]:
    """The body as an object of JSON. Raises `MalformedBody` and `ImageTooLarge`."""
    body = await _bounded(request, MAX_JSON).body()
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody("The body's content type is JSON, and it is none.") from None
    if not isinstance(said, dict):
        raise MalformedBody("The body must be an object of JSON.")
    return said


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def _fields(form: Any) -> dict[str, Any]:
    """A form's texts; those of one name, if there are several, as a list."""
    texts: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            texts.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in texts.items()}


def _bounded(request: Request, limit: int) -> Request:
    """The request with a body that ends with an error where it passes the limit."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    received = 0
    receive: Receive = request.receive

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return Request(request.scope, bounded)


def _too_large(limit: int) -> ImageTooLarge:
    return ImageTooLarge(f"The request has more than {limit / 1e6:.3g} MB, the most that is read.")


Uploaded = Annotated[Upload, Depends(read_upload)]
UploadedBatch = Annotated[Batch, Depends(read_batch)]
