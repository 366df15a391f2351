"""The benchmark: prepares what is missing, measures every contender in turn, writes the report.

    python -m benchmarks [--rounds N] [--only NAME ...] [--out DIR]

The last line that it prints is one JSON document. `docs/performance.md` says what is measured and how.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from . import measure, prepare, report
from .contenders import BY_NAME, CONTENDERS, RECIPE, SELF

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "runs" / "bench"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Every way to run this model on a CPU.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contender (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=BY_NAME, metavar="NAME", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--out", type=Path, default=ROOT, help="where README.md and docs/ are (default: the checkout)")
    options = parser.parse_args(argv)
    chosen = [one for one in CONTENDERS if not options.only or one.name in {*options.only, RECIPE, SELF}]
    prepare.all_files(chosen, FILES)
    results = measure.run(chosen, FILES, options.rounds)
    report.write(results, options.out)
    print(report.table(results))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
