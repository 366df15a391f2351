"""How much the tests that attack the service do, and where their figures go.

`make test` runs their bounded form; `make torture` the long one, whose figures `SECURITY.md` quotes from
`docs/torture.json`.
"""

import json
import os
from pathlib import Path

from conftest import ROOT

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
