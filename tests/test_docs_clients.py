"""Every program of docs/api.md, run as it stands there against the miniature: Python and, under node, JavaScript."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aws import REGION, RESULTS, UPLOADS, Aws, account
from browser import running
from conftest import ROOT
from needs import missing
from PIL import Image

from handler.api import create_app
from handler.florence.predictor import Predictor
from handler.settings import Storage
from handler.storage import objects
from handler.storage.delivery import deliver

ADDRESS = "http://127.0.0.1:8080"  # on the page
PAGE = (ROOT / "docs" / "api.md").read_text()
PROGRAMS = re.findall(r"^```(python|javascript)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# What each prints of the photograph below, in their order.
EXPECTED = {
    "node:fs": "A purple cross",
    "InferenceClient": "A purple cross",
    "boto3": "Cross",
    "COCO()": "'category_name': 'cross'",
    "supervision": "cross",
    "/uploads": "A purple cross",
    "import requests\n\nanswer": "A purple cross",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of the miniature, with buckets."""
    predictor, storage = Predictor(ROOT / "models" / "mini"), Storage(results_bucket=RESULTS, uploads_bucket=UPLOADS)
    with account() as aws, pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        patch.setenv("AWS_ENDPOINT_URL", aws.address)
        objects.forget()
        with running(create_app(predictor, storage=storage)) as address, polling(aws, predictor, storage):
            yield address
    objects.forget()


@contextmanager
def polling(aws: Aws, predictor: Predictor, storage: Storage) -> Iterator[None]:
    """What the queue receives is worked on, as Lambda's poller has it done."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.wait(0.1):
            if records := aws.received():
                deliver({"Records": records}, predictor, storage, 60_000)

    poller = threading.Thread(target=poll)
    poller.start()
    try:
        yield
    finally:
        ended.set()
        poller.join(30)


@pytest.mark.parametrize(("language", "program"), PROGRAMS, ids=[program[:30] for _, program in PROGRAMS])
def test_a_program_of_the_page(language: str, program: str, address: str, tmp_path: Path) -> None:
    sample = ROOT / "handler" / "page" / "samples" / "shapes-1.png"
    Image.open(sample).convert("RGB").save(tmp_path / "photo.jpg", quality=95)
    file = tmp_path / ("program.py" if language == "python" else "program.mjs")
    file.write_text(program.replace(ADDRESS, address))
    command = [sys.executable] if language == "python" else [node()]
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    run = subprocess.run(
        [*command, str(file)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    (expected,) = (text for mark, text in EXPECTED.items() if mark in program)
    assert expected in run.stdout


def node() -> str:
    found = shutil.which("node")
    if not found:
        missing("the page's JavaScript needs node (Debian's package `nodejs`)")
    return found


def test_there_is_a_program_for_each_client() -> None:
    assert [language for language, _ in PROGRAMS].count("javascript") == 1
    assert len(PROGRAMS) == 7
