"""How good a model is on pictures whose truth is known: the served artifact itself or, to compare, the torch model.

    python -m training.evaluate --artifact DIR --data DIR --out DIR
    python -m training.evaluate --checkpoint DIR_OR_HUB_ID [--adapter DIR] --data DIR --out DIR

Asks each picture's caption and boxes together, as they are served, and writes into --out:

    predictions.jsonl        a line for each picture, as it goes: an interrupted run goes on where it stopped
    run.json                 what was run on what: another model or other data are refused
    captions_results.json    in COCO's result format, as pycocoevalcap and COCO's server take it
    detections_results.json  the same for boxes, as `COCO.loadRes` takes it
    figures.json             exact match, BLEU, ROUGE-L, CIDEr; COCO's twelve figures; calibration; time

What the data has no truth for is null. Does not draw anything: `training.report` does.
"""

import argparse
import json
import statistics
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from handler.florence import artifact, tasks
from handler.florence.errors import FlorenceError
from handler.florence.predictor import Predictor

from . import answering, coco, files
from .answering import Answer
from .metrics import captions, ptb
from .metrics.calibration import calibrate
from .metrics.detection import NAMES, Truth

PREDICTIONS, RUN, FIGURES = "predictions.jsonl", "run.json", "figures.json"
CAPTION_RESULTS, DETECTION_RESULTS = "captions_results.json", "detections_results.json"
IMAGE_SIZE = 384  # pixels a side, for a checkpoint without an adapter that says what it was trained at

Figures = dict[str, Any]


class EvaluationError(Exception):
    """The evaluation cannot be run as asked; the message names the file and the mend."""


def evaluate(
    predictor: Predictor,
    identity: str,
    data: coco.Coco,
    split: str,
    limit: int | None,
    out: Path,
    load: Callable[[], Predictor] | None = None,
    processes: int = 1,
) -> Figures:
    """Answers the first `limit` pictures of `data`, or those of them that `out` has no answers to, measures and writes
    everything; returns the figures. `identity` tells this model from others; `load` and `processes` are those of
    `answering.answers`.

    Raises `EvaluationError` if `out` holds another run, no picture can be read, or a process was killed.
    """
    records = data.records[:limit]
    out.mkdir(parents=True, exist_ok=True)
    _claim(
        out,
        {
            "model": identity,
            "image_size": predictor.manifest.image_size,
            "prompts": tasks.fingerprint(),
            "data": data.fingerprint,
            "split": split,
            "limit": limit,
        },
    )
    done = _answers(out / PREDICTIONS)
    waiting = [record for record in records if record.id not in done]
    unreadable = 0
    with (out / PREDICTIONS).open("a", encoding="utf-8") as file:
        said = zip(waiting, answering.answers(predictor, waiting, load, processes), strict=True)
        bar = tqdm(said, "evaluating", len(records), initial=len(records) - len(waiting), unit="picture", disable=None)
        try:
            for record, answer in bar:
                if isinstance(answer, str):
                    tqdm.write(f"{record.path} is left out: {answer}", file=sys.stderr)
                    unreadable += 1
                    continue
                file.write(json.dumps(answer) + "\n")
                file.flush()
                done[record.id] = answer
        except BrokenProcessPool:
            raise EvaluationError(
                "A process that answers was killed, most likely for want of memory: the same command with "
                "--processes 1 goes on with one."
            ) from None
    answered = [record for record in records if record.id in done]
    if not answered:
        raise EvaluationError(f"No picture of {split} could be read: see the messages above, or name other --data.")
    figures = {
        "model": predictor.manifest.name,
        "precision": predictor.manifest.precision,
        "pictures": len(answered),
        "set_aside": dict(data.set_aside) | ({"unreadable pictures": unreadable} if unreadable else {}),
        "data": data.fingerprint,
        **_measure(data, answered, done, out),
        "milliseconds": {"median": statistics.median(done[record.id]["milliseconds"] for record in answered)},
    }
    files.write_json(out / FIGURES, _rounded(figures))
    return figures


