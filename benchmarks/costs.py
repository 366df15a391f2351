"""What pictures cost on AWS: measured times (function.json) times prices. `make costs` writes the table into
docs/deploy.md:

    python -m benchmarks.costs [--check]

A picture is one caption of 20 tokens, as COCO's are. Left out: free tiers, traffic out of AWS, storage of the pictures.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "benchmarks" / "function.json"
PAGE = ROOT / "docs" / "deploy.md"
BEGIN, END = "<!-- costs: make costs -->\n", "<!-- end of costs -->"

# Prices of us-east-1 in US dollars, without free tiers. Lambda's, SnapStart's and CloudWatch's were compared with
# public pages of 2024 to 2026, those of the HTTP API, SQS and S3 with none: AWS's own list was read for none.
LAMBDA_GB_SECOND, LAMBDA_REQUEST = 0.0000166667, 0.20e-6  # x86, the first tier
SNAPSHOT_GB_SECOND, SNAPSHOT_RESTORED_GB = 0.0000015046, 0.0001397998
HTTP_API_REQUEST = 1.00e-6  # of up to 512 KB
SQS_REQUEST = 0.40e-6
S3_PUT, S3_GET = 5.0e-6, 0.4e-6
LOG_GB = 0.50
ALARM, METRIC, DASHBOARD = 0.10, 0.30, 3.00  # a month

PICTURES = (1_000, 100_000, 10_000_000)  # a month
TOKENS = 20
MONTH = 730 * 3600  # seconds
BATCH = 10  # pictures of the queue in one invocation
LOG_BYTES = 2_000  # of a picture: the function's line, its metrics, Lambda's report, the API's line
PUTS = 4  # a picture; its result, the copy "latest", and the answer for pictures with the same bytes
GETS = 3  # the picture; the looks for its result and for an answer to the same bytes
QUEUE_REQUESTS = 1 + 2 / BATCH  # S3's message; received and deleted in batches
ALARMS, METRICS = 6, 12  # of the template; of handler/telemetry.py


def seconds(measured: dict[str, float]) -> float:
    """Of a warm caption."""
    return (measured["milliseconds_before_the_first_token"] + TOKENS * measured["milliseconds_a_token"]) / 1000


def over_http(spent: float, memory: int) -> float:
    """Dollars for a picture posted to the endpoint."""
    return HTTP_API_REQUEST + LAMBDA_REQUEST + _work(spent, memory)


def through_the_bucket(spent: float, memory: int) -> float:
    """Dollars for a picture put into the bucket."""
    moved = PUTS * S3_PUT + GETS * S3_GET + QUEUE_REQUESTS * SQS_REQUEST
    return moved + LAMBDA_REQUEST / BATCH + _work(spent, memory)


def snapshot(memory: int) -> float:
    """Dollars a month to keep one version's snapshot."""
    return memory / 1024 * SNAPSHOT_GB_SECOND * MONTH


def table() -> str:
    """The part of the page, with its measurements."""
    measured = json.loads(MEASURED.read_text())
    lines = [
        "| pictures a month | memory | a caption takes | over HTTPS | through the bucket |",
        "|---|---|---|---|---|",
    ]
    for count in PICTURES:
        for size, found in measured["memory"].items():
            spent, memory = seconds(found), int(size)
            costs = [count * price(spent, memory) for price in (over_http, through_the_bucket)]
            lines.append(f"| {count:,} | {memory:,} MB | {spent:.2f} s | " + " | ".join(map(_dollars, costs)) + " |")
    watching = ALARMS * ALARM + METRICS * METRIC + DASHBOARD
    kept = ", ".join(f"{_dollars(snapshot(int(size)))} at {int(size):,} MB" for size in measured["memory"])
    restored = max(int(size) for size in measured["memory"]) / 1024 * SNAPSHOT_RESTORED_GB * 1000
    notes = [
        "Prices are those assumed for us-east-1 in `benchmarks/costs.py`, without free tiers, and were not read from "
        "AWS's own list: check them there, above all those of the HTTP API, SQS and S3, before you count on a figure. "
        f"One caption of {TOKENS} tokens a picture, measured "
        f"on {measured['date']} under Lambda's emulator with as many cores as Lambda gives for the memory, on "
        f"{measured['machine']} at a load average of {measured['load']}, with an int8 artifact of Florence-2-base's "
        "size. Lambda's processors differ: measure there before you count on it.",
        f"To this come, whatever is sent: SnapStart's snapshot, {kept}, **for each published version** until it is "
        f"deleted, and {_dollars(restored)} for a thousand restores; {ALARMS} alarms, {METRICS} metrics and a "
        f"dashboard, {_dollars(watching)}, which an account's free tier mostly covers.",
    ]
    return "\n".join(lines) + "\n\n" + "\n\n".join(map(_wrapped, notes)) + "\n"


def _work(spent: float, memory: int) -> float:
    return spent * memory / 1024 * LAMBDA_GB_SECOND + LOG_BYTES / 1e9 * LOG_GB


def _dollars(amount: float) -> str:
    return f"${amount:,.2f}" if amount < 100 else f"${amount:,.0f}"


def _wrapped(text: str, width: int = 120) -> str:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page says otherwise")
    options = parser.parse_args(arguments)
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    renewed = f"{before}{BEGIN}\n{table()}\n{END}{after}"
    if options.check:
        return int(renewed != page)
    PAGE.write_text(renewed)
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
