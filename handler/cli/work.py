"""Images -> answers, one after the other. One that fails is a line on stderr, and the others go on."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from .. import schemas
from ..florence.errors import InputError
from .output import Writer, say
from .pictures import Pictures, draw
from .sources import Sources


@dataclass
class Tally:
    """How many images were answered, failed, or had their answer from an earlier run."""

    answered: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        earlier = f", {self.skipped} answered before" if self.skipped else ""
        return f"{self.answered} answered, {self.failed} failed{earlier}"


def answer_all(
    sources: Sources,
    ask: Callable[[bytes], schemas.Answer],
    writer: Writer,
    pictures: Pictures | None,
    tally: Tally,
) -> None:
    """Writes the answer to every image as soon as it is there, and counts in `tally`."""
    # disable=None: no bar where stderr is no terminal.
    bar = tqdm(
        sources.images, total=sources.count, unit="image", leave=False, disable=None if sources.several else True
    )
    for image in bar:
        place = pictures.place(image.stem) if pictures else None  # also of those that are skipped: the numbers stay
        try:
            if writer.has(image.name):
                tally.skipped += 1
                continue
            data = image.read()
            answer = ask(data)
            if place:
                draw(data, answer, place)
        except (InputError, OSError) as error:
            say(f"{image.name}: {error}", sys.stderr)
            tally.failed += 1
            continue
        writer.write(image.name, answer)
        tally.answered += 1
        if answer.truncated:
            say(f"{image.name}: the answer reached its longest allowed length and may be incomplete", sys.stderr)
