"""Train the miniature from scratch on the drawn world; resumable at any moment.

    python -m training.pretrain --out runs/mini

The answer's loss alone does not teach the vision tower to see, so a dense auxiliary head on its last grid (is there a
thing's centre in this cell; its shape, colour, texture and box) learns beside it, with a weight that falls to a tenth.
Location tokens are learnt against a bell of bins around the true one: a neighbour is nearly right, and says so.

Writes `losses.csv` and `state.pt` while it works and, at the end, `checkpoint/` (transformers' native layout, tokenizer
included).
"""

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm
from transformers import Florence2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from handler.florence import locations
from handler.florence.image import to_pixels

from . import miniature, shapes
from .lessons import TASKS, lesson

BATCH = 32  # pictures
ALWAYS = ("<CAPTION>", "<OD>")  # asked of each picture
SOMETIMES = tuple(task for task in TASKS if task not in ALWAYS)  # and one of these: the vision pass is shared
LESSONS = len(ALWAYS) + 1
LEARNING_RATE = 7e-4  # peak of one cycle
WARM_UP = 0.06  # share of the steps
CLIP = 1.0  # norm of the gradient
BELL = 4.0  # bins: standard deviation around the true location; one pixel of the miniature's image is 8 bins
DENSE_UNTIL = 0.35  # share of the steps over which the auxiliary weight falls from 1 to 0.1
CROWDING = (0.06, 0.14, 0.26)  # shares of the steps from which two, three and four things are drawn
SAVE_EVERY = 500  # steps

_PAD, _START, _IGNORED = 1, 2, -100


@dataclass
class Batch:
    """`pixels` [B, 3, S, S]; one row per lesson in `picture` [N], `prompt` [N, P], `labels` [N, A]; `dense`
    [B, G, G, 8] float32: is there a centre, shape, colour, texture, and the box x1, y1, x2, y2 in 0..1."""

    pixels: Tensor
    picture: Tensor
    prompt: Tensor
    labels: Tensor
    dense: Tensor


class Lessons(IterableDataset[Batch]):
    """Endless fresh batches from step `start` on; the same ones however often the run is interrupted."""

    def __init__(self, tokenizer: Tokenizer, seed: int, start: int, steps: int) -> None:
        self.tokenizer, self.seed, self.start, self.steps = tokenizer, seed, start, steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.steps):
            most = 1 + sum(step >= share * self.steps for share in CROWDING)
            yield self._batch(step, most)

    def _batch(self, step: int, most: int) -> Batch:
        rng = np.random.default_rng((self.seed, step, 1))
        scenes = [shapes.draw(self.seed, step * BATCH + i, most=most) for i in range(BATCH)]
        asked = []
        for i, scene in enumerate(scenes):
            for task in (*ALWAYS, SOMETIMES[rng.choice(len(SOMETIMES))]):
                asked.append((i, lesson(scene, task, rng)))
        prompts = [self.tokenizer.encode(one.prompt).ids for _, one in asked]
        answers = [self.tokenizer.encode(one.answer).ids for _, one in asked]
        return Batch(
            pixels=torch.from_numpy(np.concatenate([to_pixels(s.image, miniature.IMAGE_SIZE) for s in scenes])),
            picture=torch.tensor([i for i, _ in asked]),
            prompt=_pad(prompts, _PAD),
            labels=_pad(answers, _IGNORED),
            dense=torch.from_numpy(np.stack([_grid(scene) for scene in scenes])),
        )


