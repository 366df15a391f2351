"""COCO -> a LoRA adapter for Florence-2; resumable at any moment.

    python -m training.train --base models/mini-checkpoint --data runs/world --image-size 128 --out runs/adapter
    accelerate launch -m training.train --base HUB_ID --revision COMMIT --data coco --out runs/coco

The second uses all GPUs (beside timm without torchvision, as this project's own environment has them, `accelerate` does
not start: `python -m accelerate.commands.launch` does).

The loop is transformers' Trainer. Prompts, pixels and coordinates come from `handler.florence`: what is trained is what
is served. Writes into `--out`:

    adapter/        the adapter of the best held-out loss (see `lora.py`), once training has ended
    losses.csv      step, loss, eval_loss, learning_rate
    tensorboard/    the same and more, for `tensorboard --logdir`
    checkpoints/    the last states; the same command into the same folder goes on from there
    run.json        what was asked for: another command into the same folder is refused

Does not evaluate captions or boxes: `evaluate.py` does, on the served artifact.
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from handler.florence import tasks
from handler.florence.errors import FlorenceError

from . import base, callbacks, coco, files, lora
from .dataset import STRIDE, Collate, Lessons, Shuffled

HELD_OUT = 256  # pictures that the held-out loss is measured on, at most
LOGS = 200  # rows of losses.csv in a whole run, at most
LOGS_A_CHECKPOINT = 10  # after each of these the held-out loss is measured and the state saved
WARM_UP = 0.05  # share of the steps
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))  # as the launcher says


class LessonTrainer(Trainer):
    """The Trainer, with an order of pictures that depends on the seed alone."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        lessons: Any = self.train_dataset
        return Shuffled(len(lessons), self.args.seed, self.args.max_steps * _batch(self.args))


class SettingsError(Exception):
    """What is asked for cannot be had: one line that says why and what to ask for instead."""