def _claim(out: Path, run: dict[str, Any]) -> None:
    """Writes `run.json`, or holds this run against the one that is there."""
    file = out / RUN
    if not file.exists():
        if (out / PREDICTIONS).exists():
            raise EvaluationError(f"{out} holds {PREDICTIONS} without {RUN}: name another folder with --out.")
        files.write_json(file, run)
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{file} is damaged ({error}): name another folder with --out.") from None
    changed = [f"{key} {before.get(key)} -> {run[key]}" for key in run if before.get(key) != run[key]]
    if changed:
        raise EvaluationError(f"{out} holds another run ({'; '.join(changed)}): name another folder with --out.")


def _answers(path: Path) -> dict[int, Answer]:
    """The answers written so far, by picture; a last line that was cut in writing is taken off the file."""
    if not path.exists():
        return {}
    whole, newline, cut = path.read_bytes().rpartition(b"\n")
    if cut:
        with path.open("rb+") as file:
            file.truncate(len(whole) + len(newline))
    answers = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            answer = json.loads(line)
            answers[answer["image_id"]] = answer
        except (ValueError, TypeError, KeyError):
            raise EvaluationError(f"{path}, line {number} is damaged: name another folder with --out.") from None
    return answers


def _measure(data: coco.Coco, records: Sequence[coco.Record], answers: dict[int, Answer], out: Path) -> dict[str, Any]:
    """The figures that need truth; writes the results in COCO's formats."""
    ids = [record.id for record in records]
    said = [{"image_id": id_, "caption": answers[id_]["caption"]["text"]} for id_ in ids]
    files.write(out / CAPTION_RESULTS, json.dumps(said).encode())
    captioned = [(answers[record.id]["caption"], record.captions) for record in records if record.captions]
    exact = [caption["text"] in [" ".join(one.split()) for one in references] for caption, references in captioned]
    pairs = [
        (ptb.tokens(caption["text"]), [ptb.tokens(one) for one in references]) for caption, references in captioned
    ]
    figures: dict[str, Any] = {
        "captions": {
            "exact": sum(exact) / len(exact),
            "bleu": captions.bleu(pairs),
            "rouge_l": captions.rouge_l(pairs),
            "cider": captions.cider(pairs),
        }
        if captioned
        else None,
        "detection": None,
        "unknown_labels": {},
    }
    scored = [(caption["score"], right) for (caption, _), right in zip(captioned, exact, strict=True)]
    calibration: dict[str, Any] = {"captions": asdict(calibrate(scored)) if captioned else None, "detections": None}
    if data.instances:
        truth = Truth(data.instances)
        ids = [id_ for id_ in ids if id_ in truth.images]  # some may have captions alone
        objects = [(id_, one) for id_ in ids for one in answers[id_]["objects"]]
        found = [
            _result(id_, data.categories[one["label"]], one) for id_, one in objects if one["label"] in data.categories
        ]
        files.write(out / DETECTION_RESULTS, json.dumps(found).encode())
        measured = truth.measure(found, ids)
        constant = truth.measure([one | {"score": 1.0} for one in found], ids)
        figures["detection"] = {
            **measured.figures,
            "per_category": measured.per_category,
            "map_constant_scores": constant.figures["map"],
        }
        figures["unknown_labels"] = Counter(one["label"] for _, one in objects if one["label"] not in data.categories)
        calibration["detections"] = asdict(calibrate(measured.judged))
    return figures | {"calibration": calibration}


def _result(image: int, category: int, found: Answer) -> dict[str, Any]:
    x1, y1, x2, y2 = found["box"]
    return {
        "image_id": image,
        "category_id": category,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": found["score"],
    }


