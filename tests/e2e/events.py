"""Events as AWS sends them: the files of the reference data, about a picture of ours."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus


def http(image: bytes) -> dict[str, Any]:
    """An HTTP API's event with no more than Mangum reads: an image to POST /caption."""
    return http_call("POST", "/caption") | {"headers": {"content-type": "image/png"}, **_body(image)}


def http_call(method: str, path: str, body: str = "") -> dict[str, Any]:
    """The same for any route, with JSON."""
    context = {"http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"}}
    event = {"version": "2.0", "rawPath": path, "rawQueryString": "", "requestContext": context}
    return event | {"headers": {"content-type": "application/json"}, "body": body, "isBase64Encoded": False}


def http_of(file: Path, image: bytes) -> dict[str, Any]:
    """The event in `file`, of any service that speaks HTTP, as an image to POST /caption."""
    event: dict[str, Any] = json.loads(file.read_text())
    if event.get("version") == "2.0":
        event["requestContext"]["http"] |= {"method": "POST", "path": "/caption"}
        event |= {"rawPath": "/caption", "rawQueryString": ""}
    else:
        event |= {"httpMethod": "POST", "path": "/caption"}
        event["requestContext"] |= {"path": "/caption", "httpMethod": "POST"}
        for query in ("queryStringParameters", "multiValueQueryStringParameters"):
            event.pop(query, None)
    if "multiValueHeaders" in event:
        event["multiValueHeaders"]["content-type"] = ["image/png"]
    if "headers" in event:
        event["headers"]["content-type"] = "image/png"
    return event | _body(image)


def notification(file: Path, bucket: str, key: str, body: bytes, etag: str) -> dict[str, Any]:
    """The S3 notification in `file`, about this object."""
    event: dict[str, Any] = json.loads(file.read_text())
    (record,) = event["Records"]
    record["s3"]["bucket"] |= {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"}
    record["s3"]["object"] |= {"key": quote_plus(key, safe="/"), "size": len(body), "eTag": etag}
    return event


def object_created(file: Path, bucket: str, key: str, body: bytes, etag: str) -> dict[str, Any]:
    """The EventBridge event in `file`, about this object."""
    event: dict[str, Any] = json.loads(file.read_text())
    event["detail"]["bucket"]["name"] = bucket
    event["detail"]["object"] |= {"key": key, "size": len(body), "etag": etag}
    return event


def queued(file: Path, *bodies: str) -> dict[str, Any]:
    """The queue's event in `file`, with a message for each of these bodies."""
    event: dict[str, Any] = json.loads(file.read_text())
    (message,) = event["Records"]
    return {"Records": [message | {"messageId": f"message-{n}", "body": body} for n, body in enumerate(bodies)]}


def published(file: Path, body: str) -> str:
    """The body of the message in `file`, an envelope of SNS, around this one."""
    envelope: dict[str, Any] = json.loads(json.loads(file.read_text())["Records"][0]["body"])
    return json.dumps(envelope | {"Message": body})


def batch_job(bucket: str, *keys: str) -> dict[str, Any]:
    """An invocation by S3 Batch Operations, schema 2.0, of a task for each key (after the User Guide's example)."""
    return {
        "invocationSchemaVersion": "2.0",
        "invocationId": "YXNkbGZqYWRmaiBhc2RmdW9hZHNmZGpmaGFzbGtkaGZza2RmaAo",
        "job": {"id": "f3cc4f60-61f6-4a2b-8a21-d07600c373ce", "userArguments": {}},
        "tasks": [
            {"taskId": f"task-{n}", "s3Key": quote_plus(key, safe="/"), "s3VersionId": None, "s3Bucket": bucket}
            for n, key in enumerate(keys)
        ],
    }


def caption_of(answer: dict[str, Any]) -> str:
    """The caption in the answer to an HTTP event, which went well."""
    assert answer["statusCode"] == 200, answer
    caption: str = json.loads(answer["body"])["caption"]
    return caption


def _body(image: bytes) -> dict[str, Any]:
    return {"body": base64.b64encode(image).decode(), "isBase64Encoded": True}
