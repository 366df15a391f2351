"""One contender in a process of its own: `python -m benchmarks.contender NAME SIZE ROOT THREADS TIMINGS`.

Prints `ready` after the first answer, whose time the parent takes from the process's start, and at the end one line of
JSON: seconds of each timing, peak and steady memory in bytes. TIMINGS is a JSON list of `Timing`.
"""

import gc
import json
import sys
import time
from pathlib import Path

from .contenders import BY_NAME, CHECKPOINT
from .workload import CAPTION, Timing, picture

READY = "ready"


def main(name: str, size: str, folder: str, threads: str, timings: str) -> None:
    """Loads, answers once, then times."""
    contender, root = BY_NAME[name].at(int(size)), Path(folder)
    image = picture_file(root).read_bytes()
    module = contender.module()
    model = module.load(contender, root / contender.folder, root / CHECKPOINT, int(threads))
    model.answer([image], [CAPTION])
    print(READY, flush=True)
    seconds: dict[str, list[float]] = {}
    for timing in (Timing.from_json(one) for one in json.loads(timings)):
        expected = [work.tokens for work in timing.works] * timing.images
        for _ in range(timing.repeats):
            begun = time.perf_counter()
            counts = model.answer([image] * timing.images, timing.works)
            seconds.setdefault(timing.name, []).append(time.perf_counter() - begun)
            if sorted(counts) != sorted(expected):
                raise RuntimeError(f"{name} wrote {counts} tokens instead of {expected} for {timing.name}")
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak, steady = (int(status[key].split()[0]) * 1024 for key in ("VmHWM", "VmRSS"))
    print(json.dumps({"seconds": seconds, "peak_memory": peak, "steady_memory": steady}), flush=True)


def picture_file(root: Path) -> Path:
    """Where the picture lies: drawing it is no part of a start."""
    path = root / "picture.jpg"
    if not path.exists():
        path.write_bytes(picture())
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
