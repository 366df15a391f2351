"""SnapStart: what happens before the snapshot is taken and after each restore from it.

Before: boto3 is imported, and connections are closed. (Threads, buffers and pages of the weights are warm: the model
has answered its golden case at import.) After: random numbers are seeded anew. Nothing else here is random or
connected: ids come from the kernel (`uuid4`). Without AWS's `snapshot_restore_py`, which the runtime brings, nothing
happens.
"""

import importlib

from .storage import objects


def register() -> None:
    """Tells the runtime. (It calls these only where SnapStart is on.)"""
    try:
        from snapshot_restore_py import register_after_restore, register_before_snapshot
    except ImportError:
        return
    register_before_snapshot(before)
    register_after_restore(after)


def before() -> None:
    """Imports what a first event of storage would wait for, and lets go of what must not be copied."""
    importlib.import_module("boto3")  # 0.35 s of the first storage event
    objects.forget()


def after() -> None:
    """In each copy."""
    objects.forget()
    objects.reseed()
