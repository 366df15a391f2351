"""Where drawn pictures go: one file, or a folder with a file for each image."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import SettingsError
from .sources import SUFFIXES

if TYPE_CHECKING:
    from .. import schemas


class Pictures:
    """Names for the pictures of one command."""

    def __init__(self, out: Path, several: bool) -> None:
        """`out` is a folder, or for one image a file. Raises `SettingsError` if it can be neither."""
        self._taken: set[Path] = set()
        self._file: Path | None = None
        if not several and not out.is_dir():
            if out.suffix.lower() not in SUFFIXES:
                raise SettingsError(f"--draw {out}: a picture's name must end in one of {', '.join(SUFFIXES)}.")
            if not out.parent.is_dir():
                raise SettingsError(f"--draw {out}: there is no folder {out.parent}.")
            self._file = out
            return
        if out.exists() and not out.is_dir():
            raise SettingsError(f"--draw {out}: for several images this must be a folder, and it is a file.")
        out.mkdir(parents=True, exist_ok=True)
        self._folder = out

    def place(self, stem: str) -> Path:
        """Where the picture of the next image goes. Two of one name, in two folders, get numbers in their order."""
        if self._file:
            return self._file
        picture, number = self._folder / f"{stem}.png", 1
        while picture in self._taken:
            number += 1
            picture = self._folder / f"{stem}-{number}.png"
        self._taken.add(picture)
        return picture


def draw(data: bytes, answer: "schemas.Answer", picture: Path) -> None:
    """Draws the answer's objects over the image, into this file. Raises `OSError`."""
    from .. import schemas
    from ..drawing import draw  # Pillow's fonts, only for those who draw

    objects = answer.objects if isinstance(answer, schemas.Objects) else []
    draw(data, objects).save(picture)
