"""What the OpenAPI document shows: requests, and the miniature's answers to them about its first sample.

A test holds the answers to the miniature's own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ALL: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("examples.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Example:
    """Options of one route, and its answer; None where the miniature, which knows drawn shapes, has none."""

    asked: dict[str, Any]
    answer: Any = None


CAPTION, DETECT, ANALYZE, CLASSIFY, GROUND, SEGMENT, READ, TASK = (
    Example(**_ALL[path])
    for path in ("/caption", "/detect", "/analyze", "/classify", "/ground", "/segment", "/read", "/tasks/{task}")
)
RESULT: dict[str, Any] = _ALL["/results/{id}"]
