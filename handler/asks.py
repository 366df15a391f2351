"""What a user asks of a task, in words and pixels -> what the predictor is asked, in words and location tokens.

Shared by the API and the command line. A region is `x1,y1,x2,y2` in pixels of the image as it is seen.
"""

import math

from .florence import locations, tasks
from .florence.errors import TaskInputError
from .florence.image import open_image
from .florence.predictor import Ask


def ask(name: str, text: str | None, region: str | None, data: bytes) -> Ask:
    """One task by name or token, with its text or its region, about the image in `data`.

    Raises `UnknownTask`; `TaskInputError` for an input that does not fit the task; and, where a region needs the
    image's size, `ImageError`.
    """
    task = tasks.find(name)
    if task.input is tasks.Input.REGION:
        if text is not None:
            raise TaskInputError(f"The task {task.name} needs a region (x1,y1,x2,y2 in pixels), not a text.")
        if region is None:
            raise TaskInputError(f"The task {task.name} needs a region: x1,y1,x2,y2 in pixels.")
        text = locations.to_text(locations.to_bins(_box(region), open_image(data).size))
    elif region is not None:
        raise TaskInputError(f"The task {task.name} takes no region.")
    task.ask(text)  # refused here rather than after the image is decoded
    return Ask(task, text)


def _box(region: str) -> list[float]:
    try:
        x1, y1, x2, y2 = box = [float(part) for part in region.split(",")]
    except ValueError:
        raise TaskInputError(f"A region is four numbers, x1,y1,x2,y2, in pixels; not {region!r}.") from None
    if not (all(map(math.isfinite, box)) and 0 <= x1 < x2 and 0 <= y1 < y2):
        raise TaskInputError(f"A region is x1,y1,x2,y2 with x1 < x2 and y1 < y2, none negative; not {region!r}.")
    return box
