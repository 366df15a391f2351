"""Measures an image under the emulator at the memory sizes of the cost table, and writes benchmarks/function.json:

    python -m tests.e2e.measure IMAGE PHOTO

One caption at a time, on as many cores as Lambda gives for the memory; medians, of several starts and of the warm ones
after the last. On a machine that does other work too, the function goes before it (Docker's CPU shares). `make costs`
makes the table of it.
"""

import argparse
import json
import os
import re
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

from handler.florence.engine import MEGABYTES_A_CORE

from . import events
from .function import Function

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "benchmarks" / "function.json"
SIZES = (1769, 3538)  # MB: one core and two
STARTS, WARM = 5, 9  # starts; invocations after the last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", help="a full-size artifact's, as `make image` tags it")
    parser.add_argument("photo", type=Path)
    options = parser.parse_args()
    emulator = next((ROOT / ".venv-sam").glob("lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64"))
    load = round(os.getloadavg()[0], 1)  # of what else the machine does
    sizes = {str(memory): measure(options.image, emulator, options.photo, memory) for memory in SIZES}
    when = {"date": date.today().isoformat(), "machine": machine(), "load": load}
    found = when | {"photo": options.photo.name, "memory": sizes}
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(OUT.read_text())


def measure(image: str, emulator: Path, photo: Path, memory: int) -> dict[str, Any]:
    """One memory size: what a cold start and a warm caption take."""
    event = events.http(photo.read_bytes())
    firsts, inits = [], []
    for start in range(1, STARTS + 1):
        with Function(image, emulator, memory=memory, cores=memory / MEGABYTES_A_CORE, shares=262144) as function:
            model = json.loads(function.invoke(event)["body"])["model"]
            firsts.append(time.monotonic() - function.started)
            inits.append(function.init_seconds())
            if start < STARTS:
                continue
            for _ in range(WARM):
                function.invoke(event)
            log, peak = function.log(), function.peak_megabytes()
    billed = [float(spent) for spent in re.findall(r"\tDuration: ([\d.]+) ms", log)][1:]
    answers = [json.loads(line) for line in re.findall(r"^\{.*\"answered\".*\}$", log, re.MULTILINE)][1:]
    assert len(billed) == len(answers) == WARM, log
    decoder = statistics.median(answer["milliseconds"]["decoder"] / answer["tokens"] for answer in answers)
    before = [spent - answer["milliseconds"]["decoder"] for spent, answer in zip(billed, answers, strict=True)]
    return {
        "model": f"{model['name']} ({model['precision']})",
        "first_answer_seconds": round(statistics.median(firsts), 2),
        "init_seconds": round(statistics.median(inits), 2),
        "milliseconds_before_the_first_token": round(statistics.median(before), 1),
        "milliseconds_a_token": round(decoder, 2),
        "peak_megabytes": round(peak),
    }


def machine() -> str:
    """The processor, as /proc/cpuinfo calls it."""
    text = Path("/proc/cpuinfo").read_text()
    name = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)[0]
    flags = re.findall(r"^flags\s*: (.*)$", text, re.MULTILINE)[0].split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if flag in flags]
    return f"{name} ({', '.join(known)}), {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
