"""Answers -> stdout or a file: lines for people, JSON Lines, or COCO results.

A file is whole after each answer; what is in it already is not asked again. A last line that a sudden end has cut is
taken out.
"""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from .. import schemas
from ..florence.errors import InputError
from ..formats import Format, coco, render
from ..settings import SettingsError


class Unnumbered(InputError):
    """COCO's results tell their image by number, and this one has none."""


class Writer(Protocol):
    """Where answers go."""

    def has(self, name: str) -> bool:
        """Whether this image's answer is there from an earlier run. Raises `InputError` where it can have no place."""

    def write(self, name: str, answer: schemas.Answer) -> None:
        """Puts down one answer."""

    def close(self) -> None:
        """Ends what was begun."""


class People:
    """Lines for people on stdout, below the image's name if there are several."""

    def __init__(self, several: bool) -> None:
        self._several = several

    def has(self, name: str) -> bool:
        """Never."""
        return False

    def write(self, name: str, answer: schemas.Answer) -> None:
        """A line for each thing."""
        lines = _lines(answer)
        say("\n  ".join([name, *lines]) if self._several else "\n".join(lines), sys.stdout)

    def close(self) -> None:
        """Nothing is open."""


class JsonLines:
    """A line of JSON for each image: our own answer with the image's name as `file`; another's form as `answer`."""

    def __init__(self, form: Format, out: Path | None, artifact: str) -> None:
        """`artifact` is the model's id. Raises `SettingsError` where `out` cannot be gone on with."""
        self._form = form
        self._done: set[str] = set()
        lines = _read(out)
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                self._done.add(record["file"])
                other = record.get("model", {}).get("artifact", artifact) != artifact
            except (ValueError, KeyError, TypeError, AttributeError):
                raise SettingsError(f"--out {out}: line {number} is no answer of ours; name another file.") from None
            if other:
                raise SettingsError(f"--out {out} holds the answers of another model; name another file.")
        self._file = _open(out, "".join(f"{line}\n" for line in lines))

    def has(self, name: str) -> bool:
        """Whether there is a line for it."""
        return name in self._done

    def write(self, name: str, answer: schemas.Answer) -> None:
        """Adds a line."""
        rendered = render(answer, self._form)
        record = {"answer": _plain(rendered)} if rendered is not answer else _plain(rendered)
        _put(self._file, _dump({"file": name} | record) + "\n")

    def close(self) -> None:
        """Every line is whole."""
        _close(self._file)


class CocoResults:
    """COCO's results in one array, a line each. An image without a result is asked again by a later run."""

    def __init__(self, out: Path | None, annotations: Path | None) -> None:
        """`annotations` tells the numbers of images and categories. Raises `SettingsError`."""
        self._images, self._categories = _numbers(annotations)
        self._done: set[int] = set()
        records = [line.rstrip(",") for line in _read(out) if line not in ("[", "]", "[]")]
        try:
            self._done = {json.loads(record)["image_id"] for record in records}
        except (ValueError, KeyError, TypeError):
            raise SettingsError(f"--out {out} holds no COCO results of ours; name another file.") from None
        self._any = bool(records)
        self._file = _open(out, "[\n" + ",\n".join(records))

    def has(self, name: str) -> bool:
        """Whether there is a result for it. Raises `Unnumbered`."""
        return self._number(name) in self._done

    def write(self, name: str, answer: schemas.Answer) -> None:
        """Adds its results."""
        for result in coco.results(answer, self._number(name), self._categories):
            _put(self._file, (",\n" if self._any else "") + _dump(_plain(result)))
            self._any = True

    def close(self) -> None:
        """Ends the array."""
        _put(self._file, "\n]\n" if self._any else "]\n")
        _close(self._file)

    def _number(self, name: str) -> int:
        path = PurePosixPath(name)
        if self._images is not None:
            if path.name not in self._images:
                raise Unnumbered("the annotations have no image of this name")
            return self._images[path.name]
        digits = re.search(r"\d+\Z", path.stem)
        if digits is None:
            raise Unnumbered("COCO's results need the image's number: end its name in one, or give --annotations")
        return int(digits[0])


def writer(form: Format | None, out: Path | None, annotations: Path | None, several: bool, artifact: str) -> Writer:
    """The one for this form; None is for people. Raises `SettingsError`."""
    if form is None:
        return People(several)
    if form is Format.COCO:
        return CocoResults(out, annotations)
    return JsonLines(form, out, artifact)


def say(text: str, stream: TextIO) -> None:
    """Prints a line; the progress bar, if there is one, moves out of its way."""
    tqdm.write(text, file=stream)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(rendered: Any) -> Any:
    if isinstance(rendered, list):
        return [_plain(each) for each in rendered]
    return rendered.model_dump(mode="json", exclude_none=True)


def _read(out: Path | None) -> list[str]:
    """The whole lines of an earlier run, without the last one where it was cut. Raises `SettingsError`."""
    if out is None or not out.exists():
        return []
    try:
        *lines, rest = out.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--out {out} cannot be gone on with: {error}.") from None
    try:
        json.loads(rest)  # an array whose end is missing has a whole last line without a line break
        lines.append(rest)
    except ValueError:
        pass
    return [line for line in lines if line]


def _open(out: Path | None, begun: str) -> TextIO:
    """The file with what it began with, put in place whole; stdout if it has no name. Raises `SettingsError`."""
    if out is None:
        _put(sys.stdout, begun)
        return sys.stdout
    try:
        fresh = out.with_name(f".{out.name}.part")
        fresh.write_text(begun, encoding="utf-8")
        fresh.replace(out)
        return out.open("a", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"--out {out} cannot be written: {error.strerror}.") from None


def _put(file: TextIO, text: str) -> None:
    if file is sys.stdout:
        tqdm.write(text, file=file, end="")
    else:
        file.write(text)
    file.flush()


def _close(file: TextIO) -> None:
    if file is not sys.stdout:
        os.fsync(file.fileno())
        file.close()


def _numbers(annotations: Path | None) -> tuple[Mapping[str, int] | None, Mapping[str, int]]:
    """The numbers of images by their file names, None for those in the names; and of categories by theirs."""
    if annotations is None:
        return None, coco.CATEGORIES
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        images = {PurePosixPath(each["file_name"]).name: int(each["id"]) for each in content["images"]}
        categories = {each["name"].lower(): int(each["id"]) for each in content.get("categories", [])}
    except OSError as error:
        raise SettingsError(f"--annotations {annotations}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f"--annotations {annotations} is no file of COCO annotations.") from None
    return images, categories or coco.CATEGORIES


def _lines(answer: schemas.Answer) -> list[str]:
    """An answer for people: scores first, then what was seen, then where."""
    lines = []
    objects = answer.objects if isinstance(answer, schemas.Objects) else []
    if isinstance(answer, schemas.Caption):
        lines.append(f"{answer.score:.2f}  {answer.caption}")
    if isinstance(answer, schemas.Text) and answer.text and not objects:
        lines.append(f"{answer.score:.2f}  {answer.text}")
    if isinstance(answer, schemas.Labels):
        lines += [f"{each.score:.2f}  {each.label}" for each in answer.labels]
    wide = max((len(found.label) for found in objects), default=0)
    lines += [f"{found.score:.2f}  {found.label:{wide}}  {_place(found)}".rstrip() for found in objects]
    return lines or ["nothing found"]


def _place(found: schemas.Object) -> str:
    shapes = [found.box or found.quad] if found.polygons is None else found.polygons
    return "; ".join(" ".join(f"{value:.0f}" for value in shape) for shape in shapes if shape)
