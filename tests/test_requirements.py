"""The runtime's packages: nothing of the build or the training among them, and no more than `make run` may take."""

from importlib import metadata

from conftest import ROOT
from packaging.requirements import Requirement

LIMIT = 200_000_000  # bytes of the runtime's environment
# What `python -m venv` brings beside them, bytecode after the first answers included, measured: 17 MB with Python 3.11.
BESIDE = 17_000_000


def runtime(lock: str = "run.txt") -> list[Requirement]:
    """The lock's packages that this platform takes."""
    lines = (ROOT / "requirements" / lock).read_text().splitlines()
    named = [Requirement(line.removesuffix("\\")) for line in lines if line[:1].isalnum()]
    return [one for one in named if one.marker is None or one.marker.evaluate()]


def test_no_training_framework_is_installed_to_run() -> None:
    names = {one.name for one in runtime()}
    assert {"onnxruntime", "fastapi", "tokenizers"} <= names
    assert not names & {"torch", "transformers", "peft", "timm", "onnx", "accelerate"}


def test_the_runtime_stays_small() -> None:
    """By the sizes that the packages' own RECORD files state, without bytecode."""
    total = 0
    for one in runtime():
        files = metadata.files(one.name)
        assert files, one.name
        total += sum(file.size or 0 for file in files if file.suffix != ".pyc")
    assert 100_000_000 < total < LIMIT - BESIDE, f"{total:,} bytes"


def test_the_image_has_the_runtime_and_what_lambda_needs() -> None:
    image, run = ({str(one) for one in runtime(lock)} for lock in ("lambda.txt", "run.txt"))
    assert image > run
    further = {Requirement(one).name for one in image - run}
    assert {"awslambdaric", "aws-lambda-powertools", "boto3", "snapshot-restore-py"} <= further
    assert not further & {"moto", "pytest", "torch"}
