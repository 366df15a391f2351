"""Environment -> one frozen settings object, checked once at the start.

Reads only names that begin with `FLORENCE_`, and refuses those it does not know: a misspelt setting that silently does
nothing is worse than a start that fails. Does not look into the artifact: the predictor does.

| variable | meaning | default |
|---|---|---|
| `FLORENCE_ARTIFACT` | folder of the model's artifact | `artifacts/current` if it is there, else `models/mini` |
| `FLORENCE_THREADS` | threads for the model, 1 to 256 | as many as the machine, or Lambda's memory, gives |
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_THREADS = 256

_PREFIX = "FLORENCE_"
_ARTIFACT = "FLORENCE_ARTIFACT"
_THREADS = "FLORENCE_THREADS"
_NAMES = (_ARTIFACT, _THREADS)


class SettingsError(Exception):
    """A setting, of the environment or the command line, is unknown or cannot be used. The message names it."""


@dataclass(frozen=True)
class Settings:
    """What the environment decides."""

    artifact: Path
    threads: int | None  # None: the engine decides


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment. Raises `SettingsError`. An empty value counts as not set."""
    for name in environment:
        if name.startswith(_PREFIX) and name not in _NAMES:
            raise SettingsError(f"There is no setting {name}; there are {', '.join(_NAMES)}.")
    return Settings(artifact=_artifact(environment.get(_ARTIFACT, "")), threads=_threads(environment.get(_THREADS, "")))


def _artifact(value: str) -> Path:
    if not value:
        current = ROOT / "artifacts" / "current"
        return current if current.exists() else ROOT / "models" / "mini"
    path = Path(value)
    if not path.is_dir():
        raise SettingsError(f"{_ARTIFACT} must name the folder of an artifact: {value!r} is no folder.")
    return path


def _threads(value: str) -> int | None:
    if not value:
        return None
    if not (value.isdecimal() and 1 <= int(value) <= MAX_THREADS):
        raise SettingsError(f"{_THREADS} must be a whole number from 1 to {MAX_THREADS}, not {value!r}.")
    return int(value)
