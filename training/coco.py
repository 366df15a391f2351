"""Directories in COCO's format, as they come -> pictures with their captions and boxes.

    coco = read(Path("coco"), "train")

Finds by itself COCO 2014 and 2017 (`annotations/captions_train2017.json`, `annotations/instances_train2017.json`,
`train2017/`), the same with everything in one folder, and a directory of one unnamed split (`captions.json`,
`instances.json`, `images/`, as `training.shapes` writes). Captions alone and instances alone are fine.

Opens no picture: a picture is looked for in a listing of its folder, and broken ones are met by `dataset.py`. What
cannot be taught is set aside and counted: crowd boxes (one box around many things), boxes without a side of at least a
pixel, boxes outside the picture, empty captions, pictures that are not there. Does not evaluate: ground truth is read
from the instances file itself, crowds and all.
"""

import hashlib
import math
import mmap
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels

_FILE = re.compile(r"(captions|instances)(?:_(.+))?\.json")
_YEAR = re.compile(r"(train|val|test)20\d\d")
_UNNAMED = "all"
_LEAST = 1.0  # pixels: the least side of a box that is taught


class DataError(Exception):
    """The data cannot be used: one line that names the file and the mend."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One usable box: not a crowd, clipped to the picture, each side at least a pixel."""

    category: str
    box: Box


@dataclass(frozen=True, slots=True)
class Record:
    """One picture and what is said of it."""

    id: int
    path: Path
    size: tuple[int, int]  # width, height in pixels, as the annotations say
    captions: tuple[str, ...]
    things: tuple[Thing, ...]  # in `order`


@dataclass(frozen=True)
class Coco:
    """A split that was read."""

    records: tuple[Record, ...]  # by id
    categories: Mapping[str, int]  # name -> COCO's category id; the ids are not contiguous
    instances: Path | None  # the files read
    captions: Path | None
    set_aside: Mapping[str, int]  # reason -> count
    fingerprint: str  # sha256 over the contents of the files read: the same wherever they lie

    def only(self, records: tuple[Record, ...]) -> "Coco":
        """The same with some of its records alone; files, fingerprint and what was set aside stay the whole's."""
        return replace(self, records=records)


def order(category: str, box: Box) -> tuple[float, float, str, Box]:
    """The order in which things are told: left to right by the centre of the box, then top to bottom."""
    x1, y1, x2, y2 = box
    return x1 + x2, y1 + y2, category, box


def splits(directory: Path) -> tuple[str, ...]:
    """The splits in a directory, such as `("train", "val")`; `("all",)` where it has one unnamed split.

    A split is called as its files are, without COCO's year where that is clear (`train2017` is `train`).
    """
    return tuple(sorted(_named(_files(directory))))


def read(directory: Path, split: str) -> Coco:
    """The pictures of a split, called as `splits` says or as the files are (`train2017`).

    Raises `DataError` where there is no such split, a file is not in COCO's format, or no picture is left.

    Of the files only what is used becomes an object, not the outlines that fill most of the instances: drawn ones of
    train2017's size (118,287 pictures, 860,001 boxes, 591,753 captions, 608 MB) take 10 s and 1.0 GB at the peak, the
    records 0.7 GB of it; `json.load` of the instances alone takes 32 s and 3.1 GB.
    """
    files = _files(directory)
    suffix = _named(files).get(split, split)
    if suffix not in files:
        there = ", ".join(splits(directory))
        if not there:
            raise DataError(f"{directory} holds no captions*.json and no instances*.json, nor has annotations/ any.")
        raise DataError(f"{directory} has no split {split!r}; it has {there}.")
    captions, instances = files[suffix].get("captions"), files[suffix].get("instances")
    aside: Counter[str] = Counter()
    digest = hashlib.sha256()
    pictures: dict[int, _Image] = {}
    said: dict[int, list[str]] = {}
    seen: dict[int, list[Thing]] = {}
    categories: dict[str, int] = {}
    if captions:
        document = _decode(captions, _Captions, digest)
        pictures |= {image.id: image for image in document.images}
        said = _sentences(document, pictures, aside)
    if instances:
        boxes = _decode(instances, _Instances, digest)
        known = {image.id: image for image in boxes.images}  # boxes are true of the size that their own file says
        pictures |= known
        categories = _categories(boxes.categories, instances)
        seen = _things(boxes, known, aside)
    folders = _Folders(directory, "" if suffix == _UNNAMED else suffix)
    records = []
    for id_, image in sorted(pictures.items()):
        path = folders.find(image.file_name)
        if path is None:
            aside["missing files"] += 1
        elif image.width < 1 or image.height < 1:
            aside["pictures without a size"] += 1
        else:
            things = tuple(sorted(seen.get(id_, ()), key=lambda thing: order(thing.category, thing.box)))
            records.append(Record(id_, path, (image.width, image.height), tuple(said.get(id_, ())), things))
    if not records:
        reasons = ", ".join(f"{count} {reason}" for reason, count in aside.items()) or "it lists none"
        raise DataError(
            f"{instances or captions} leaves no picture to read ({reasons}); put the pictures into {folders.hint}."
        )
    return Coco(tuple(records), categories, instances, captions, dict(aside), digest.hexdigest())


