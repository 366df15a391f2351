"""The engine, the image and functions that run it, for the tests of the container."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from needs import missing

from .engine import NoEngine, docker, running
from .function import Function

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "tests" / "output"
IMAGE = "florence-lambda-e2e"
BASE = "florence-lambda-base"  # what `make base` makes
SAMPLE = ROOT / "handler" / "page" / "samples" / "shapes-1.png"
CAPTION = "A purple cross, a blue circle, a yellow star and a red circle."  # of the sample


def make(*arguments: str) -> str:
    """What `make` printed on stdout; fails the test, all it said shown, if it fails."""
    command = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"make {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """A Docker engine. Without one the test is skipped, saying so; never where CI=true."""
    OUTPUT.mkdir(exist_ok=True)
    try:
        with running(OUTPUT / "dockerd.log"):
            yield
    except NoEngine as error:
        missing(str(error))


@pytest.fixture(scope="session")
def base(engine: None) -> str:
    """The base image: BASE_IMAGE, else one of Debian's packages."""
    if named := os.environ.get("BASE_IMAGE"):
        return named
    if not docker("image", "ls", "--quiet", f"{BASE}:latest"):
        make("base")
    return BASE


@pytest.fixture(scope="session")
def image(base: str) -> str:
    """The image with the miniature, as `make image` builds it."""
    make("image", f"BASE_IMAGE={base}", f"IMAGE={IMAGE}", "ARTIFACT=models/mini")
    return IMAGE


@pytest.fixture(scope="session")
def emulator() -> Path:
    """Lambda's Runtime Interface Emulator, out of SAM's package."""
    make(".venv-sam/stamp")
    return next((ROOT / ".venv-sam").glob("lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))


@pytest.fixture(scope="module")
def start(image: str, emulator: Path) -> Iterator[Callable[..., Function]]:
    """Starts functions, with the options of `Function`; they end with the module."""
    with ExitStack() as stack:

        def start(**options: Any) -> Function:
            return stack.enter_context(Function(image, emulator, **options))

        yield start


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capture."""

    def tell(text: str) -> None:
        with capsys.disabled():
            print(f"\n    {text}")

    return tell