def _pad(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


def _grid(scene: shapes.Scene) -> np.ndarray:
    """What the auxiliary head should say of each cell of the tower's last grid: float32 [G, G, 8]."""
    cells = miniature.IMAGE_SIZE // 32
    grid = np.zeros((cells, cells, 8), np.float32)
    width, height = scene.image.size
    for thing in scene.things:
        x1, y1, x2, y2 = np.array(thing.box) / (width, height, width, height)
        row, column = int((y1 + y2) / 2 * cells), int((x1 + x2) / 2 * cells)
        kinds = (
            shapes.CATEGORIES.index(thing.shape),
            list(shapes.COLOURS).index(thing.colour),
            shapes.TEXTURES.index(thing.texture),
        )
        grid[row, column] = [1, *kinds, x1, y1, x2, y2]
    return grid


class DenseHead(nn.Module):
    """Reads the tower's last feature map [B, C, G, G], cell by cell; thrown away after training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sizes = (1, len(shapes.CATEGORIES), len(shapes.COLOURS), len(shapes.TEXTURES), 4)
        self.norm = nn.LayerNorm(channels)
        self.read = nn.Linear(channels, sum(self.sizes))

    def loss(self, features: Tensor, dense: Tensor) -> Tensor:
        """The sum of the losses of presence, kinds and box."""
        said = self.read(self.norm(features.permute(0, 2, 3, 1))).split(self.sizes, dim=-1)
        there = dense[..., 0]
        total: Tensor = 2 * functional.binary_cross_entropy_with_logits(said[0][..., 0], there)
        mask = there > 0
        for i in (1, 2, 3):
            total = total + functional.cross_entropy(said[i][mask], dense[..., i][mask].long())
        return total + 10 * functional.smooth_l1_loss(said[4][mask].sigmoid(), dense[..., 4:][mask], beta=0.05)


class AnswerLoss(nn.Module):
    """Cross entropy of the answer's tokens; a location's target is a bell over its neighbours."""

    bell: Tensor

    def __init__(self, first_location: int) -> None:
        super().__init__()
        self.first = first_location
        bins = torch.arange(locations.BINS, dtype=torch.float32)
        bell = torch.exp(-(((bins[:, None] - bins[None]) / BELL) ** 2) / 2)
        self.register_buffer("bell", bell / bell.sum(1, keepdim=True))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`logits` [N, A, V], `labels` [N, A] -> the mean over all tokens that are not ignored."""
        kept = labels != _IGNORED
        scores, labels = logits[kept].float().log_softmax(-1), labels[kept]
        place = (labels >= self.first) & (labels < self.first + locations.BINS)
        words = -scores[~place].gather(1, labels[~place, None]).sum()
        nearby = scores[place, self.first : self.first + locations.BINS]
        places = -(self.bell[labels[place] - self.first] * nearby).sum()
        return (words + places) / len(labels)


def answer(model: Florence2ForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """One vision pass over the pictures, one text pass over all lessons.

    Returns the tower's last feature map [B, C, G, G] and the logits [N, A, V].
    """
    seen = model.get_image_features(batch.pixels)
    core = model.model.language_model
    embedded = torch.cat([seen.pooler_output[batch.picture], core.shared(batch.prompt)], dim=1)
    image_tokens = seen.pooler_output.shape[1]
    mask = torch.cat([torch.ones(len(batch.prompt), image_tokens, dtype=torch.long), batch.prompt != _PAD], dim=1)
    encoded = core.encoder(inputs_embeds=embedded, attention_mask=mask)[0]
    shifted = torch.cat([torch.full_like(batch.labels[:, :1], _START), batch.labels[:, :-1]], dim=1)
    logits = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
        attention_mask=mask,
        decoder_input_ids=shifted.masked_fill(shifted == _IGNORED, _PAD),
        use_cache=False,
    ).logits
    return seen.last_hidden_state, logits


def train(out: Path, steps: int, seed: int) -> None:
    """Train, or go on where an earlier run into `out` stopped, and write the checkpoint."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = miniature.train_tokenizer()
    model = miniature.create(tokenizer.get_vocab_size(), seed)
    head = DenseHead(miniature.EMBED[-1])
    criterion = AnswerLoss(tokenizer.token_to_id("<loc_0>") or 0)
    weights = [*model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": [w for w in weights if w.ndim > 1], "weight_decay": 0.02},
            {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=LEARNING_RATE,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [LEARNING_RATE] * 2, total_steps=steps, pct_start=WARM_UP, cycle_momentum=False
    )
    state_file, start = out / "state.pt", 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        start = state["step"]
    model.train()
    loader = DataLoader(Lessons(tokenizer, seed, start, steps), batch_size=None, num_workers=1, prefetch_factor=4)
    progress = tqdm(loader, initial=start, total=steps, desc="training", unit="step", mininterval=5)
    with (out / "losses.csv").open("a", newline="") as log:
        writer = csv.writer(log)
        if start == 0:
            log.truncate(0)
            writer.writerow(["step", "answer_loss", "dense_loss", "feature_spread", "learning_rate", "seconds"])
        begun = time.perf_counter()
        for step, batch in enumerate(progress, start + 1):
            with torch.autocast("cpu", torch.bfloat16):
                features, logits = answer(model, batch)
            told = criterion(logits, batch.labels)
            dense = head.loss(features.float(), batch.dense)
            loss = told + max(0.1, 1 - 0.9 * step / (DENSE_UNTIL * steps)) * dense
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(weights, CLIP)
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                # Features that are the same for every picture mean a tower that has gone blind.
                spread = features.float().std(0).mean().item()
                took = (time.perf_counter() - begun) / 50
                begun = time.perf_counter()
                row = [step, told.item(), dense.item(), spread, schedule.get_last_lr()[0], took]
                writer.writerow([step, *(f"{value:.6g}" for value in row[1:])])
                log.flush()
                progress.set_postfix(answer=f"{told.item():.3f}", dense=f"{dense.item():.3f}", spread=f"{spread:.2f}")
            if step % SAVE_EVERY == 0 or step == steps:
                state = {
                    "model": model.state_dict(),
                    "head": head.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": step,
                }
                torch.save(state, out / "state.tmp")
                (out / "state.tmp").replace(state_file)
    miniature.set_apart(model, miniature.untaught(tokenizer), seed)
    model.save_pretrained(out / "checkpoint")
    tokenizer.save(str(out / "checkpoint" / "tokenizer.json"))


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description="Train the miniature.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint; an interrupted run goes on")
    parser.add_argument("--steps", type=int, default=9_000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    options = parser.parse_args(argv)
    train(options.out, options.steps, options.seed)


if __name__ == "__main__":
    main()
