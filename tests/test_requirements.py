"""The runtime's packages: nothing of the build or the training among them, and no more than `make run` may take."""

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
from conftest import ROOT
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
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


@pytest.mark.parametrize("lock", ["run.txt", "lambda.txt", "sam.txt"])
def test_what_ships_is_pinned_by_its_hashes(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) > 20
    for line in lines:
        assert re.fullmatch(r"[a-z0-9.-]+(\[[a-z,]+\])?==\S+( ; .+?)?( +--hash=sha256:[0-9a-f]{64})+ *", line), line


def test_the_bill_of_materials_names_what_is_in_the_image(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    command = ["make", "--silent", "--old-file=.venv/dev.stamp", "sbom", f"SBOM={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(out.read_text()) is None
    bill = json.loads(out.read_text())
    assert bill["metadata"]["component"]["name"] == "florence-lambda"
    listed = {(each["name"], each["version"]) for each in bill["components"]}
    assert listed >= {(one.name, str(one.specifier).removeprefix("==")) for one in runtime("lambda.txt")}
    for each in bill["components"]:
        assert each["purl"].startswith("pkg:pypi/")
        (source,) = each["externalReferences"]
        assert source["hashes"]


def test_the_audit_asks_about_every_lock_and_passes_over_nothing() -> None:
    """It needs the public databases: here only what it would ask."""
    done = subprocess.run(["make", "--dry-run", "audit"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "for lock in run lambda sam" in done.stdout
    assert "--strict" in done.stdout
