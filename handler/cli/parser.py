"""The options. Imports none of the model's libraries, so that --help and mistakes answer at once."""

import argparse
from pathlib import Path

from .. import __version__
from ..florence import tasks
from ..formats import Format

PROGRAM = "python -m handler"
TEXT = "text"  # lines for people
EXAMPLES = """\
examples:
  {0} caption photo.jpg
  {0} caption photo.jpg --detail paragraph
  {0} detect photo.jpg --classes "dog,red ball" --draw boxes.png
  {0} analyze holiday/ 'more/**/*.png' --out answers.jsonl
  {0} detect val2017/ --format coco --out results.json
  {0} analyze s3://bucket/2026/ --out answers.jsonl
  {0} analyze --watch inbox --out answers.jsonl --draw drawn
  {0} read receipt.jpg
  {0} segment photo.jpg --text "the dog"
  {0} run region-category photo.jpg --region 20,40,180,200
  {0} serve --port 8080

A command with --out that was stopped goes on when it is given again: images whose answers are in the file are skipped.
An image that fails is one line on stderr, and the others go on.

exit codes: 0 all answered, 1 some failed or nothing could be done, 2 wrong usage, 130 interrupted
"""


def build(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The parser; `program` is how it is called."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Captions and boxes from Florence-2.",
        epilog=EXAMPLES.format(program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    artifact, images, objects, classes, detail, region = (
        _artifact(),
        _images(),
        _objects(),
        _classes(),
        _detail(),
        _region(),
    )
    parents = [artifact, images]

    commands.add_parser("caption", parents=[*parents, detail], help="describe images")
    commands.add_parser("detect", parents=[*parents, classes, objects], help="find the objects in images")
    commands.add_parser(
        "analyze", parents=[*parents, detail, classes, objects], help="both, in one pass over each image"
    )
    commands.add_parser("classify", parents=[*parents, classes], help="name what is to be seen, each name once")
    ground = commands.add_parser("ground", parents=[*parents, objects], help="find the phrases of a caption")
    ground.add_argument("--text", required=True, help="the caption")
    segment = commands.add_parser("segment", parents=[*parents, region, objects], help="outline one thing")
    segment.add_argument("--text", help="what it is")
    read = commands.add_parser("read", parents=[*parents, objects], help="read the text in images")
    read.add_argument("--no-regions", action="store_true", help="do not tell where each piece stands")
    commands.add_parser(
        "run",
        parents=[_task(), *parents, region, objects],
        help="ask any of Florence-2's tasks",
        epilog="tasks:\n" + "\n".join(f"  {task.name:<28}input: {task.input}" for task in tasks.TASKS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    server = commands.add_parser("serve", parents=[artifact], help="serve the page and the API on this machine")
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    server.add_argument("--port", type=_port, default=8080, help="0 takes any free one (default: %(default)s)")
    completion = commands.add_parser(
        "completion",
        help="print a script that completes these commands in a shell",
        epilog='for bash:\n  alias florence="python -m handler"\n  source <(python -m handler completion bash)',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    completion.add_argument("--name", default="florence", help="what the commands begin with (default: %(default)s)")
    return parser


def _artifact() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument(
        "--artifact",
        type=Path,
        metavar="DIR",
        help="folder of the model (default: FLORENCE_ARTIFACT, else artifacts/current, else models/mini)",
    )
    return part


def _images() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument(
        "images",
        nargs="*",
        metavar="IMAGE",
        help="a file, a folder (the images in it and below), a quoted pattern, or s3://BUCKET/PREFIX",
    )
    part.add_argument(
        "--watch", type=Path, metavar="FOLDER", help="instead: the images in this folder, and each that comes into it"
    )
    part.add_argument(
        "--format",
        choices=[TEXT, *Format],
        help="text for people (the default); JSON Lines as the API answers (native), as Hugging Face does (hf), or as "
        "Rekognition does; or COCO results in one JSON array",
    )
    part.add_argument(
        "--json", dest="format", action="store_const", const=Format.NATIVE, help="short for --format native"
    )
    part.add_argument(
        "--out", type=Path, metavar="FILE", help="write there (JSON Lines if no other format is named), and go on there"
    )
    part.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="for --format coco: a COCO file with the numbers of images and categories (default: the number that an "
        "image's name ends in, and COCO's 80 categories)",
    )
    return part


def _task() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument("task", metavar="TASK", help="one of the tasks below")
    part.add_argument("--input", metavar="TEXT", help="for tasks whose input is text")
    return part


def _objects() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument("--min-score", type=_score, default=0.0, metavar="P", help="leave out objects below (0 to 1)")
    part.add_argument("--max-objects", type=_count, metavar="N", help="keep so many of each image, the surest")
    part.add_argument(
        "--draw", type=Path, metavar="OUT", help="draw the objects over the image: a file, for several images a folder"
    )
    return part


def _classes() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument(
        "--classes", type=_names, default=[], metavar="A,B", help="look for these alone, whatever they are"
    )
    return part


def _detail() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument(
        "--detail",
        choices=["brief", "detailed", "paragraph"],
        default="brief",
        help="a sentence, some sentences or a paragraph (default: %(default)s)",
    )
    return part


def _region() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False)
    part.add_argument("--region", metavar="X1,Y1,X2,Y2", help="for what is asked of a region, in pixels")
    return part


def _names(value: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))


def _score(value: str) -> float:
    score = float(value)
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError("a score is from 0 to 1")
    return score


def _count(value: str) -> int:
    count = int(value)
    if count < 1:
        raise argparse.ArgumentTypeError("a count is at least 1")
    return count


def _port(value: str) -> int:
    port = int(value)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is from 0 to 65535")
    return port
