"""SnapStart: what happens before the snapshot is taken and after each restore from it.

Before: one inference, so that threads, buffers and pages of the weights are in the snapshot; connections are closed.
After: random numbers are seeded anew. Nothing else here is random or connected: ids come from the kernel (`uuid4`).
Without AWS's `snapshot_restore_py`, which the runtime brings, nothing happens.
"""

import importlib

from . import telemetry
from .florence import tasks
from .florence.predictor import Ask, Predictor
from .pages import SAMPLES
from .storage import objects


def register(predictor: Predictor) -> None:
    """Tells the runtime. (It calls these only where SnapStart is on.)"""
    try:
        from snapshot_restore_py import register_after_restore, register_before_snapshot
    except ImportError:
        return
    register_before_snapshot(before, predictor)
    register_after_restore(after)


def before(predictor: Predictor) -> None:
    """Warms up what a first request would wait for, and lets go of what must not be copied."""
    sample = min(SAMPLES.glob("*.png")).read_bytes()
    predictor.predict(sample, [Ask(tasks.find("caption")), Ask(tasks.find("detect"))])
    importlib.import_module("boto3")  # 0.35 s of the first storage event
    objects.forget()
    telemetry.forget()  # the warm-up


def after() -> None:
    """In each copy."""
    objects.forget()
    objects.reseed()
