"""Events of HTTP, of every service that sends them, to the image without network."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from . import events
from .conftest import CAPTION, SAMPLE
from .function import Failed, Function

SERVICES = (
    "apiGatewayProxyV2Event",
    "apiGatewayProxyV2IamEvent",
    "apiGatewayProxyEvent",
    "apiGatewayProxyEvent_noVersionAuth",
    "lambdaFunctionUrlEvent",
    "lambdaFunctionUrlIAMEvent",
    "albEvent",
    "albMultiValueHeadersEvent",
)


@pytest.fixture(scope="module")
def function(start: Callable[..., Function]) -> Function:
    return start()


@pytest.mark.parametrize("service", SERVICES)
def test_a_picture_is_captioned(function: Function, refdata: Path, service: str) -> None:
    event = events.http_of(refdata / "aws_events" / f"powertools_{service}.json", SAMPLE.read_bytes())
    assert events.caption_of(function.invoke(event)) == CAPTION


def test_what_is_no_image_is_a_problem_document(function: Function) -> None:
    answer = function.invoke(events.http(b"no image"))
    assert answer["statusCode"] == 400
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert json.loads(answer["body"])["type"] == "/docs#not-an-image"


def test_what_is_no_event_is_an_error_that_shows_its_keys(function: Function) -> None:
    with pytest.raises(Failed, match=r"UnknownEvent: .*hello"):
        function.invoke({"hello": "world"})
    assert events.caption_of(function.invoke(events.http(SAMPLE.read_bytes()))) == CAPTION


def test_a_picture_near_the_limit_of_a_request(function: Function, refdata: Path) -> None:
    """Lambda takes 6 MB of JSON, and so 4.5 MB of image: here a PNG with 4 MB of text in it."""
    import io

    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 4_000_000)
    data = io.BytesIO()
    Image.open(SAMPLE).save(data, "PNG", pnginfo=text)
    assert len(data.getvalue()) > 4_000_000
    assert events.caption_of(function.invoke(events.http(data.getvalue()))) == CAPTION
