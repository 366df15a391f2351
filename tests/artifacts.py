"""Artifacts for tests, written without the verification."""

from pathlib import Path

from build import package
from build.checkpoint import Checkpoint
from build.graphs.writer import Precision
from handler.florence import artifact


def write(checkpoint: Checkpoint, size: int, out: Path, precision: Precision = "fp32") -> artifact.Manifest:
    """An artifact of this checkpoint for images of `size` pixels."""
    return package.write(checkpoint, name="test", notice="", size=size, precision=precision, adapter=None, out=out)
