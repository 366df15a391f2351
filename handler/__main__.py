"""The command line: `python -m handler caption photo.jpg`, and `detect`, `analyze`, `run`, `serve`.

Answers go to stdout, all else to stderr. A file that fails is one line there, the others go on, and the exit code is 1
in the end. The model's libraries are imported when they are needed, so that --help and mistakes answer at once.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .florence import tasks
from .florence.errors import FlorenceError
from .server import serve
from .settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from .florence.predictor import Predictor
    from .schemas import Answer

EXAMPLES = """\
examples:
  python -m handler caption photo.jpg
  python -m handler detect photo.jpg --draw boxes.png
  python -m handler analyze holiday/ 'more/**/*.png' --json > answers.jsonl
  python -m handler run ground photo.jpg --input "a dog on a beach"
  python -m handler run region-category photo.jpg --region 20,40,180,200
  python -m handler serve --port 8080
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0, 1 if something failed, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        settings = load()
        if options.artifact:
            settings = replace(settings, artifact=options.artifact)
        if options.command == "serve":
            serve(settings, options.host, options.port)
            return 0
        return 0 if _answer(options, settings) else 1
    except (FlorenceError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our stdout has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it exits
        return 1


def _answer(options: argparse.Namespace, settings: Settings) -> bool:
    """Answers for all files of the command; returns whether all went well."""
    if options.command == "run":
        tasks.find(options.task)  # an unknown task is a mistake of the command, not of each file
    from .batch import answer_files, find
    from .florence.predictor import Predictor

    predictor = Predictor(settings.artifact, settings.threads)
    if predictor.manifest.notice:
        print(f"note: {predictor.manifest.notice}", file=sys.stderr)
    return answer_files(find(options.images), _question(options, predictor), as_json=options.json, draw=options.draw)


def _question(options: argparse.Namespace, predictor: "Predictor") -> Callable[[bytes], "Answer"]:
    """What the command asks of one image, answered in the API's schemas."""
    from . import questions
    from .serialise import Cut

    cut = Cut(getattr(options, "min_score", 0.0))
    if options.command == "caption":
        question = questions.caption()
    elif options.command == "detect":
        question = questions.detect(cut=cut)
    elif options.command == "analyze":
        question = questions.analyze(cut=cut)
    else:
        question = questions.task(options.task, options.input, options.region, cut)
    return lambda data: question.answer(predictor.manifest, predictor.predict(data, question.asks))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handler",
        description="Captions and boxes from Florence-2.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    artifact = argparse.ArgumentParser(add_help=False)
    artifact.add_argument(
        "--artifact",
        type=Path,
        metavar="DIR",
        help="folder of the model (default: FLORENCE_ARTIFACT, else artifacts/current, else models/mini)",
    )
    images = argparse.ArgumentParser(add_help=False, parents=[artifact])
    images.add_argument(
        "images", nargs="+", metavar="IMAGE", help="a file, a folder (the images in it and below) or a quoted pattern"
    )
    images.add_argument("--json", action="store_true", help="one line of JSON for each image, as the API answers")
    objects = argparse.ArgumentParser(add_help=False)
    objects.add_argument("--min-score", type=_score, default=0.0, metavar="P", help="leave out objects below (0 to 1)")
    objects.add_argument(
        "--draw", type=Path, metavar="OUT", help="draw the objects over the image: a file, for several images a folder"
    )

    commands.add_parser("caption", parents=[images], help="describe images in a sentence").set_defaults(draw=None)
    commands.add_parser("detect", parents=[images, objects], help="find the objects in images")
    commands.add_parser("analyze", parents=[images, objects], help="both, in one pass over each image")
    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("task", metavar="TASK", help="one of the tasks below")
    asked.add_argument("--input", metavar="TEXT", help="for tasks whose input is text")
    asked.add_argument("--region", metavar="X1,Y1,X2,Y2", help="for tasks whose input is a region, in pixels")
    commands.add_parser(
        "run",
        parents=[asked, images, objects],
        help="ask any of Florence-2's tasks",
        epilog="tasks:\n" + "\n".join(f"  {task.name:<28}input: {task.input}" for task in tasks.TASKS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    server = commands.add_parser("serve", parents=[artifact], help="serve the page and the API on this machine")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    server.add_argument("--port", type=_port, default=8080, help="0 takes any free one (default: %(default)s)")
    return parser


def _score(value: str) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError("a score is from 0 to 1")
    return score


def _port(value: str) -> int:
    port = int(value)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is from 0 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
