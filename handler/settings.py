"""Environment -> one frozen settings object, checked once at the start.

Reads only names that begin with `FLORENCE_`, and refuses those it does not know: a misspelt setting that silently does
nothing is worse than a start that fails. Does not look into the artifact or the buckets: who uses them does.

| variable | meaning | default |
|---|---|---|
| `FLORENCE_ARTIFACT` | folder of the model's artifact | `artifacts/current` if it is there, else `models/mini` |
| `FLORENCE_THREADS` | threads for the model, 1 to 256 | as many as the machine, or Lambda's memory, gives |
| `FLORENCE_CACHE_MB` | memory for the answers that the API remembers, in MB; 0: it remembers none | 16 |
| `FLORENCE_RESULTS_BUCKET` | bucket for the results of stored pictures; storage events are refused without it | none |
| `FLORENCE_UPLOADS_BUCKET` | bucket that `POST /uploads` lets clients write to; its events must come here | none |
| `FLORENCE_SOURCE_BUCKETS` | buckets that requests may name as `s3_uri`, separated by commas | none |
| `FLORENCE_STORAGE_TASKS` | tasks without an input, asked of each stored picture, by commas | `caption,detect` |
| `FLORENCE_TAGS` | `1`: tag each stored picture with its outcome and its caption | `0` |
| `FLORENCE_PREVIEW` | `1`: store a smaller picture with the objects drawn in beside each result | `0` |
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .florence.errors import UnknownTask
from .florence.tasks import Input, Task, find

ROOT = Path(__file__).resolve().parents[1]
MAX_THREADS = 256
CACHE_MB = 16  # of 2 to 6 kB each: some thousands
MAX_CACHE_MB = 4096

_PREFIX = "FLORENCE_"
_ARTIFACT = "FLORENCE_ARTIFACT"
_THREADS = "FLORENCE_THREADS"
_CACHE = "FLORENCE_CACHE_MB"
RESULTS_BUCKET = "FLORENCE_RESULTS_BUCKET"
UPLOADS_BUCKET = "FLORENCE_UPLOADS_BUCKET"
SOURCE_BUCKETS = "FLORENCE_SOURCE_BUCKETS"
_STORAGE_TASKS = "FLORENCE_STORAGE_TASKS"
_TAGS = "FLORENCE_TAGS"
_PREVIEW = "FLORENCE_PREVIEW"
_NAMES = (
    _ARTIFACT,
    _THREADS,
    _CACHE,
    RESULTS_BUCKET,
    UPLOADS_BUCKET,
    SOURCE_BUCKETS,
    _STORAGE_TASKS,
    _TAGS,
    _PREVIEW,
)


class SettingsError(Exception):
    """A setting, of the environment or the command line, is unknown or cannot be used. The message names it."""


@dataclass(frozen=True)
class Storage:
    """What is done with pictures in buckets. An empty name: not set."""

    results_bucket: str = ""
    uploads_bucket: str = ""
    source_buckets: tuple[str, ...] = ()
    tasks: tuple[Task, ...] = (find("caption"), find("detect"))
    tags: bool = False
    preview: bool = False


@dataclass(frozen=True)
class Settings:
    """What the environment decides."""

    artifact: Path
    threads: int | None  # None: the engine decides
    cache_bytes: int = CACHE_MB * 10**6
    storage: Storage = field(default_factory=Storage)


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this environment. Raises `SettingsError`. An empty value counts as not set."""
    for name in environment:
        if name.startswith(_PREFIX) and name not in _NAMES:
            raise SettingsError(f"There is no setting {name}; there are {', '.join(_NAMES)}.")
    return Settings(
        artifact=_artifact(environment.get(_ARTIFACT, "")),
        threads=_threads(environment.get(_THREADS, "")),
        cache_bytes=_cache(environment.get(_CACHE, "")),
        storage=_storage(environment),
    )


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


def _cache(value: str) -> int:
    if not value:
        return CACHE_MB * 10**6
    if not (value.isdecimal() and int(value) <= MAX_CACHE_MB):
        raise SettingsError(f"{_CACHE} must be a whole number from 0 to {MAX_CACHE_MB}, not {value!r}.")
    return int(value) * 10**6


def _storage(environment: Mapping[str, str]) -> Storage:
    results, uploads = _bucket(environment, RESULTS_BUCKET), _bucket(environment, UPLOADS_BUCKET)
    sources = _listed(environment.get(SOURCE_BUCKETS, ""))
    for bucket in sources:
        _check_bucket(SOURCE_BUCKETS, bucket)
    if uploads and not results:
        raise SettingsError(f"{UPLOADS_BUCKET} is of no use without {RESULTS_BUCKET}: nothing would answer an upload.")
    if results and results == uploads:
        raise SettingsError(f"{RESULTS_BUCKET} and {UPLOADS_BUCKET} are one bucket: each result would be an upload.")
    return Storage(
        results_bucket=results,
        uploads_bucket=uploads,
        source_buckets=sources,
        tasks=_tasks(environment.get(_STORAGE_TASKS, "")),
        tags=_switch(environment, _TAGS),
        preview=_switch(environment, _PREVIEW),
    )


def _listed(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _bucket(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if value:
        _check_bucket(name, value)
    return value


def _check_bucket(name: str, value: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
        raise SettingsError(f"{name} must name a bucket, neither ARN nor address: {value!r} is no bucket's name.")


def _tasks(value: str) -> tuple[Task, ...]:
    if not _listed(value):
        return Storage.tasks
    try:
        found = tuple(find(name) for name in _listed(value))
    except UnknownTask as error:
        raise SettingsError(f"{_STORAGE_TASKS}: {error}") from None
    for task in found:
        if task.input is not Input.NONE:
            raise SettingsError(
                f"{_STORAGE_TASKS}: the task {task.name} needs an input, and a stored picture has none."
            )
    return tuple(dict.fromkeys(found))


def _switch(environment: Mapping[str, str], name: str) -> bool:
    value = environment.get(name, "") or "0"
    if value not in ("0", "1"):
        raise SettingsError(f"{name} must be 0 or 1, not {value!r}.")
    return value == "1"
