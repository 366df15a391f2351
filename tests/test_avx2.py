"""The int8 miniature on other kinds of CPU, AVX2 alone without VNNI, as Lambda may give (emulated by qemu's user
mode), and with other numbers of threads.

All that comes before the decoder is the same to the last bit. The decoder's own fp32 sums are added in as many lanes as
the CPU has: over 100 drawn pictures, 2 of 936 locations came out elsewhere, by at most 5 bins of 1,000; words never.
"""

import shutil
import sys

import numpy as np
import pytest
from elsewhere import PICTURES, Run, moved, run
from needs import missing

NEAR = 5  # bins


@pytest.mark.slow
def test_avx2_alone_gives_the_same_answers(drawn: list[str], here: Run) -> None:
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        missing("qemu-x86_64 is not there: install Debian's qemu-user")
    there = run(drawn, python=(emulator, "-cpu", "Haswell", sys.executable))
    for one, other in zip(here.memories, there.memories, strict=True):
        np.testing.assert_array_equal(one, other)
    distances = moved(here, there)
    assert np.concatenate(distances).max() <= NEAR
    assert sum(map(np.any, distances)) <= PICTURES / 10


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(drawn: list[str], here: Run, threads: int) -> None:
    there = run(drawn, threads)
    assert there.answers == here.answers
    for one, other in zip(here.memories, there.memories, strict=True):
        np.testing.assert_array_equal(one, other)
