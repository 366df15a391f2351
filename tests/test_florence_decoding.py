"""Token for token what transformers' `generate` gives in fp32 on the same weights."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Protocol, cast

import artifacts
import numpy as np
import pytest
import torch
from conftest import ROOT

from build import checkpoint
from handler.florence import decoding, tasks
from handler.florence.artifact import TOKENIZER, Generation
from handler.florence.engine import Engine
from handler.florence.image import to_pixels
from handler.florence.tokenizer import Tokenizer
from training import shapes

PICTURES = 50
FLORENCE = {"num_beams": 3, "no_repeat_ngram_size": 3, "forced_bos_token_id": 0, "forced_eos_token_id": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1, "no_repeat_ngram_size": 0, "max_new_tokens": 80},
    "greedy-florence": {**FLORENCE, "num_beams": 1, "max_new_tokens": 80},
    "beams": {**FLORENCE, "early_stopping": True, "max_new_tokens": 80},
    "beams-late": {**FLORENCE, "early_stopping": False, "max_new_tokens": 80},
    "beams-cut": {**FLORENCE, "early_stopping": True, "max_new_tokens": 7},
    "greedy-cut": {**FLORENCE, "num_beams": 1, "max_new_tokens": 7},
}


class Stop:
    """Says after `steps` steps that time is up: ours asks by calling it, transformers with what it has written."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, *written: torch.Tensor, **_: Any) -> Any:
        self.left -= 1
        return torch.full((written[0].shape[0],), self.left <= 0) if written else self.left <= 0


class Both(Protocol):
    def __call__(
        self, index: int, task: str, settings: dict[str, Any], steps: int = ...
    ) -> tuple[decoding.Decoded, list[int]]: ...


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Ours and transformers' answer to a task about a drawn picture."""
    loaded = checkpoint.load(ROOT / "models" / "mini-checkpoint")
    model: Any = checkpoint.to_transformers(loaded)
    out = tmp_path_factory.mktemp("artifact")
    manifest = artifacts.write(loaded, 128, out)
    engine, tokenizer = Engine(out, manifest), Tokenizer.load(out / TOKENIZER)

    def answer(
        index: int, task: str, settings: dict[str, Any], steps: int = 1000
    ) -> tuple[decoding.Decoded, list[int]]:
        pixels = to_pixels(shapes.draw(7, index).image, 128)
        prompt = tokenizer.encode(tasks.find(task).ask())
        features = engine.see(pixels)
        memory, places = engine.encode(features, [prompt]), tokenizer.location_ids
        bounds = decoding.Bounds(settings["max_new_tokens"], tasks.find(task).answer.place)
        generation = replace(
            manifest.generation,
            num_beams=settings["num_beams"],
            no_repeat_ngram_size=settings["no_repeat_ngram_size"],
            early_stopping=settings.get("early_stopping", False),
            forced_bos=settings.get("forced_bos_token_id"),
        )
        if generation.num_beams == 1:
            ours = decoding.greedy(engine, memory, [bounds], generation, places, Stop(steps))[0]
        else:
            ours = decoding.beam(engine, memory, bounds, generation, places, Stop(steps))
        ids = [loaded.architecture.image_token] * features.shape[1] + prompt
        made = model.generate(
            input_ids=torch.tensor([ids]),
            pixel_values=torch.from_numpy(pixels),
            do_sample=False,
            stopping_criteria=[Stop(steps)],
            **settings,
        )
        return ours, made[0].tolist()[1:]  # without the start token

    return answer


@pytest.mark.slow
@pytest.mark.parametrize("task", ["<CAPTION>", "<OD>"])
@pytest.mark.parametrize("name", ["greedy", "beams"])
def test_fifty_pictures(name: str, task: str, both: Both) -> None:
    for index in range(PICTURES):
        ours, expected = both(index, task, SETTINGS[name])
        assert list(ours.ids) == expected, index
        assert not ours.truncated


@pytest.mark.parametrize("task", ["<CAPTION>", "<OD>"])
@pytest.mark.parametrize("name", ["greedy-florence", "beams-late", "beams-cut", "greedy-cut"])
def test_other_settings(name: str, task: str, both: Both) -> None:
    for index in range(8):
        ours, expected = both(index, task, SETTINGS[name])
        assert list(ours.ids) == expected, index
        assert len(ours.probabilities) == len(ours.ids)
        assert all(0 <= probability <= 1 for probability in ours.probabilities)


def test_an_answer_at_the_limit_is_truncated(both: Both) -> None:
    ours, _ = both(0, "<OD>", SETTINGS["greedy-cut"])
    assert ours.truncated


