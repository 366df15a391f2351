"""Options -> a question, asked of the model; and what can be wrong with them that the parser cannot see."""

import argparse
from typing import TYPE_CHECKING

from ..formats import Format, check
from ..settings import SettingsError
from .parser import TEXT

if TYPE_CHECKING:
    from ..questions import Question


def question(options: argparse.Namespace) -> "Question":
    """What the command asks of one image. Raises `TaskError`."""
    from .. import questions
    from ..serialise import Cut

    cut = Cut(getattr(options, "min_score", 0.0), getattr(options, "max_objects", None))
    match options.command:
        case "caption":
            return questions.caption(questions.Detail(options.detail))
        case "detect":
            return questions.detect(options.classes, cut)
        case "analyze":
            return questions.analyze(questions.Detail(options.detail), options.classes, cut)
        case "classify":
            return questions.classify(options.classes)
        case "ground":
            return questions.ground(options.text, cut)
        case "segment":
            return questions.segment(options.text, options.region, cut)
        case "read":
            return questions.read(not options.no_regions, cut)
        case _:
            return questions.task(options.task, options.input, options.region, cut)


def form(options: argparse.Namespace, asked: "Question") -> Format | None:
    """The form of the answers; None for lines for people. Raises `SettingsError` and `TaskError`."""
    if options.annotations and options.format != Format.COCO:
        raise SettingsError("--annotations is for --format coco.")
    named = options.format or (Format.NATIVE if options.out else TEXT)
    if named == TEXT:
        if options.out:
            raise SettingsError("--out takes one of the forms for programs; the one for people goes to stdout.")
        return None
    chosen = Format(named)
    if options.command == "analyze" and chosen is not Format.NATIVE:
        raise SettingsError(f"A caption and objects have no place in {chosen}'s form: caption and detect apart.")
    if options.command == "classify" and chosen is Format.COCO:
        raise SettingsError("Names without places have no place in coco's form: detect.")
    check(asked.task, chosen)
    return chosen
