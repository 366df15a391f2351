"""Events as AWS sends them."""

import base64
import json
from typing import Any


def http(image: bytes, path: str = "/caption") -> dict[str, Any]:
    """An HTTP API's event, payload version 2.0: an image by POST."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "image/png"},
        "requestContext": {
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
        },
        "body": base64.b64encode(image).decode(),
        "isBase64Encoded": True,
    }


def caption_of(answer: dict[str, Any]) -> str:
    """The caption in the answer to an HTTP event, which went well."""
    assert answer["statusCode"] == 200, answer
    caption: str = json.loads(answer["body"])["caption"]
    return caption
