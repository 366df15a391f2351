"""Scripts that complete the commands in a shell, by shtab out of the parser itself."""

import argparse
from collections.abc import Iterator

import shtab

from ..florence.tasks import TASKS
from . import parser

FILES = ("images", "out", "draw", "annotations")
FOLDERS = ("artifact", "watch")


def script(shell: str, name: str) -> str:
    """The script for `shell`; the commands begin with `name`, an alias of `python -m handler`."""
    built = parser.build(name)
    for action in _actions(built):
        if action.dest in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's own way
        elif action.dest == "task":
            action.choices = [task.name for task in TASKS]
        elif action.dest in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    text: str = shtab.complete(built, shell)
    return text


def _actions(built: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in built._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
        else:
            yield action
