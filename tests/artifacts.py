"""Artifacts for tests, written without the verification."""

from pathlib import Path

from build import package
from build.checkpoint import Checkpoint
from build.precision import Kind, Precision
from handler.florence import artifact


def write(checkpoint: Checkpoint, size: int, out: Path, precision: Kind = "fp32") -> artifact.Manifest:
    """An artifact of this checkpoint for images of `size` pixels."""
    package.write(checkpoint, package.Facts("test", "", size), Precision(precision), out)
    return artifact.read_manifest(out)
