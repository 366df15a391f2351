"""What is in the image and what it needs."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import events
from .conftest import CAPTION, IMAGE, ROOT, SAMPLE, make
from .engine import docker
from .function import Function

LARGEST = 600_000_000  # bytes, with a full-size artifact, uncompressed
FULL_SIZE = 250_000_000  # bytes of a full-size artifact at most, to which test_full_size holds it
MINIATURE = sum(path.stat().st_size for path in (ROOT / "models" / "mini").iterdir())
INIT = 5  # seconds at most, of Lambda's ten


def inspect(image: str) -> dict[str, Any]:
    return json.loads(docker("image", "inspect", image))[0]


def inside(image: str, command: str) -> str:
    return docker("run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh", image, "-c", command)


def layers(image: str) -> list[tuple[str, int]]:
    """What made each layer and its bytes, from the base up."""
    history = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", image)
    lines = [line.partition("\t") for line in history.splitlines()[::-1]]
    return [(made, int(size)) for size, _, made in lines]


def test_it_runs_as_another_user_than_root(image: str) -> None:
    assert inspect(image)["Config"]["User"] == "65532:65532"


def test_lambda_may_take_snapshots_of_it(image: str) -> None:
    assert inspect(image)["Config"]["Labels"]["com.amazonaws.lambda.feature.snapstart"] == "Allow"


def test_it_holds_what_runs_and_nothing_else(image: str) -> None:
    assert inside(image, "cd /var/task && ls . artifacts/current").split() == [
        *(".:", "artifacts", "handler", "artifacts/current:"),
        *sorted(path.name for path in (ROOT / "models" / "mini").iterdir()),
    ]
    assert inside(image, "find / -xdev -name 'torch*' -o -xdev -name transformers -o -xdev -name .venv") == ""
    packages = inside(image, "ls /opt/packages").split()
    assert {"onnxruntime", "awslambdaric", "boto3"} <= set(packages)
    assert not {"torch", "transformers", "peft", "onnx", "pip", "pytest", "moto"} & set(packages)


# Imports what a start imports, then a module without bytecode; tells what was compiled. (anyio parses two of its own
# files whenever it is imported: that is no compiling for want of bytecode.)
COMPILED = """
import sys
from importlib.machinery import SourceFileLoader
compiled, compile_one = [], SourceFileLoader.source_to_code
def noted(self, data, path, **options):
    compiled.append(path)
    return compile_one(self, data, path, **options)
SourceFileLoader.source_to_code = noted
import awslambdaric.bootstrap, handler.entrypoint
loaded = len(sys.modules)
open("/tmp/fresh.py", "w").close()
sys.path.append("/tmp")
import fresh
print(loaded, *compiled)
"""


def test_nothing_is_compiled_at_the_start(image: str) -> None:
    """The file system cannot be written: what has no bytecode would be compiled at every cold start."""
    loaded, *compiled = inside(image, f"cd /var/task && python3 -c '{COMPILED}'").split()
    assert int(loaded) > 500
    assert compiled == ["/tmp/fresh.py"]


def test_weights_lie_below_the_code_in_a_layer_of_their_own(image: str) -> None:
    artifact, packages, code = [size for made, size in layers(image) if "COPY" in made]
    assert artifact == pytest.approx(MINIATURE, rel=0.01)
    assert packages > 100e6
    assert code < 2e6


def test_a_change_of_the_code_changes_one_layer(image: str, base: str, tmp_path: Path) -> None:
    for name in ("Dockerfile.lambda", ".dockerignore", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("build", "handler", "models", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "handler" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    make("--directory", str(tmp_path), "image", f"BASE_IMAGE={base}", f"IMAGE={IMAGE}-changed", "ARTIFACT=models/mini")
    before, after = (inspect(name)["RootFS"]["Layers"] for name in (image, f"{IMAGE}-changed"))
    docker("rmi", f"{IMAGE}-changed")
    assert len(before) == len(after)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True] * (len(before) - 1) + [False]


def test_its_size(image: str, tell: Callable[[str], None]) -> None:
    size = inspect(image)["Size"]
    full = size - MINIATURE + FULL_SIZE
    tell(f"image {size / 1e6:.0f} MB with the miniature, {full / 1e6:.0f} MB with a full-size artifact")
    assert full <= LARGEST


def test_the_first_answer(start: Callable[..., Function], tell: Callable[[str], None]) -> None:
    """Without network, on a file system that cannot be written, with 1,769 MB and one core: Lambda's one vCPU."""
    one = start(memory=1769, cores=1)
    answer = events.caption_of(one.invoke(events.http(SAMPLE.read_bytes())))
    seconds = time.monotonic() - one.started
    assert answer == CAPTION
    assert one.init_seconds() < INIT
    tell(
        f"one core: first answer {seconds:.1f} s after `docker run`, init {one.init_seconds():.2f} s, "
        f"peak {one.peak_megabytes():.0f} MB"
    )