@pytest.mark.parametrize("steps", [1, 2, 5, 9])
@pytest.mark.parametrize("name", ["greedy", "beams", "beams-late"])
def test_where_time_runs_out_what_is_written_is_the_answer(name: str, steps: int, both: Both) -> None:
    for index in range(4):
        ours, expected = both(index, "<OD>", SETTINGS[name], steps)
        assert list(ours.ids) == expected, index
        assert len(ours.ids) <= steps
        assert ours.truncated


@pytest.mark.parametrize("name", ["greedy", "beams"])
def test_an_answer_that_ends_in_time_is_whole(name: str, both: Both) -> None:
    ours, expected = both(0, "<CAPTION>", SETTINGS[name], 60)
    assert list(ours.ids) == expected
    assert not ours.truncated


class _Rows:
    """A memory or a cache that holds nothing."""

    def rows(self, index: np.ndarray) -> "_Rows":
        return self


class Scripted:
    """The scores of the next token by what `score` makes of all ids of a step; remembers when only those of locations
    were asked for."""

    def __init__(self, score: Callable[[np.ndarray], np.ndarray]) -> None:
        self._score = score
        self.alone: list[bool] = []

    def start(self, rows: int) -> Any:
        return _Rows()

    def step(self, ids: np.ndarray, cache: Any, memory: Any, locations: bool) -> tuple[np.ndarray, Any]:
        self.alone.append(locations)
        return self._score(ids), cache


GENERATION = Generation(
    decoder_start=2,
    bos=0,
    eos=2,
    pad=1,
    forced_bos=None,
    forced_eos=2,
    num_beams=1,
    no_repeat_ngram_size=0,
    early_stopping=False,
    length_penalty=1.0,
    max_length=100,
)


def test_rows_that_have_ended_are_whole_when_time_runs_out_for_others() -> None:
    def score(ids: np.ndarray) -> np.ndarray:
        """Row 0 ends with its second token, row 1 never."""
        scores = np.zeros((len(ids), 10), np.float32)
        scores[:, 5] = 9
        scores[0, 2 if len(ids) == 2 and ids[0, -1] == 5 else 5] = 20
        return scores

    engine, memory = Scripted(score), cast(Any, _Rows())
    ended, cut = decoding.greedy(engine, memory, [decoding.Bounds(50)] * 2, GENERATION, expired=Stop(4))
    assert (ended.ids, ended.truncated) == ((5, 2), False)
    assert (cut.ids, cut.truncated) == ((5, 5, 5, 5), True)


PLACES = range(20, 60)


def drawn(ids: np.ndarray, seed: int = 0) -> np.ndarray:
    """Scores of 80 tokens, drawn anew for each last token; that of `</s>` is never the largest."""
    scores = np.stack([np.random.default_rng([seed, row[-1]]).normal(size=80) for row in ids]).astype(np.float32)
    scores[:, GENERATION.eos] = -9
    return scores


def runs(ids: Sequence[int]) -> list[int]:
    """How many locations stand side by side, run by run."""
    return [len(list(group)) for inside, group in groupby(ids, PLACES.__contains__) if inside]


@pytest.mark.parametrize("place", [4, 8])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_place_that_is_begun_is_finished(beams: int, place: int) -> None:
    generation, memory = replace(GENERATION, num_beams=beams, no_repeat_ngram_size=3), cast(Any, _Rows())

    def answer(bounds: decoding.Bounds) -> tuple[decoding.Decoded, list[bool]]:
        engine = Scripted(drawn)
        if beams == 1:
            return decoding.greedy(engine, memory, [bounds], generation, PLACES)[0], engine.alone
        return decoding.beam(engine, memory, bounds, generation, PLACES), engine.alone

    free, alone = answer(decoding.Bounds(60))
    assert any(count % place for count in runs(free.ids))
    assert not any(alone)
    bound, alone = answer(decoding.Bounds(60, place))
    *whole, last = runs(bound.ids)
    assert len(whole) > 1
    assert not any(count % place for count in whole)
    assert last % place == 0 or bound.truncated
    assert any(alone)
    assert not all(alone)
    for token, rivals in zip(bound.ids, bound.rivals, strict=True):
        assert (rivals is not None) == (token in PLACES)


def test_rows_side_by_side_are_answered_as_alone_though_only_one_is_in_a_place() -> None:
    memory, bounds = cast(Any, _Rows()), [decoding.Bounds(40, 4), decoding.Bounds(40)]
    both = Scripted(lambda ids: np.concatenate([drawn(row[None], seed) for seed, row in enumerate(ids)]))
    together = decoding.greedy(both, memory, bounds, GENERATION, PLACES)
    for seed, (one, bound) in enumerate(zip(together, bounds, strict=True)):
        alone = Scripted(lambda ids, seed=seed: drawn(ids, seed))
        assert decoding.greedy(alone, memory, [bound], GENERATION, PLACES)[0].ids == one.ids
    assert runs(together[0].ids)
    assert not any(both.alone)
