"""The errors of the build.

::

    BuildError
    ├── WeightsError       a file of tensors is missing, damaged or holds something else
    ├── CheckpointError    the base cannot be used: a file, a setting or a tensor is missing, damaged or unknown
    └── AdapterError       the adapter cannot be used, or does not belong to this base

Every message is one sentence that names the file or the tensors and, where there is one, the mend.
"""

from collections.abc import Collection

_SHOWN = 5  # a renamed prefix makes every tensor of a checkpoint wrong: the first few tell the story


class BuildError(Exception):
    """Base of every error that the build raises on purpose."""


class WeightsError(BuildError):
    """A file of tensors cannot be read."""


class CheckpointError(BuildError):
    """The base checkpoint cannot be used."""


class AdapterError(BuildError):
    """The adapter cannot be used, or does not belong to this base."""


def some(names: Collection[str]) -> str:
    """The first few of `names` and how many there are: `a, b, c, d, e and 7 more`."""
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
