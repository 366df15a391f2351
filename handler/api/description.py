"""What the OpenAPI document says of routes that take images, and FastAPI cannot derive: bodies, headers, examples."""

from typing import Any

from fastapi.exceptions import RequestValidationError

from .. import problems
from ..florence.errors import DamagedImage, ImageTooLarge, NotAnImage, OutOfTime, UnsupportedFormat
from ..storage.errors import BucketNotAllowed, NotSetUp, ObjectGone, StorageRefused, StorageUnavailable
from .options import Options
from .responses import HEADERS
from .uploads import MAX_IMAGES

# A red disc on white, 16 x 16 pixels: an image that fits into an example.
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEX////IHh7kMBY6AAAAJklEQVR42mNggAHmA0wsCkwcAkwCHEwMDFD04QfTjw9M"
    "fx7AVQEAdUIG1racT0IAAAAASUVORK5CYII="
)

_BINARY = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "format": "byte", "description": "The image in base64, or a data: URL."}
_S3_URI = {
    "type": "string",
    "pattern": "^s3://",
    "description": "An object of a bucket that the server may read: s3://bucket/key, the key as it is, or for one of "
    "its versions s3://bucket/key?versionId=id.",
}

PROBLEMS = (
    problems.MissingImage,
    problems.MalformedBody,
    BucketNotAllowed,
    NotAnImage,
    UnsupportedFormat,
    ImageTooLarge,
    DamagedImage,
    ObjectGone,
    RequestValidationError,
    OutOfTime,
    problems.Busy,
    StorageUnavailable,
    StorageRefused,
    NotSetUp,
    Exception,
)


def body(options: type[Options], example: dict[str, Any]) -> dict[str, Any]:
    """The request body of a route with these options, `example` being some of them: raw, form or JSON."""
    json = {"anyOf": [_object({"image": _BASE64}, options), _object({"s3_uri": _S3_URI}, options)]}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": _BINARY},
                "multipart/form-data": {"schema": _form({"image": _BINARY}, options)},
                "application/json": {"schema": json, "example": {"image": IMAGE, **example}},
            },
        }
    }


def batch_body(options: type[Options]) -> dict[str, Any]:
    """The same for several images."""
    several = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": MAX_IMAGES}
    named = {"name": {"type": "string", "description": "What the answer calls it."}}
    items = [
        {"type": "object", "properties": {name: source, **named}, "required": [name]}
        for name, source in (("image", _BASE64), ("s3_uri", _S3_URI))
    ]
    images = {"type": "array", "items": {"anyOf": items}, "minItems": 1, "maxItems": MAX_IMAGES}
    example = {"images": [{"name": "a.png", "image": IMAGE}, {"s3_uri": "s3://photos/b.jpg"}]}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _form({"image": several}, options)},
                "application/json": {"schema": _object({"images": images}, options), "example": example},
            },
        }
    }


def responses(*further: type[Exception], example: Any) -> dict[int | str, dict[str, Any]]:
    """The responses of a route: an example of its answer, its headers, and the problems it can fail with."""
    headers = {name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in HEADERS.items()}
    answer = {"headers": headers, "content": {"application/json": {"example": example}}}
    return {200: answer} | problems.responses(*PROBLEMS, *further)


def _object(source: dict[str, Any], options: type[Options]) -> dict[str, Any]:
    """JSON with an image, or what names one, and options. Two of these can be lists as well as texts."""
    names = {"type": "array", "items": {"type": "string"}}
    region = {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}
    asked = _properties(options)
    for name, listed in (("classes", names), ("region", region)):
        if name in asked:
            asked[name] = {"anyOf": [{"type": "string"}, listed, {"type": "null"}]} | _described(asked[name])
    return _closed(source, asked)


def _form(source: dict[str, Any], options: type[Options]) -> dict[str, Any]:
    """A form with the same, where all are texts, a truth is a word, and nothing is null."""
    asked = _properties(options)
    for name, each in asked.items():
        if name == "classes":
            asked[name] = {"type": "string"} | _described(each)
        elif each.get("type") == "boolean":
            asked[name] = {"type": "string", "enum": ["true", "false"]} | _described(each)
        elif "anyOf" in each:
            asked[name] = each["anyOf"][0] | _described(each)
    return _closed(source, asked)


def _described(option: dict[str, Any]) -> dict[str, Any]:
    return {"description": option["description"]}


def _closed(source: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """An object of these properties alone, the first ones required."""
    required = list(source)
    return {"type": "object", "properties": source | asked, "required": required, "additionalProperties": False}


def _properties(options: type[Options]) -> dict[str, Any]:
    """The options as properties of JSON Schema, with what they refer to in its place."""
    schema = options.model_json_schema()
    definitions = schema.get("$defs", {})
    properties = {}
    for name, each in schema["properties"].items():
        reference = each.pop("$ref", "").split("/")[-1]
        properties[name] = {**definitions.get(reference, {}), **each}
    return properties