def train(options: argparse.Namespace) -> Path:
    """Trains, or goes on where an earlier run into the same folder stopped, and returns the adapter's folder.

    Raises `BaseError`, `DataError` and `SettingsError`.
    """
    if options.image_size % STRIDE or options.image_size < STRIDE:
        raise SettingsError(f"--image-size {options.image_size} is no multiple of {STRIDE}, the tower's stride.")
    preset = lora.PRESETS[options.preset]
    options.learning_rate = options.learning_rate or preset.learning_rate
    precision = _precision(options.precision)
    training, held_out = _pictures(options.data)
    out: Path = options.out
    _claim(out, _asked(options) | {"data": training.fingerprint})
    adapter = out / "adapter"
    if (adapter / lora.WEIGHTS).exists():
        print(f"{adapter} is there already: nothing to train.")
        return adapter

    model, words = base.load(options.base, options.revision)
    size, mix = options.image_size, dict(options.tasks)
    lessons = Lessons(training.records, words, size, mix, options.seed, flip=options.flip, jitter=options.jitter)
    check = Lessons(held_out.records, words, size, mix, options.seed, flip=0.0, jitter=0.0)
    adapted = lora.attach(model, preset, options.seed)
    batch = options.batch * options.accumulate * PROCESSES  # pictures to one step
    steps = max(1, int(len(lessons) * options.epochs) // batch)
    begun = callbacks.last_whole(out / "checkpoints")
    watching: list[TrainerCallback] = [
        callbacks.Epochs(steps * batch / len(lessons)),
        callbacks.LossFile(out / "losses.csv"),
        callbacks.Curves(out / "tensorboard"),
        callbacks.Checkpoints(),
    ]
    if options.patience:
        watching.append(EarlyStoppingCallback(options.patience))
    trainer = LessonTrainer(
        adapted,
        _arguments(options, precision, steps, callbacks.stopped_early(begun)),
        data_collator=Collate(size, model.config.image_token_id),
        train_dataset=lessons,
        eval_dataset=check,
        callbacks=watching,
    )
    if trainer.is_world_process_zero():
        count, total = lora.trainable(adapted)
        print(f"{len(lessons)} pictures to learn from, {len(check)} held out; {_set_aside(training)}")
        print(f"trainable: {count:,} of {total:,} parameters ({count / total:.2%}); {steps} steps in {precision}")
        if begun:
            print(f"going on from {begun}")
    trainer.train(resume_from_checkpoint=str(begun) if begun else None)
    broken = [_passed_over(trainer, met) for met in (lessons, check)]
    if trainer.is_world_process_zero():
        provenance = lora.Provenance(
            base=_name(options.base),
            revision=options.revision,
            image_size=size,
            prompts=tasks.fingerprint(),
            data=training.fingerprint,
            preset=options.preset,
            seed=options.seed,
            steps=trainer.state.global_step,
            tools=lora.tools(),
        )
        lora.save(adapted, adapter, provenance)
        if any(broken):
            print(
                f"pictures passed over, another in the place of each: {broken[0]} to learn from, {broken[1]} held out"
            )
        print(f"{adapter}: held-out loss {trainer.state.best_metric:.4f}")
    return adapter


def _arguments(options: argparse.Namespace, precision: str, steps: int, stopped: int | None) -> TrainingArguments:
    """`steps` of the schedule; a run that had `stopped` before its time has no more to do."""
    log_every = math.ceil(steps / LOGS)
    check_every = log_every * LOGS_A_CHECKPOINT
    arguments = TrainingArguments(
        output_dir=str(options.out / "checkpoints"),
        max_steps=stopped or steps,
        per_device_train_batch_size=options.batch,
        per_device_eval_batch_size=options.batch,
        gradient_accumulation_steps=options.accumulate,
        activation_checkpointing=options.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(WARM_UP * steps),
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not torch.cuda.is_available(),
        logging_steps=log_every,
        logging_nan_inf_filter=False,
        disable_tqdm=not sys.stderr.isatty(),
        eval_strategy="steps",
        eval_steps=check_every,
        save_steps=check_every,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        restore_callback_states_from_checkpoint=True,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=options.workers,
        ddp_find_unused_parameters=False,
        report_to="none",
        seed=options.seed,
    )
    if arguments.n_gpu > 1:
        print(f"one of {arguments.n_gpu} GPUs is used; `accelerate launch -m training.train ...` uses them all")
        arguments._n_gpu = 1  # the Trainer would run them by DataParallel, whose batches are not those of `steps`
    return arguments


def _pictures(directory: Path) -> tuple[coco.Coco, coco.Coco]:
    """What to learn from, and what to hold out: COCO's own splits, or the last twentieth of an undivided set."""
    names = coco.splits(directory) or ("train",)  # which says what is missing
    training = next((name for name in names if name.startswith("train")), names[0])
    other = next((name for name in names if name.startswith("val") and name != training), None)
    if other is not None:
        read, held_out = coco.read(directory, training), coco.read(directory, other)
        return read, held_out.only(held_out.records[:HELD_OUT])
    read = coco.read(directory, training)
    count = min(HELD_OUT, max(1, len(read.records) // 20))
    return read.only(read.records[:-count]), read.only(read.records[-count:])


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What shapes the result: an interrupted run must be asked the same."""
    names = ("base", "revision", "preset", "image_size", "tasks", "epochs", "batch", "accumulate", "learning_rate")
    return {
        **{name: getattr(options, name) for name in names},
        **{name: getattr(options, name) for name in ("precision", "seed", "flip", "jitter", "patience")},
        "processes": PROCESSES,
    }


def _claim(out: Path, asked: dict[str, Any]) -> None:
    """Writes `run.json`, or holds it against the one that is there."""
    file = out / "run.json"
    asked = json.loads(json.dumps(asked))
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SettingsError(f"{file} is damaged ({error}): name another folder.") from None
        changed = [f"{key} {before.get(key)!r} -> {asked[key]!r}" for key in asked if before.get(key) != asked[key]]
        if changed:
            raise SettingsError(f"{out} holds a run with other settings ({'; '.join(changed)}): name another folder.")
    else:
        out.mkdir(parents=True, exist_ok=True)
        files.write_json(file, asked)


def _precision(asked: str) -> str:
    """What is asked for or, of itself, bf16 where the GPU has it (Ampere and later), fp16 on older ones such as the T4,
    fp32 on a CPU. Raises `SettingsError` for fp16 without a GPU."""
    if not torch.cuda.is_available():
        if asked == "fp16":
            raise SettingsError("fp16 needs a GPU; without one take --precision bf16 or fp32.")
        return "fp32" if asked == "auto" else asked
    if asked == "auto":
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    return asked


def _batch(arguments: TrainingArguments) -> int:
    """Pictures to one step, over all processes."""
    processes: int = arguments.world_size
    return arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * processes


def _passed_over(trainer: Trainer, lessons: Lessons) -> int:
    """How many pictures could not be read or trusted, whichever processes met them; all must ask."""
    met = lessons.passed_over.int().to(trainer.args.device)
    return int((trainer.accelerator.reduce(met) > 0).sum())


def _name(base: str) -> str:
    return Path(base).resolve().name if Path(base).is_dir() else base


def _set_aside(data: coco.Coco) -> str:
    return "set aside: " + (", ".join(f"{count} {reason}" for reason, count in data.set_aside.items()) or "nothing")


def _weight(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return tasks.find(name).token, float(weight or 1)
    except (FlorenceError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code. Errors are one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description="Train a LoRA adapter for Florence-2 on pictures in COCO's format."
    )
    add = parser.add_argument
    add("--base", required=True, help="folder of a checkpoint in transformers' layout, or a hub id")
    add("--revision", help="the hub's commit; needed with a hub id")
    add("--data", type=Path, required=True, help="folder with COCO's annotations and pictures")
    add("--out", type=Path, required=True, help="folder of the run; an interrupted run goes on")
    add("--preset", choices=lora.PRESETS, default="text", help="what LoRA is attached to (default: %(default)s)")
    add("--image-size", type=int, default=384, help="pixels a side, as it will be served (default: %(default)s)")
    add(
        "--tasks",
        type=_weight,
        nargs="+",
        default=[("<CAPTION>", 1.0), ("<OD>", 1.0)],
        metavar="TASK=WEIGHT",
        help="how often each task is asked (default: caption=1 detect=1)",
    )
    add("--epochs", type=float, default=1.0, help="(default: %(default)s)")
    add("--batch", type=int, default=8, help="pictures on one device at a time (default: %(default)s)")
    add("--accumulate", type=int, default=1, help="batches to one step (default: %(default)s)")
    add("--learning-rate", type=float, help="at its peak (default: the preset's)")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="(default: what the device has)")
    add("--gradient-checkpointing", action="store_true", help="less memory, a third more time")
    add("--flip", type=float, default=0.5, help="share of pictures mirrored (default: %(default)s)")
    add("--jitter", type=float, default=0.2, help="how far the scale varies (default: %(default)s)")
    add("--patience", type=int, default=5, help="stop after so many checks without progress; 0: never")
    add("--workers", type=int, default=min(4, (os.cpu_count() or 2) - 1), help="processes that read pictures")
    add("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    try:
        train(options)
    except (base.BaseError, coco.DataError, SettingsError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="transformers|peft")
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    sys.exit(main())
