"""The int8 miniature on arm64, which Lambda has as well (Graviton, emulated by qemu's user mode), from locked wheels.

The int8 products give x86-64's sums, but scales, layer norms and convolutions differ in the last bit of fp32, which
turns a rounding to int8 about here and there. Over 100 drawn pictures what goes into the decoder was 0.6 % away, 1.5 %
at most; a quarter of the locations came out elsewhere, 6 % by more than 5 bins of 1,000, one by 37; words never. That
is no further from fp32 than x86-64 is (docs/adr/0005).
"""

import shutil

import numpy as np
import pytest
from conftest import ROOT
from elsewhere import Run, moved, run
from needs import missing

from handler.florence import golden

ARM64 = ROOT / ".venv-arm64"
AWAY = 0.02  # of an array's length


@pytest.mark.slow
@pytest.mark.parametrize(
    "cpu",
    [
        "neoverse-n1",  # Graviton2
        "max,sme=off",  # SVE and i8mm: the same bits as neoverse-v1, Graviton3, which qemu 7.2 lacks
    ],
)
def test_arm64_gives_the_same_words_and_near_locations(drawn: list[str], here: Run, cpu: str) -> None:
    emulator = shutil.which("qemu-aarch64")
    if emulator is None:
        missing("qemu-aarch64 is not there: install Debian's qemu-user")
    if not (ARM64 / "stamp").exists():
        missing("Python for arm64 is not there: install Debian's mmdebstrap, and make .venv-arm64/stamp")
    root = ARM64 / "root"
    python = (emulator, "-L", str(root), "-cpu", cpu, str(root / "usr" / "bin" / "python3.11"))
    there = run(drawn, python=python, packages=ARM64 / "packages")
    for one, other in zip(here.memories, there.memories, strict=True):
        assert np.linalg.norm(one - other) <= AWAY * np.linalg.norm(one)
    distances = np.concatenate(moved(here, there))
    assert distances.max() <= golden.FAR
    assert np.mean(distances > golden.NEAR) <= 0.1
