"""Contenders' processes one after the other, in turn: A B C, A B C, ... What was found, as one JSON document.

A start is timed from the creation of the process to its first answer. Before the starts of the first round every file
of the contender and of its packages is dropped from the page cache: what an execution environment finds that has never
read them. The later rounds start with the files in memory.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from tqdm import tqdm

from . import bound
from .contender import READY
from .contenders import RECIPE, SELF, Contender
from .workload import CAPTION, DETECT, FULL_SIZE, THREADS, Timing, Work

Json = dict[str, Any]
PICTURES, LENGTHS = (1, 2, 4, 8), (20, 60, 120, 240)
REPEATS = 3  # of each answer in a process


def run(contenders: Sequence[Contender], root: Path, rounds: int) -> Json:
    """All measurements. `rounds` is 2 at least: the first reads from the disk."""
    runs: dict[str, list[Json]] = {one.name: [] for one in contenders}
    rates = []
    for turn in tqdm(range(rounds), desc="measuring", unit="round", disable=None):
        rates.append(_probe())
        for one in tqdm(contenders, leave=False, unit="contender", disable=None):
            if turn < (one.rounds or rounds):
                if turn == 0:
                    _drop_from_cache([root / one.folder, *_installed(one)])
                runs[one.name].append(_process(one, root, _answers(one)))
    best = bound.Rates(*(max(getattr(rate, kind) for rate in rates) for kind in ("int8", "fp32", "memory")))
    results: Json = {
        "machine": _machine(),
        "contenders": {one.name: _summary(one, runs[one.name], root) for one in contenders},
        "bound": {
            "rates": asdict(best),
            "needs": {work.task: asdict(bound.needs(work)) for work in (CAPTION, DETECT)},
            "seconds": {work.task: bound.needs(work).seconds(best) for work in (CAPTION, DETECT)},
        },
        "growth": _growth(contenders, root),
    }
    results["ratios"] = _ratios(runs, results)
    return results


def _answers(contender: Contender) -> list[Timing]:
    """What every turn times."""
    works: list[tuple[Work, ...]] = [(CAPTION,)] if contender.captions_only else [(CAPTION,), (DETECT,)]
    if contender.name == SELF:
        works.append((CAPTION, DETECT))
    return [Timing("+".join(work.task for work in one), one, repeats=REPEATS) for one in works]


def _growth(contenders: Sequence[Contender], root: Path) -> Json:
    """Seconds by number of pictures (all contenders), and by tokens, image size and threads (the recipe and ours)."""
    found: Json = {"pictures": {}, "tokens": {}, "size": {}, "threads": {}}
    for one in tqdm(contenders, desc="growth", unit="contender", disable=None):
        if one.rounds:
            continue  # the slow ones
        pictures = [Timing(f"pictures {count}", (CAPTION,), images=count) for count in PICTURES]
        lengths = [Timing(f"tokens {count}", (Work("caption", count),), repeats=2) for count in LENGTHS]
        compared = one.name in (RECIPE, SELF)
        seconds = _process(one, root, [*pictures, *lengths] if compared else pictures)["seconds"]
        found["pictures"][one.name] = {count: min(seconds[f"pictures {count}"]) for count in PICTURES}
        if compared:
            caption = [Timing("caption", (CAPTION,), repeats=REPEATS)]
            large, single = _process(one.at(FULL_SIZE), root, caption), _process(one, root, caption, threads=1)
            found["tokens"][one.name] = {count: min(seconds[f"tokens {count}"]) for count in LENGTHS}
            usual = min(seconds["tokens 20"])
            found["size"][one.name] = {one.size: usual, FULL_SIZE: min(large["seconds"]["caption"])}
            found["threads"][one.name] = {1: min(single["seconds"]["caption"]), THREADS: usual}
    return found


def _process(contender: Contender, root: Path, timings: Iterable[Timing], threads: int = THREADS) -> Json:
    """One run of `benchmarks.contender`: what it printed, and the seconds to its first answer."""
    plan = json.dumps([asdict(timing) for timing in timings])
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.contender", contender.name, str(contender.size)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    log = root / f"{contender.folder}.log"
    begun = time.perf_counter()
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command, str(root), str(threads), plan], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        ready = any(line.strip() == READY for line in process.stdout)  # ours writes its log before
        start = time.perf_counter() - begun
        lines = process.stdout.read().splitlines()
    if process.returncode or not ready:
        raise SystemExit(f"the process of {contender.name} failed; {log} says why")
    found: Json = json.loads(lines[-1])
    return {"start": start, **found}


def _probe() -> bound.Rates:
    command = [sys.executable, "-m", "benchmarks.bound", str(THREADS)]
    return bound.Rates(**json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


def _summary(contender: Contender, runs: list[Json], root: Path) -> Json:
    found: Json = {"label": contender.label, "rounds": len(runs), "start_from_disk": runs[0]["start"]}
    found["start"] = _spread([one["start"] for one in runs[1:]])
    for name in runs[0]["seconds"]:
        found[name] = _spread([second for one in runs for second in one["seconds"][name]])
    for kind in ("peak_memory", "steady_memory"):
        found[kind] = statistics.median(one[kind] for one in runs)
    found["files"] = sum(_size(path) for path in (root / contender.folder).rglob("*") if path.suffix != ".log")
    found["packages"] = sum(_size(path) for path in _installed(contender))
    return found


def _spread(values: Sequence[float]) -> Json:
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "count": len(values)}


def _ratios(runs: dict[str, list[Json]], results: Json) -> Json:
    """Against the recipe, from medians of ratios within a turn. Speeds: times as fast; the rest: shares."""
    ours, recipe = results["contenders"][SELF], results["contenders"][RECIPE]
    pairs = list(zip(runs[RECIPE], runs[SELF], strict=True))

    def speed(name: str) -> float:
        return statistics.median(_middle(theirs, name) / _middle(mine, name) for theirs, mine in pairs)

    both = [_middle(one, "caption+detect") / (_middle(one, "caption") + _middle(one, "detect")) for one in runs[SELF]]
    ratios = {
        "caption_warm": speed("caption"),
        "detect_warm": speed("detect"),
        "together_over_apart": statistics.median(both),
        "cold_start": statistics.median(theirs["start"] / mine["start"] for theirs, mine in pairs[1:]),
        "peak_memory": ours["peak_memory"] / recipe["peak_memory"],
        "disk": (ours["files"] + ours["packages"]) / (recipe["files"] + recipe["packages"]),
        "bound_multiple": ours["caption"]["median"] / results["bound"]["seconds"]["caption"],
    }
    return {name: round(value, 3) for name, value in ratios.items()}


def _middle(run: Json, name: str) -> float:
    return float(statistics.median(run["seconds"][name]))


def _installed(contender: Contender) -> list[Path]:
    """Every file of the packages that serving it needs."""
    waiting, seen, files = list(contender.packages), set[str](), []
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # asked for on another platform, or CUDA
        files += [Path(str(file.locate())) for file in found.files or []]
        needs = [Requirement(line) for line in found.requires or []]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return [file for file in files if file.is_file()]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() and path.suffix != ".pyc" else 0


def _drop_from_cache(paths: Iterable[Path]) -> None:
    os.sync()  # what is not written yet cannot be dropped
    for path in (file for one in paths for file in ([one] if one.is_file() else one.rglob("*")) if file.is_file()):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _machine() -> Json:
    facts = Path("/proc/cpuinfo").read_text()
    named = [line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")]
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if f" {flag}" in facts]
    names = ("onnxruntime", "torch", "transformers", "openvino", "nncf", "numpy", "fastapi")
    return {
        "cpu": named[0] if named else platform.machine(),
        "flags": flags,
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load": os.getloadavg()[0],
        "threads": THREADS,
        "system": platform.platform(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in names},
    }
