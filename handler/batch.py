"""Many image files, one after the other, for the command line: found, answered, drawn and printed.

A file that fails is one line on stderr and the others go on. Knows neither the tasks nor the model.
"""

import glob
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from . import schemas
from .florence.errors import InputError
from .florence.image import MAX_BYTES
from .settings import SettingsError

SUFFIXES = (
    ".gif",
    ".jpeg",
    ".jpg",
    ".png",
    ".webp",
)  # taken from folders; a file that is named is always tried


def find(names: Sequence[str]) -> list[Path]:
    """The files that `names` stand for: a folder for the images in it and below, a pattern for its matches.

    A name that stands for nothing stays as it is: reading it will tell why.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207  # takes absolute ones
        found += matches or [path]
    return list(dict.fromkeys(found))


def answer_files(
    paths: Sequence[Path], answer: Callable[[bytes], schemas.Answer], *, as_json: bool, draw: Path | None
) -> bool:
    """Prints an answer for every file as soon as it is there; returns whether all went well.

    With `as_json` each is a line of JSON; else lines for people, below the file's name if there are several files.
    With `draw` the objects are drawn over the image: into this file, or for several files into this folder.
    Raises `SettingsError` before the first answer if that cannot be.
    """
    several = len(paths) > 1
    pictures = _pictures(paths, draw)
    well = True
    # disable=None: no bar where stderr is no terminal.
    for path in tqdm(paths, unit="image", leave=False, disable=None if several else True):
        try:
            data = _read(path)
            answered = answer(data)
            if path in pictures:
                _draw(data, answered, pictures[path])
        except (InputError, OSError) as error:
            _print(f"{path}: {_sentence(error)}", sys.stderr)
            well = False
            continue
        if as_json:
            record = {"file": str(path)} | answered.model_dump(mode="json", exclude_none=True)
            _print(json.dumps(record, ensure_ascii=False), sys.stdout)
            continue
        lines = _lines(answered)
        _print("\n  ".join([str(path), *lines]) if several else "\n".join(lines), sys.stdout)
        if answered.truncated:
            _print(f"{path}: the answer reached its longest allowed length and may be incomplete", sys.stderr)
    return well


def _print(text: str, stream: TextIO) -> None:
    tqdm.write(text, file=stream)  # moves the bar out of the way, if there is one


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)  # one more than allowed, for the core to refuse


def _sentence(error: InputError | OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "no images in this folder"
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _lines(answer: schemas.Answer) -> list[str]:
    """An answer for people: scores first, then what was seen, then where."""
    lines = []
    if isinstance(answer, schemas.Caption):
        lines.append(f"{answer.score:.2f}  {answer.caption}")
    if isinstance(answer, schemas.Text) and answer.text:
        lines.append(f"{answer.score:.2f}  {answer.text}")
    if isinstance(answer, schemas.Objects):
        wide = max((len(found.label) for found in answer.objects), default=0)
        lines += [f"{found.score:.2f}  {found.label:{wide}}  {_place(found)}".rstrip() for found in answer.objects]
    return lines or ["nothing found"]


def _place(found: schemas.Object) -> str:
    shapes = [found.box or found.quad] if found.polygons is None else found.polygons
    return "; ".join(" ".join(f"{value:.0f}" for value in shape) for shape in shapes if shape)


def _pictures(paths: Sequence[Path], draw: Path | None) -> dict[Path, Path]:
    """Where each file's picture goes."""
    if draw is None:
        return {}
    if len(paths) == 1 and not draw.is_dir():
        if draw.suffix.lower() not in SUFFIXES:
            raise SettingsError(f"--draw {draw}: a picture's name must end in one of {', '.join(SUFFIXES)}.")
        if not draw.parent.is_dir():
            raise SettingsError(f"--draw {draw}: there is no folder {draw.parent}.")
        return {paths[0]: draw}
    if draw.exists() and not draw.is_dir():
        raise SettingsError(f"--draw {draw}: for several images this must be a folder, and it is a file.")
    draw.mkdir(parents=True, exist_ok=True)
    pictures: dict[Path, Path] = {}
    for path in paths:
        name, number = f"{path.stem}.png", 1
        while draw / name in pictures.values():  # a.jpg and a.png, or one name in two folders
            number += 1
            name = f"{path.stem}-{number}.png"
        pictures[path] = draw / name
    return pictures


def _draw(data: bytes, answer: schemas.Answer, picture: Path) -> None:
    from .drawing import draw  # Pillow's fonts, only for those who draw

    objects = answer.objects if isinstance(answer, schemas.Objects) else []
    draw(data, objects).save(picture)
