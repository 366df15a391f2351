"""Every contender's files, made once: what is whole is kept, what was interrupted is made again, and what is older than
the code that makes the checkpoints.

Ours are made anew each time, for they change with the code.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from . import checkpoint
from .contender import picture_file
from .contenders import BY_NAME, CHECKPOINT, SELF, Contender
from .workload import FULL_SIZE, SIZE


def all_files(contenders: Sequence[Contender], root: Path) -> None:
    """Fills `root`. The slowest, NNCF's calibration, takes some four minutes on two cores."""
    root.mkdir(parents=True, exist_ok=True)
    picture_file(root)
    with_files = [one for one in [*contenders, BY_NAME[SELF].at(FULL_SIZE)] if one.own_files]
    wanted = [(CHECKPOINT, SIZE), *((one.name, one.size) for one in with_files)]
    folders = [CHECKPOINT, *(one.folder for one in with_files)]
    missing = [pair for pair in zip(folders, wanted, strict=True) if pair[1][0] == SELF or not _is_made(root / pair[0])]
    for folder, (name, size) in (bar := tqdm(missing, desc="preparing", disable=None)):
        bar.set_postfix_str(folder)
        partial = root / f".{folder}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _in_process(name, size, root, partial)
        shutil.rmtree(root / folder, ignore_errors=True)
        partial.rename(root / folder)


def _is_made(folder: Path) -> bool:
    return folder.exists() and folder.stat().st_mtime >= Path(checkpoint.__file__).stat().st_mtime


def _in_process(name: str, size: int, root: Path, out: Path) -> None:
    """So that the memory of one is free for the next."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.prepare", name, str(size), str(root), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} could not be prepared:\n{done.stderr}")


def _write(name: str, size: int, root: Path, out: Path) -> None:
    if name == CHECKPOINT:
        checkpoint.write_florence(out)
    else:
        contender = BY_NAME[name].at(size)
        contender.module().prepare(contender, root / CHECKPOINT, out)


if __name__ == "__main__":
    _write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
