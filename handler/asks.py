"""What a user asks of a task, in words -> what the predictor is asked.

Shared by the API and the command line. A region is `x1,y1,x2,y2` in pixels of the image as it is seen. Sees no image.
"""

import math

from .florence import tasks
from .florence.errors import TaskInputError
from .florence.predictor import Ask, Region


def ask(name: str, text: str | None, region: str | None) -> Ask:
    """One task by name or token, with its text or its region.

    Raises `UnknownTask`, and `TaskInputError` for an input that does not fit the task.
    """
    task = tasks.find(name)
    if task.input is tasks.Input.REGION:
        if text is not None:
            raise TaskInputError(f"The task {task.name} needs a region (x1,y1,x2,y2 in pixels), not a text.")
        if region is None:
            raise TaskInputError(f"The task {task.name} needs a region: x1,y1,x2,y2 in pixels.")
        return Ask(task, _box(region))
    if region is not None:
        raise TaskInputError(f"The task {task.name} takes no region.")
    task.ask(text)  # refused here rather than when the request's turn has come
    return Ask(task, text)


def _box(region: str) -> Region:
    try:
        x1, y1, x2, y2 = (float(part) for part in region.split(","))
    except ValueError:
        raise TaskInputError(f"A region is four numbers, x1,y1,x2,y2, in pixels; not {region!r}.") from None
    if not (all(map(math.isfinite, (x1, y1, x2, y2))) and 0 <= x1 < x2 and 0 <= y1 < y2):
        raise TaskInputError(f"A region is x1,y1,x2,y2 with x1 < x2 and y1 < y2, none negative; not {region!r}.")
    return x1, y1, x2, y2
