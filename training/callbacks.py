"""What the training loop writes as it goes: losses, curves, and checkpoints that are whole."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import rotate_checkpoints

from . import files

KEPT = 2  # checkpoints: the newest and the best
_WHOLE = "whole"  # stands in a checkpoint that was written to its end
_COLUMNS = ("step", "loss", "eval_loss", "learning_rate")


class LossFile(TrainerCallback):
    """`losses.csv` out of the trainer's own history, which its checkpoints carry: a resumed run has no row twice."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        rows: dict[int, dict[str, Any]] = {}
        for entry in state.log_history:
            rows.setdefault(entry["step"], {}).update(entry)
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows.values() if "loss" in row or "eval_loss" in row)
        files.write(self.path, text.getvalue().encode())


class Curves(TensorBoardCallback):
    """TensorBoard's files, where what a killed run had written after its last checkpoint counts no more."""

    def __init__(self, directory: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.directory = directory

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self.tb_writer = SummaryWriter(str(self.directory), purge_step=state.global_step + 1)
        super().on_train_begin(args, state, control, **kwargs)  # type: ignore[no-untyped-call]


class Epochs(TrainerCallback):
    """The trainer takes the whole run for one epoch (see `dataset.Shuffled`); logs speak of the data's."""

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        state.epoch = self.epochs * state.global_step / state.max_steps


class Checkpoints(TrainerCallback):
    """Marks a checkpoint once every process has written its part, and only then removes older ones.

    The trainer writes a checkpoint's files one after the other, and would remove the older ones first: killed between
    them, nothing whole might be left.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.best_global_step:  # the folder may have been moved since
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE).touch()
            rotate_checkpoints(args.output_dir, KEPT, state.best_model_checkpoint)


def last_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end, if any; torn ones are passed over."""
    found = checkpoints.glob("checkpoint-*") if checkpoints.is_dir() else ()
    whole = [path for path in found if (path / _WHOLE).exists()]
    return max(whole, key=_step, default=None)


def stopped_early(checkpoint: Path | None) -> int | None:
    """The step at which the run of this checkpoint was over before its time, having lost its patience, if it was."""
    if checkpoint is None:
        return None
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    patience = state["stateful_callbacks"].get("EarlyStoppingCallback")
    if patience is None:
        return None
    waited = patience["attributes"]["early_stopping_patience_counter"]
    return state["global_step"] if waited >= patience["args"]["early_stopping_patience"] else None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])
