"""Greedy and beam search over the engine: which token comes next, and how sure the model was.

Token for token what transformers' `generate` gives for the same scores (`GenerationMixin._sample` without sampling and
`_beam_search`, with `NoRepeatNGramLogitsProcessor`, `ForcedBOSTokenLogitsProcessor` and
`ForcedEOSTokenLogitsProcessor`), but for one thing: a place that is begun is finished. After the first location of a
box come three more, so that no box is broken and the rest of the vocabulary need not be looked at. Knows no text and no
tasks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .artifact import Generation
from .engine import Cache, Memory

_NEVER = np.float32(-1e9)  # transformers' mark for a beam that must not win


class Stepper(Protocol):
    """The part of the engine that decoding needs."""

    def start(self, rows: int) -> Cache: ...

    def step(
        self, ids: np.ndarray, cache: Cache, memory: Memory, locations: bool = False
    ) -> tuple[np.ndarray, Cache]: ...


@dataclass(frozen=True)
class Bounds:
    """What one answer may be: `length` tokens at most, forced ones included; `place` locations side by side, or a
    multiple of it (0: any number)."""

    length: int
    place: int = 0


@dataclass(frozen=True)
class Decoded:
    """One answer: its tokens after the start token, `<s>` and `</s>` included, and for each the probability that the
    model gave it (1 for a forced token; within a place, among locations). `rivals`: for each location the probabilities
    that the model gave to all locations in its place, float32 [len(locations)]; None for other tokens. `truncated`: the
    length limit or the time limit ended it, not the model."""

    ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    rivals: tuple[np.ndarray | None, ...]
    truncated: bool


@dataclass(frozen=True)
class _Choice:
    """One token that was written: what it adds to `Decoded`."""

    id: int
    probability: float
    rivals: np.ndarray | None


def _never() -> bool:
    return False


def greedy(
    engine: Stepper,
    memory: Memory,
    bounds: Sequence[Bounds],
    generation: Generation,
    locations: range = range(0),
    expired: Callable[[], bool] = _never,
) -> list[Decoded]:
    """The most probable token at each step, for all rows of `memory` side by side.

    `bounds` are each row's. Rows leave as they end. `locations`: the ids of the location tokens. Once `expired` says
    so, after any step, what is written is the answer.
    """
    rows = [[generation.decoder_start] for _ in bounds]
    chosen: list[list[_Choice]] = [[] for _ in bounds]
    cut = [False] * len(bounds)
    active = list(range(len(bounds)))
    cache = engine.start(len(active))
    fresh = np.full((len(active), 1), generation.decoder_start, np.int64)
    if generation.forced_bos is not None and all(bound.length > 1 for bound in bounds):  # one step takes both tokens
        fresh = np.concatenate([fresh, np.full_like(fresh, generation.forced_bos)], axis=1)
        for written, choices in zip(rows, chosen, strict=True):
            written.append(generation.forced_bos)
            choices.append(_Choice(generation.forced_bos, 1.0, None))
    while active:
        begun = [_begun(rows[row], bounds[row].place, locations) for row in active]
        scores, cache = engine.step(fresh, cache, memory, all(begun))
        stay = []
        for i, row in enumerate(active):
            log_probabilities = _log_softmax(scores[i], locations if begun[i] else None)
            token, forced = _next(log_probabilities, rows[row], bounds[row].length, generation)
            rows[row].append(token)
            chosen[row].append(_choice(token, log_probabilities, forced, locations))
            ended = token == generation.eos
            if forced and ended:
                cut[row] = int(log_probabilities.argmax()) != generation.eos
            elif not ended and len(rows[row]) > bounds[row].length:
                cut[row] = ended = True
            if not ended:
                stay.append(i)
        if len(stay) < len(active):
            index = np.array(stay, np.int64)
            cache, memory = cache.rows(index), memory.rows(index)
            active = [active[i] for i in stay]
        fresh = np.array([[rows[row][-1]] for row in active], np.int64)
        if active and expired():
            for row in active:
                cut[row] = True
            break
    return [_decoded(choices, truncated) for choices, truncated in zip(chosen, cut, strict=True)]


def beam(
    engine: Stepper,
    memory: Memory,
    bound: Bounds,
    generation: Generation,
    locations: range = range(0),
    expired: Callable[[], bool] = _never,
) -> Decoded:
    """Beam search over one row of memory with the checkpoint's number of beams; `locations` and `expired` as in
    `greedy`: the best of what is finished and what is being written is the answer.
    """
    beams, limit, longest = generation.num_beams, bound.length, bound.length + 1
    memory = memory.rows(np.zeros(beams, np.int64))
    running = [[generation.decoder_start]] * beams
    chosen: list[list[_Choice]] = [[]] * beams
    running_scores = np.full(beams, _NEVER, np.float32)
    running_scores[0] = 0
    done: list[tuple[np.float32, bool, list[int], list[_Choice]]] = [(_NEVER, False, [], [])] * beams
    cache = engine.start(beams)
    improvable = True
    while True:
        length = len(running[0])
        begun = [_begun(row, bound.place, locations) for row in running]
        scores, cache = engine.step(np.array([[row[-1]] for row in running], np.int64), cache, memory, all(begun))
        plain = np.stack(
            [_log_softmax(row, locations if one else None) for row, one in zip(scores, begun, strict=True)]
        )
        allowed = np.stack([_process(p, row, limit, generation) for p, row in zip(plain, running, strict=True)])
        total = (allowed + running_scores[:, None]).ravel()
        stop = expired()
        best = _largest(total, 2 * beams)
        candidates = []
        for rank, flat in enumerate(best):
            parent, token = divmod(int(flat), allowed.shape[1])
            row = [*running[parent], token]
            ended = token == generation.eos or len(row) >= longest or stop
            forced = _forced(running[parent], limit, generation) is not None
            choices = [*chosen[parent], _choice(token, plain[parent], forced, locations)]
            candidates.append((total[flat], ended, row, choices, parent, rank < beams))
        full = generation.early_stopping and all(one[1] for one in done)
        for score, ended, row, choices, _, top in candidates:
            if ended and top and improvable and not full:
                penalised = np.float32(score / np.float32(length**generation.length_penalty))
                done = [*done, (penalised, True, row, choices)]
        done = sorted(done, key=lambda one: -one[0])[:beams]
        order = sorted(range(len(candidates)), key=lambda i: (candidates[i][1], i))[:beams]
        if all(one[1] for one in candidates):
            break
        keep = [candidates[i] for i in order]
        running, chosen = [one[2] for one in keep], [one[3] for one in keep]
        running_scores = np.array([one[0] + (_NEVER if one[1] else 0) for one in keep], np.float32)
        cache = cache.rows(np.array([one[4] for one in keep], np.int64))
        worst = min(one[0] for one in done) if all(one[1] for one in done) else _NEVER
        # transformers compares with the length that the next tokens will make
        improvable = improvable and bool(running_scores[0] / np.float32(length**generation.length_penalty) > worst)
        if not improvable or (generation.early_stopping and all(one[1] for one in done)):
            break
    _, _, row, choices = done[0]
    truncated = row[-1] != generation.eos or (len(row) >= longest and generation.forced_eos is not None)
    return _decoded(choices, truncated)


def _begun(row: Sequence[int], place: int, locations: range) -> bool:
    """Whether `row` ends in the middle of a place."""
    count = next((i for i, token in enumerate(reversed(row)) if token not in locations), len(row))
    return place > 0 and count % place > 0


def _choice(token: int, log_probabilities: np.ndarray, forced: bool, locations: range) -> _Choice:
    if forced:
        return _Choice(token, 1.0, None)
    rivals = np.exp(log_probabilities[locations.start : locations.stop]) if token in locations else None
    return _Choice(token, float(np.exp(log_probabilities[token])), rivals)


def _decoded(choices: list[_Choice], truncated: bool) -> Decoded:
    return Decoded(
        tuple(one.id for one in choices),
        tuple(one.probability for one in choices),
        tuple(one.rivals for one in choices),
        truncated,
    )


def _next(log_probabilities: np.ndarray, row: list[int], limit: int, generation: Generation) -> tuple[int, bool]:
    forced = _forced(row, limit, generation)
    if forced is not None:
        return forced, True
    return int(_process(log_probabilities, row, limit, generation).argmax()), False


def _forced(row: list[int], limit: int, generation: Generation) -> int | None:
    """The token that must follow `row`, if any; `row` begins with the start token."""
    if len(row) == 1 and generation.forced_bos is not None:
        return generation.forced_bos
    return generation.forced_eos if len(row) == limit else None


def _process(log_probabilities: np.ndarray, row: list[int], limit: int, generation: Generation) -> np.ndarray:
    """The log probabilities [V] with what must not follow `row` at minus infinity."""
    forced = _forced(row, limit, generation)
    if forced is not None:
        alone = np.full_like(log_probabilities, -np.inf)
        alone[forced] = 0
        return alone
    size = generation.no_repeat_ngram_size
    if not size or len(row) < size:
        return log_probabilities
    tail = row[len(row) - size + 1 :]
    banned = [row[i + size - 1] for i in range(len(row) - size + 1) if row[i : i + size - 1] == tail]
    if banned:
        log_probabilities = log_probabilities.copy()
        log_probabilities[banned] = -np.inf
    return log_probabilities


def _log_softmax(scores: np.ndarray, allowed: range | None = None) -> np.ndarray:
    """Over all of the scores [V], or over those of the ids `allowed`: minus infinity for the rest."""
    if allowed is not None:
        whole = np.full_like(scores, -np.inf)
        whole[allowed.start : allowed.stop] = _log_softmax(scores[allowed.start : allowed.stop])
        return whole
    shifted = scores - scores.max()
    normalised: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return normalised


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the `count` largest values, largest first; of equals the earlier first."""
    tops = np.maximum.reduceat(values, np.arange(0, len(values), 64))  # 0.2 ms for three beams; argpartition 0.9
    least = np.partition(tops, -count)[-count] if len(tops) > count else -np.inf
    rough = np.flatnonzero(values >= least)
    return rough[np.lexsort((rough, -values[rough]))][:count]
