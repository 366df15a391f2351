"""Names -> images: files, folders, patterns, objects in buckets, and a folder that is watched.

Nothing is read before its turn. Does not look at the images: the core does.
"""

import glob
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ..florence.errors import InputError
from ..florence.image import MAX_BYTES
from ..settings import SettingsError

# Taken from folders and buckets; what is named in full is always tried.
SUFFIXES = (".gif", ".jpeg", ".jpg", ".png", ".webp")
POLL_SECONDS = 0.5  # a folder's listing: milliseconds, and on network drives nothing else tells of new files


class Unreadable(InputError):
    """An image that cannot be read from where it is."""


class Image(Protocol):
    """One image: what it is called, the last part of that without its suffix, and its bytes."""

    @property
    def name(self) -> str:
        """As it was named."""

    @property
    def stem(self) -> str:
        """For what is made of it."""

    def read(self) -> bytes:
        """Its bytes, at most one more than the limit. Raises `InputError`."""


@dataclass(frozen=True)
class File:
    """An image on disk."""

    path: Path

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def stem(self) -> str:
        """Its file's."""
        return self.path.stem

    def read(self) -> bytes:
        """Raises `Unreadable`."""
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)  # one more than allowed, for the core to refuse
        except IsADirectoryError:
            raise Unreadable("no images in this folder") from None
        except OSError as error:
            raise Unreadable(str(error.strerror or error)) from None


@dataclass(frozen=True)
class Stored:
    """An image in a bucket; what a listing said of it, or None."""

    bucket: str
    key: str
    etag: str | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def stem(self) -> str:
        """Its key's last part's."""
        return PurePosixPath(self.key).stem

    def read(self) -> bytes:
        """Raises `Unreadable`, `ObjectGone`, `ImageTooLarge` and `NotSetUp`."""
        from ..storage import objects
        from ..storage.events import StoredObject

        objects.client()  # which says what is missing
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return objects.read(objects.look(StoredObject(self.bucket, self.key, etag=self.etag, size=self.size)))
        except (BotoCoreError, ClientError) as error:
            raise Unreadable(str(error)) from None


@dataclass(frozen=True)
class Sources:
    """The images that names stand for. `count` is None where only going through them tells."""

    images: Iterable[Image]
    count: int | None

    @property
    def several(self) -> bool:
        """More than one, as far as can be known."""
        return self.count != 1


def find(names: Sequence[str]) -> Sources:
    """What `names` stand for: a folder for the images in it and below, a pattern for its matches, a prefix of a bucket
    for the images below it.

    A name that stands for nothing stays as it is: reading it will tell why. Raises `SettingsError`; where a bucket
    cannot be listed only when its turn comes, and `NotSetUp` then.
    """
    parts = [_in_bucket(name) if name.startswith("s3://") else _on_disk(name) for name in names]
    if all(isinstance(part, list) for part in parts):
        images = list(dict.fromkeys(image for part in parts for image in part))
        return Sources(images, len(images))
    return Sources((image for part in parts for image in part), None)


def watch(folder: Path) -> Sources:
    """The images in a folder and each that comes into it or changes, once it is whole; never ends.

    Whole is what has not grown between two looks. Raises `SettingsError`.
    """
    if not folder.is_dir():
        raise SettingsError(f"--watch {folder}: there is no such folder.")
    return Sources(_arriving(folder), None)


def _on_disk(name: str) -> list[Image]:
    path = Path(name)
    if path.is_dir():
        matches = sorted(_images(path))
    elif path.exists():
        matches = [path]
    else:
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207  # takes absolute ones
    return [File(match) for match in matches or [path]]


def _images(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())


def _arriving(folder: Path) -> Iterator[Image]:
    answered: set[tuple[Path, int, int]] = set()
    before: set[tuple[Path, int, int]] = set()
    while True:
        there = set()
        for path in sorted(_images(folder)):
            try:
                facts = path.stat()
            except OSError:  # gone since
                continue
            if facts.st_size:
                there.add((path, facts.st_size, facts.st_mtime_ns))
        for each in sorted(there & before - answered):
            yield File(each[0])
        answered = there & (answered | before)
        before = there
        time.sleep(POLL_SECONDS)


def _in_bucket(name: str) -> "list[Image] | Iterator[Image]":
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket:
        raise SettingsError(f"{name}: the bucket's name is missing; s3://BUCKET/PREFIX.")
    if PurePosixPath(key).suffix.lower() in SUFFIXES and not key.endswith("/"):
        return [Stored(bucket, key)]
    return _listed(bucket, key)


def _listed(bucket: str, prefix: str) -> Iterator[Image]:
    from ..storage import objects

    client = objects.client()
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            entries: list[dict[str, Any]] = page.get("Contents", [])
            for entry in entries:
                if PurePosixPath(entry["Key"]).suffix.lower() in SUFFIXES:
                    yield Stored(bucket, entry["Key"], entry["ETag"].strip('"'), entry["Size"])
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(f"s3://{bucket}/{prefix} cannot be listed: {error}") from None