def _rounded(value: Any) -> Any:
    """Six digits: the rest is noise of the summation's order."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value


def _table(figures: dict[str, Any]) -> Iterator[str]:
    """What is printed at the end."""
    yield f"{figures['model']} in {figures['precision']}: {figures['pictures']} pictures"
    if figures["set_aside"]:
        yield "  set aside: " + ", ".join(f"{count} {reason}" for reason, count in figures["set_aside"].items())
    rows: list[tuple[str, float | None]] = []
    if said := figures["captions"]:
        rows += [("exactly right", said["exact"]), ("BLEU-4", said["bleu"][3])]
        rows += [("ROUGE-L", said["rouge_l"]), ("CIDEr", said["cider"])]
    if found := figures["detection"]:
        rows += [(name, found[name]) for name in NAMES[:3]]
        rows += [("map, all scores 1", found["map_constant_scores"]), ("ar100", found["ar100"])]
    for name, calibration in figures["calibration"].items():
        if calibration:
            rows.append((f"error of {name}' scores", calibration["error"]))
    yield from (f"  {name:<28}{'-' if value is None else format(value, '.4f')}" for name, value in rows)
    if unknown := figures["unknown_labels"]:
        named = ", ".join(label for label, _ in Counter(unknown).most_common(5))
        yield f"  {sum(unknown.values())} objects of {len(unknown)} labels that the data does not have: {named}"
    yield f"  {figures['milliseconds']['median']:.0f} ms a picture (median)"


def _load(options: argparse.Namespace) -> tuple[Predictor, str, Callable[[], Predictor] | None]:
    """The model asked for, what tells it from others and, for a checkpoint, what loads it again."""
    if options.artifact:
        if options.adapter or options.image_size or options.revision or options.processes:
            raise EvaluationError(
                "--adapter, --image-size, --revision and --processes belong to --checkpoint: an artifact holds its "
                "own, and answers with all cores."
            )
        return Predictor(options.artifact), artifact.sha256(options.artifact / artifact.WEIGHTS), None
    from .reference import Reference, fetch, identity  # torch: ten seconds that measuring an artifact does not need

    checkpoint = fetch(options.checkpoint, options.revision)
    size = options.image_size or _trained_at(options.adapter) or IMAGE_SIZE
    name = None if options.revision is None else options.checkpoint  # the hub's files lie in a folder of the commit's
    load = partial(Reference, checkpoint, options.adapter, size, name)
    return load(), identity(checkpoint, options.adapter), load


def _trained_at(adapter: Path | None) -> int | None:
    """The image size that stands beside the adapter, if any."""
    file = adapter / "training.json" if adapter else None
    if file is None or not file.is_file():
        return None
    try:
        return cast(int, json.loads(file.read_text(encoding="utf-8"))["image_size"])
    except (ValueError, TypeError, KeyError) as error:
        raise EvaluationError(f"{file} is damaged ({error!r}): give the size with --image-size.") from None


def _read(directory: Path, split: str | None) -> tuple[coco.Coco, str]:
    """The data of the split asked for; without one the held-out split or, of an undivided set, everything."""
    names = coco.splits(directory)
    chosen = split or next((name for name in names if name.startswith("val")), names[-1] if names else "val")
    return coco.read(directory, chosen), chosen


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Measure a model.")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--artifact", type=Path, metavar="DIR", help="the served artifact")
    model.add_argument("--checkpoint", metavar="DIR_OR_HUB_ID", help="a checkpoint, run by torch in fp32")
    parser.add_argument("--revision", help="the hub's commit; needed with a hub id")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="a LoRA adapter to merge into the checkpoint")
    parser.add_argument(
        "--image-size", type=int, help=f"pixels a side for a checkpoint (default: the adapter's, or {IMAGE_SIZE})"
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help=f"that answer for a checkpoint side by side, each with the model (default: {answering.PROCESSES})",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", required=True, help="a COCO dataset")
    parser.add_argument("--split", help="such as val, which is the default if there is one")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N pictures only")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="folder to write; goes on where it stopped"
    )
    options = parser.parse_args(argv)
    try:
        data, split = _read(options.data, options.split)
        predictor, identity, load = _load(options)
        processes = options.processes or answering.PROCESSES
        figures = evaluate(predictor, identity, data, split, options.limit, options.out, load, processes)
    except (EvaluationError, FlorenceError, coco.DataError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    print("\n".join(_table(figures)))
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="transformers|peft")
    sys.exit(main())
