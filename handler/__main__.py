"""The command line: `python -m handler caption photo.jpg`, and what `--help` lists.

Answers go to stdout or a file, all else to stderr. The model's libraries are imported when they are needed, so that
--help and mistakes answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from .cli import parser
from .florence import tasks
from .florence.errors import FlorenceError
from .server import serve
from .settings import Settings, SettingsError, load
from .storage.errors import NotSetUp


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code: 0, 1 if something failed, 130 if interrupted."""
    built = parser.build()
    options = built.parse_args(arguments)
    if "watch" in options and bool(options.images) == bool(options.watch):
        built.error("name images, or a folder to --watch")
    try:
        if options.command == "completion":
            from .cli.completion import script

            print(script(options.shell, options.name))
            return 0
        settings = load()
        if options.artifact:
            settings = replace(settings, artifact=options.artifact)
        if options.command == "serve":
            serve(settings, options.host, options.port)
            return 0
        return _answer(options, settings)
    except (FlorenceError, SettingsError, NotSetUp) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "handler":
            raise
        print(
            f"error: There is no {error.name} in {sys.executable}: `make run` makes an environment that has it, "
            "and `source .venv/bin/activate` takes that one.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our stdout has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it exits
        return 1


def _answer(options: argparse.Namespace, settings: Settings) -> int:
    """Answers for all images of the command; returns its exit code."""
    if options.command == "run":
        tasks.find(options.task)  # an unknown task is a mistake of the command, not of each file
    from .cli import commands, output, sources, work
    from .cli.pictures import Pictures
    from .florence.predictor import Predictor

    question = commands.question(options)
    form = commands.form(options, question)
    images = sources.watch(options.watch) if options.watch else sources.find(options.images)
    drawn = getattr(options, "draw", None)
    pictures = Pictures(drawn, images.several) if drawn else None
    predictor = Predictor(settings.artifact, settings.threads)
    if images.several:
        predictor.self_test()
    if predictor.manifest.notice:
        print(f"note: {predictor.manifest.notice}", file=sys.stderr)
    writer = output.writer(form, options.out, options.annotations, images.several, predictor.manifest.id)
    tally = work.Tally()
    try:
        work.answer_all(
            images,
            lambda data: question.answer(predictor.manifest, predictor.predict(data, question.asks)),
            writer,
            pictures,
            tally,
        )
    except KeyboardInterrupt:
        if not options.watch:  # which ends in no other way
            print(f"interrupted: {tally}" + ("; the same command goes on" if options.out else ""), file=sys.stderr)
            return 130
    finally:
        writer.close()
    if options.out:
        print(tally, file=sys.stderr)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
