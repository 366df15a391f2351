"""Every program of docs/api.md, run as it stands there against the miniature: Python and, under node, JavaScript."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import serving
from conftest import ROOT
from PIL import Image

from handler.florence.predictor import Predictor

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
    "import requests\n\nanswer": "A purple cross",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Predictor(ROOT / "models" / "mini")) as address:
        yield address


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
        message = "the page's JavaScript needs node (Debian's package `nodejs`)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def test_there_is_a_program_for_each_client() -> None:
    assert [language for language, _ in PROGRAMS].count("javascript") == 1
    assert len(PROGRAMS) == 6
