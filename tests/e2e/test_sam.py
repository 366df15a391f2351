"""The template under SAM: valid, built, invoked, and serving."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import CAPTION, OUTPUT, ROOT, SAMPLE, make

ENVIRONMENT = os.environ | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}


def test_the_template_is_valid() -> None:
    make(".venv-sam/stamp")
    done = subprocess.run(
        [ROOT / ".venv-sam" / "bin" / "sam", "validate", "--lint"], cwd=ROOT, env=ENVIRONMENT, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sample_event_is_about_the_sample() -> None:
    import base64

    event = json.loads((ROOT / "events" / "caption.json").read_text())
    assert base64.b64decode(event["body"]) == SAMPLE.read_bytes()


def test_make_invoke_prints_the_caption(base: str) -> None:
    said = make("invoke", f"BASE_IMAGE={base}", "ARTIFACT=models/mini")
    answer = json.loads(said.splitlines()[-1])
    assert json.loads(answer["body"])["caption"] == CAPTION


@pytest.fixture(scope="module")
def address(base: str) -> Iterator[str]:
    """Of `sam local start-api`."""
    make("sam-build", f"BASE_IMAGE={base}", "ARTIFACT=models/mini")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [ROOT / ".venv-sam" / "bin" / "sam", "local", "start-api", "--port", str(port)]
    log = OUTPUT / "start-api.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=output, stderr=output)
    try:
        until = time.monotonic() + 120
        while f"Running on http://127.0.0.1:{port}" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def call(address: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    try:
        with urllib.request.urlopen(address, body, timeout=60) as answer:
            return answer.status, answer.headers["content-type"], answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read()


def test_the_api_answers(address: str) -> None:
    status, _, body = call(f"{address}/caption", SAMPLE.read_bytes())
    assert (status, json.loads(body)["caption"]) == (200, CAPTION)
    status, kind, body = call(f"{address}/caption", b"no image")
    assert (status, kind) == (400, "application/problem+json")


def test_the_page_and_its_pictures_come_through(address: str) -> None:
    status, kind, page = call(f"{address}/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert b"<title>" in page
    assert call(f"{address}/samples/{SAMPLE.name}") == (200, "image/png", SAMPLE.read_bytes())


def test_a_request_of_3_megabytes(address: str, refdata: Path) -> None:
    photo = (refdata / "images_photo" / "000000039769.png").read_bytes()
    status, _, body = call(f"{address}/caption", photo + bytes(3_000_000 - len(photo)))
    assert status == 200, body
