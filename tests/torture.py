"""How much the tests that attack the service do, and where their figures go.

`make test` runs their bounded form; `make torture` the long one, which keeps its figures in `docs/torture.json` and
then has them written into `SECURITY.md`:

    python tests/torture.py
"""

import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONG = os.environ.get("TORTURE") == "long"
FIGURES = ROOT / "docs" / "torture.json"


def amount(bounded: int, long: int) -> int:
    """How many."""
    return long if LONG else bounded


def record(subject: str, **figures: float) -> None:
    """Keeps what the long form measured."""
    print(f"{subject}: {figures}")
    if LONG:
        kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
        kept[subject] = {name: round(value, 1) for name, value in figures.items()}
        FIGURES.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def resident(pid: int) -> int:
    """The memory that a process holds, in bytes (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


# What each attack's figures are called, in the order of the table.
LABELS = {
    "images": "broken pictures to a server with the miniature: {sent:,.0f}, of which {answered:,.0f} could still be "
    "answered; slowest answer {slowest_ms:,.0f} ms; its memory grew by {growth_mb:.1f} MB",
    "requests": "requests derived from the OpenAPI document: {sent:,.0f} to {operations:.0f} operations, all of the "
    "tool's checks on each",
    "connections": "clients that left in the middle of a request: {left:,.0f}",
    "load": "requests of eight clients at once, half of them bad: {requests:,.0f}, each answered; median "
    "{p50_ms:,.0f} ms, 99 % within {p99_ms:,.0f} ms; memory grew by {growth_mb:.1f} MB",
    "overload": "requests at four times the rate it can answer: {requests:,.0f}; {answered:,.0f} answered (99 % within "
    "{p99_ms:,.0f} ms), {shed:,.0f} refused with 503 (99 % within {shed_p99_ms:,.0f} ms)",
    "events": "stored objects while a third of all calls to S3 broke: {objects:,.0f}, in {calls:,.0f} calls; "
    "{answered:,.0f} answered, {refused:,.0f} refused, {gone:,.0f} gone, {dead:,.0f} dead letters with their "
    "reasons, none lost",
    "states": "sequences of what may happen to buckets, queue and function: {sequences:,.0f}, of {invocations:,.0f} "
    "invocations about {messages:,.0f} messages, {dead:,.0f} of them dead letters",
}


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures as SECURITY.md has them."""
    return "".join(f"- {LABELS[name].format(**figures[name])}\n" for name in LABELS if name in figures)


def main() -> None:
    """Writes the figures into SECURITY.md, where the old ones are."""
    path, told = ROOT / "SECURITY.md", table(json.loads(FIGURES.read_text()))
    path.write_text(re.sub(r"(?<=:\n\n)(- .*\n)+(?=\n## Where)", lambda _: told, path.read_text()), encoding="utf-8")


if __name__ == "__main__":
    main()