# What is read of the files; whatever else they hold is skipped without becoming an object.


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int = 0
    height: int = 0


class _Caption(msgspec.Struct, gc=False):
    image_id: int
    caption: str | None = None


class _Box(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: Any = None  # anything may stand here: what is not a box is counted
    iscrowd: Any = 0


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Captions(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Caption]


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Box]
    categories: list[_Category]


_Document = TypeVar("_Document", _Captions, _Instances)


def _decode(path: Path, kind: type[_Document], digest: Any) -> _Document:
    """Reads a file into `kind` and its content into `digest`."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            digest.update(f"{kind.__name__} {len(content)}\n".encode())
            digest.update(content)
            with memoryview(content) as view:
                return msgspec.json.decode(view, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:  # ValueError: an empty file
        raise DataError(f"{path} is not in COCO's format: {error}. Download or export it again.") from error


def _sentences(document: _Captions, pictures: Mapping[int, _Image], aside: Counter[str]) -> dict[int, list[str]]:
    """The captions of each picture, white space tidied (COCO's have line breaks and double spaces)."""
    said: dict[int, list[str]] = {}
    for one in document.annotations:
        text = " ".join((one.caption or "").split())
        if one.image_id not in pictures:
            aside["annotations of unknown images"] += 1
        elif not text:
            aside["empty captions"] += 1
        else:
            said.setdefault(one.image_id, []).append(text)
    return said


def _categories(categories: list[_Category], path: Path) -> dict[str, int]:
    """Name -> id: an answer names its category, so no two may be named the same."""
    ids: dict[str, int] = {}
    for category in categories:
        if ids.setdefault(category.name, category.id) != category.id:
            raise DataError(f"{path} has two categories named {category.name!r}; give each its own name.")
    return ids


def _things(document: _Instances, pictures: Mapping[int, _Image], aside: Counter[str]) -> dict[int, list[Thing]]:
    """The usable boxes of each picture."""
    names = {category.id: category.name for category in document.categories}
    seen: dict[int, list[Thing]] = {}
    for one in document.annotations:
        image, name = pictures.get(one.image_id), names.get(one.category_id)
        if image is None:
            aside["annotations of unknown images"] += 1
        elif name is None:
            aside["boxes of unknown categories"] += 1
        elif one.iscrowd:
            aside["crowd boxes"] += 1
        elif (corners := _corners(one.bbox)) is None:
            aside["degenerate boxes"] += 1
        else:
            box = clip(corners, (image.width, image.height))
            if box[2] <= box[0] or box[3] <= box[1]:
                aside["boxes outside the picture"] += 1
            elif box[2] - box[0] < _LEAST or box[3] - box[1] < _LEAST:
                aside["degenerate boxes"] += 1
            else:
                seen.setdefault(one.image_id, []).append(Thing(name, box))
    return seen


def _corners(bbox: Any) -> Box | None:
    """COCO's x, y, width, height -> corners; None where it is no box."""
    if not isinstance(bbox, list) or len(bbox) != 4:
        return None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in bbox):
        return None
    x, y, width, height = map(float, bbox)
    return (x, y, x + width, y + height) if width >= _LEAST and height >= _LEAST else None


def clip(box: Box, size: tuple[int, int]) -> Box:
    """The part of the box inside a picture of this width and height; empty or reversed if there is none."""
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(size[0])), min(y2, float(size[1]))


def _files(directory: Path) -> dict[str, dict[str, Path]]:
    """Suffix of the file's name -> kind -> path; those in `annotations/` go before those beside it."""
    found: dict[str, dict[str, Path]] = {}
    for folder in (directory, directory / "annotations"):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if match := _FILE.fullmatch(path.name):
                    found.setdefault(match[2] or _UNNAMED, {})[match[1]] = path
    return found


def _named(files: Mapping[str, object]) -> dict[str, str]:
    """Name of a split -> suffix of its files: without the year, unless two years would be called the same."""
    short = {suffix: match[1] if (match := _YEAR.fullmatch(suffix)) else suffix for suffix in files}
    counts = Counter(short.values())
    return {name if counts[name] == 1 else suffix: suffix for suffix, name in short.items()}


class _Folders:
    """Finds pictures in the folders where they may lie, listing each once: 118,000 single look-ups on a network disk
    take minutes."""

    def __init__(self, directory: Path, suffix: str) -> None:
        places = (directory / suffix, directory / "images" / suffix, directory / "images", directory)
        self._places = list(dict.fromkeys(places))
        self._listings: dict[Path, frozenset[str]] = {}
        self.hint = self._places[0] if suffix else directory / "images"

    def find(self, name: str) -> Path | None:
        """The picture of this `file_name`, which may name a folder, too."""
        for place in self._places:
            path = place / name
            if path.name in self._listing(path.parent):
                return path
        return None

    def _listing(self, folder: Path) -> frozenset[str]:
        if folder not in self._listings:
            names = (entry.name for entry in folder.iterdir()) if folder.is_dir() else ()
            self._listings[folder] = frozenset(names)
        return self._listings[folder]
