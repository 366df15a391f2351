"""The real server in a process of its own, over a real socket."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import httpx2
import pytest
from conftest import ROOT
from fakes import NOTICE
from servers import serving

from handler.florence.image import MAX_BYTES


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as (_, _, address):
        yield address


def test_it_says_what_it_serves_and_stops_when_told() -> None:
    with serving("--artifact", "models/mini") as (process, lines, address):
        assert lines[:2] == ["fake (fp32) from models/mini", NOTICE]
        assert re.fullmatch(r"Serving at http://127\.0\.0\.1:\d+ \(Ctrl\+C stops\)", lines[2])
        assert httpx2.get(f"{address}/health").json() == {"status": "ok"}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_the_page_and_its_files(address: str) -> None:
    page = httpx2.get(address)
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    for place in [page.text, httpx2.get(f"{address}/docs").text]:
        files = re.findall(r'(?:src|href)="(page/[^"]+)"', place)
        assert len(files) >= 3
        for file in files:
            assert httpx2.get(f"{address}/{file}").status_code == 200
        assert not re.findall(r"https?://[^\"<]*\.(?:js|css|woff2?)", place)
        assert not re.findall(r"<script(?! src)|<style|\son[a-z]+=|\sstyle=", place)  # nothing inline


def test_samples_are_listed_and_there(address: str) -> None:
    for name in httpx2.get(f"{address}/samples").json():
        assert httpx2.get(f"{address}/samples/{name}").headers["content-type"] == "image/png"


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused_over_a_socket(address: str, announced: bool) -> None:
    body = bytes(MAX_BYTES + 1_000_000)
    content = body if announced else (body[i : i + 100_000] for i in range(0, len(body), 100_000))
    answer = httpx2.post(f"{address}/caption", content=content)
    assert answer.status_code == 413
    assert answer.json()["type"] == "/docs#image-too-large"


def test_a_port_in_use_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "handler", "serve", "--port", str(port)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr == f"error: Port {port} is in use; choose another with --port, or 0 for any free one.\n"


def test_an_address_that_cannot_be_is_a_sentence() -> None:
    command = [sys.executable, "-m", "handler", "serve", "--host", "no.such.host.invalid"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.startswith("error: Cannot listen on port 8080 of no.such.host.invalid: ")
    assert run.stderr.count("\n") == 1


def test_the_miniature_answers_over_http_as_on_the_command_line() -> None:
    sample = ROOT / "handler" / "page" / "samples" / "shapes-1.png"
    command = [sys.executable, "-W", "error", "-m", "handler"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLORENCE_")}
    environment["FLORENCE_ARTIFACT"] = "models/mini"
    run = subprocess.run(
        [*command, "analyze", str(sample), "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = json.loads(run.stdout)
    assert "drawn shapes" in run.stderr
    with serving(program=command, environment=environment) as (_, lines, address):
        assert lines[0] == "florence-2-mini (int8) from models/mini"
        served = httpx2.post(f"{address}/analyze", content=sample.read_bytes()).json()
        ready = httpx2.get(f"{address}/ready").json()
    assert ready["model"] == served["model"] == printed["model"]
    for answer in (served, printed):
        assert min(answer.pop("milliseconds").values()) > 0
    assert printed == {"file": str(sample)} | served
    assert served["caption"]
    assert served["objects"]
