"""What training changed, as one page to look at.

    python -m training.report --data DIR --evaluation base=DIR --evaluation adapted=DIR --evaluation int8=DIR \
        --losses losses.csv --out DIR

Each `--evaluation` names a folder that `python -m training.evaluate` wrote, in the order of time: changes are from the
first to the last. Writes `report.html`, one file that needs nothing else, and `report.png`, its essentials for a
README. The same inputs give the same bytes. Runs no model.
"""

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from handler.florence.errors import ImageError

from .. import coco, files
from ..evaluate import FIGURES, PREDICTIONS
from . import evaluations, page, poster, ranking
from .evaluations import Evaluation, ReportError

PICTURES = 24
_TOOLS = ("jinja2", "matplotlib", "onnxruntime", "pillow", "peft", "torch", "transformers")


def report(
    data: Path, split: str | None, named: Sequence[tuple[str, Path]], losses: Path | None, out: Path, pictures: int
) -> None:
    """Writes the report into `out`. Raises `ReportError`, `ImageError` and `coco.DataError`."""
    splits = coco.splits(data)
    split = split or next((name for name in splits if name.startswith("val")), splits[-1])  # as evaluate has it
    if split not in splits:
        raise ReportError(f"{data} has no split {split!r}: it has {', '.join(splits)}.")
    truth = coco.read(data, split)
    read = [evaluations.read(name, directory) for name, directory in named]
    rows = evaluations.read_losses(losses) if losses else []
    records = {record.id: record for record in truth.records}
    _check(read, records, truth.fingerprint, f"{data}, {split}")
    answered = [record for record in truth.records if record.id in read[0].answers]
    marked = [
        (record, tuple(ranking.mark(record, e.answers[record.id], e.figures.detection is not None) for e in read))
        for record in answered
    ]
    chosen = ranking.choose(marked, pictures)
    where = f"{len(answered)} {'held-out pictures' if split.startswith('val') else 'pictures'}"
    provenance = _provenance(read, truth, data, split, losses)
    out.mkdir(parents=True, exist_ok=True)
    files.write(out / "report.html", page.render(read, chosen, rows, where, provenance).encode())
    files.write(out / "report.png", poster.draw(read, chosen, rows, where))


def _check(read: Sequence[Evaluation], records: dict[int, coco.Record], fingerprint: str, where: str) -> None:
    """That all evaluations answer the same pictures, and pictures of this truth. Raises `ReportError`."""
    for each in read:
        path = each.directory / PREDICTIONS
        if strange := each.answers.keys() - records.keys():
            raise ReportError(
                f"{path} answers picture {min(strange)}, which is not in {where}: correct --data or --split."
            )
        if each.figures.data and each.figures.data != fingerprint:
            raise ReportError(
                f"{each.directory / FIGURES} was measured on other data than {where}: evaluate again, "
                "or correct --data or --split."
            )
        if each.answers.keys() != read[0].answers.keys():
            raise ReportError(
                f"{path} does not answer the same pictures as {read[0].name} ({len(each.answers)} and "
                f"{len(read[0].answers)}): figures of different pictures cannot be compared; evaluate both on the same."
            )


def _provenance(
    read: Sequence[Evaluation], truth: coco.Coco, data: Path, split: str, losses: Path | None
) -> dict[str, str]:
    things = sum(len(record.things) for record in truth.records)
    captions = sum(len(record.captions) for record in truth.records)
    rows = {
        "Data": f"{data.resolve().name}, {split}: {len(truth.records)} pictures, {captions} captions, {things} objects "
        f"of {len(truth.categories)} categories",
        "Data fingerprint": truth.fingerprint,
    }
    if aside := ", ".join(f"{count} {reason}" for reason, count in truth.set_aside.items() if count):
        rows["Set aside"] = aside
    for each in read:
        figures = each.figures
        rows[each.name] = f"{figures.model}, {figures.precision}, {figures.pictures} pictures ({each.directory})"
        if unknown := ", ".join(f"{label} ×{count}" for label, count in list(figures.unknown_labels.items())[:12]):
            rows[f"{each.name}: labels outside the categories"] = unknown
    if losses:
        rows["Losses"] = str(losses)
    installed = {found.metadata["Name"].lower(): found.version for found in metadata.distributions()}
    tools = [f"{name} {installed[name]}" for name in _TOOLS if name in installed]
    rows["Installed here"] = ", ".join([f"Python {platform.python_version()}", *tools])
    return rows


def _evaluation(text: str) -> tuple[str, Path]:
    name, equals, directory = text.partition("=")
    if not (name.strip() and equals and directory):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR, such as base=runs/base")
    return name.strip(), Path(directory)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.report", description="Show what training changed.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the COCO data that was evaluated on")
    parser.add_argument("--split", help="such as val, which is the default if there is one")
    parser.add_argument(
        "--evaluation",
        type=_evaluation,
        action="append",
        required=True,
        metavar="NAME=DIR",
        help="what training.evaluate wrote, under the name to show; again for each, in the order of time",
    )
    parser.add_argument("--losses", type=Path, help="losses.csv of training.train")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="on the sheet (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args(argv)
    names = [name for name, _ in options.evaluation]
    if len(set(names)) < len(names):
        parser.error("each --evaluation needs a name of its own")
    if options.pictures < 1:
        parser.error("--pictures must be at least 1")
    try:
        report(options.data, options.split, options.evaluation, options.losses, options.out, options.pictures)
    except (ReportError, ImageError, coco.DataError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 1
    print(f"{options.out / 'report.html'} and {options.out / 'report.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
