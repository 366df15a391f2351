"""The engine by itself: arrays and token ids in, arrays out, without text, tasks or decoding."""

import os
import re
import subprocess
import sys
from pathlib import Path

import artifacts
import numpy as np
import pytest
from conftest import ROOT

from build import checkpoint
from handler.florence import artifact
from handler.florence.engine import Engine, default_threads
from handler.florence.errors import ArtifactError
from handler.florence.tokenizer import Tokenizer

MINI = ROOT / "models" / "mini"
MANIFEST = artifact.read_manifest(MINI)
SIZE = MANIFEST.image_size
PLACES = (SIZE // 32) ** 2 + 1  # of the image: the vision tower's grid, and its mean
HEADS, WIDTH = MANIFEST.decoder_heads, MANIFEST.head_width
PROMPT, LONGER = [0, 5, 6, 7, 2], [0, 9, 8, 7, 6, 5, 4, 2]
IDS = np.array([[2, 0, 40, 41, 42, 43, 44, 45]])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(MINI, MANIFEST)


@pytest.fixture(scope="module")
def features(engine: Engine) -> np.ndarray:
    return engine.see(np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The same weights in fp32."""
    out = tmp_path_factory.mktemp("artifact")
    return Engine(out, artifacts.write(checkpoint.load(ROOT / "models" / "mini-checkpoint"), SIZE, out))


def test_an_image_becomes_features(features: np.ndarray) -> None:
    assert features.shape == (1, PLACES, HEADS * WIDTH)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()


def test_prompts_are_padded_to_the_longest_and_the_mask_says_so(engine: Engine, features: np.ndarray) -> None:
    together = engine.encode(features, [PROMPT, LONGER])
    assert len(together.keys) == len(together.values) == MANIFEST.decoder_layers
    for array in (*together.keys, *together.values):
        assert array.shape == (2, HEADS, PLACES + len(LONGER), WIDTH)
        assert array.dtype == np.float32
    assert together.mask.dtype == np.int32
    assert together.mask.sum(axis=1).tolist() == [PLACES + len(PROMPT), PLACES + len(LONGER)]
    apart = engine.encode(features, [PROMPT])
    used = PLACES + len(PROMPT)
    for one, both in zip(apart.keys + apart.values, together.keys + together.values, strict=True):
        np.testing.assert_array_equal(one[0], both[0, :, :used])
        assert not both[0, :, used:].any()


def test_padding_changes_no_score(engine: Engine, features: np.ndarray) -> None:
    together, apart = engine.encode(features, [PROMPT, LONGER]), engine.encode(features, [PROMPT])
    both, _ = engine.step(np.repeat(IDS, 2, axis=0), engine.start(2), together)
    alone, _ = engine.step(IDS, engine.start(1), apart)
    np.testing.assert_allclose(both[0], alone[0], atol=1e-4)


def test_an_empty_cache(engine: Engine) -> None:
    cache = engine.start(3)
    assert len(cache.keys) == len(cache.values) == MANIFEST.decoder_layers
    for array in (*cache.keys, *cache.values):
        assert array.shape == (3, HEADS, 0, WIDTH)
        assert array.dtype == np.float32


def test_steps_with_the_cache_equal_one_over_all(exact: Engine, features: np.ndarray) -> None:
    """In fp32: int8 multiplies one row and several by different kernels, which differ by 0.5 % of the largest score."""
    engine, memory = exact, exact.encode(features, [PROMPT])
    whole, whole_cache = engine.step(IDS, engine.start(1), memory)
    assert whole.shape == (1, MANIFEST.vocabulary)
    assert whole.dtype == np.float32
    for cuts in (range(1, IDS.shape[1]), [3, 4], [5]):
        cache = engine.start(1)
        for part in np.split(IDS, list(cuts), axis=1):
            scores, cache = engine.step(part, cache, memory)
        np.testing.assert_allclose(scores, whole, rtol=0, atol=1e-5 * np.abs(whole).max())
        for one, other in zip(cache.keys + cache.values, whole_cache.keys + whole_cache.values, strict=True):
            assert one.shape == other.shape == (1, HEADS, IDS.shape[1], WIDTH)
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
    changed, _ = engine.step(IDS[:, ::-1].copy(), engine.start(1), memory)
    assert np.abs(changed - whole).max() > 0.1 * np.abs(whole).max()  # or nothing was compared


@pytest.mark.parametrize("rows", [1, 3])
def test_the_scores_of_locations_alone_are_those_among_all(
    engine: Engine, exact: Engine, features: np.ndarray, rows: int
) -> None:
    places = Tokenizer.load(MINI / artifact.TOKENIZER).location_ids
    inside = slice(places.start, places.stop)
    ids = np.array([[2, 0, 40, places[3]]] * rows)
    for one in (engine, exact):
        memory = one.encode(features, [PROMPT] * rows)
        among_all, cache = one.step(ids, one.start(rows), memory)
        alone, cache_alone = one.step(ids, one.start(rows), memory, True)
        assert alone.shape == among_all.shape
        np.testing.assert_allclose(alone[:, inside], among_all[:, inside], atol=1e-5 * np.abs(among_all).max())
        assert not np.delete(alone, np.r_[inside], axis=1).any()
        for kept, kept_alone in zip(cache.keys + cache.values, cache_alone.keys + cache_alone.values, strict=True):
            np.testing.assert_array_equal(kept, kept_alone)


def test_rows_are_taken_in_order_and_repeated(engine: Engine, features: np.ndarray) -> None:
    memory = engine.encode(features, [PROMPT, LONGER])
    _, cache = engine.step(np.array([[2, 0], [2, 40]]), engine.start(2), memory)
    index = np.array([1, 0, 1])
    for whole, taken in ((memory, memory.rows(index)), (cache, cache.rows(index))):
        assert isinstance(taken, type(whole))
        for before, after in zip(whole.keys + whole.values, taken.keys + taken.values, strict=True):
            np.testing.assert_array_equal(after, before[[1, 0, 1]])
    np.testing.assert_array_equal(memory.rows(index).mask, memory.mask[[1, 0, 1]])


def test_rows_know_nothing_of_each_other(engine: Engine, features: np.ndarray) -> None:
    """What beam search and rows that end rely on: a step over some rows is the step over all, cut."""
    memory = engine.encode(features, [PROMPT, LONGER])
    _, cache = engine.step(np.array([[2, 0], [2, 40]]), engine.start(2), memory)
    both, _ = engine.step(np.array([[41], [42]]), cache, memory)
    second = np.array([1])
    alone, _ = engine.step(np.array([[42]]), cache.rows(second), memory.rows(second))
    np.testing.assert_allclose(alone[0], both[1], atol=1e-4)


@pytest.mark.parametrize(
    ("megabytes", "threads"),
    [("128", 1), ("1769", 1), ("2048", 1), ("3008", 2), ("3538", 2), ("5307", 3), ("8845", 5), ("10240", 6)],
)
def test_threads_follow_the_memory_that_lambda_grants(
    megabytes: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,769 MB are one core; the host's cores, which a function sees, are not its own."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", megabytes)
    assert default_threads() == threads


def test_threads_elsewhere_are_the_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert default_threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


@pytest.mark.parametrize(("named", "expected"), [(None, 2), (3, 3)])
def test_a_process_computes_with_that_many_threads(named: int | None, expected: int) -> None:
    """The one that asks is one of them; a second engine brings no more."""
    script = f"""
import os
from pathlib import Path
from handler.florence import artifact
from handler.florence.engine import Engine
folder = Path("models/mini")
import onnxruntime  # whose own threads are counted before
before = len(os.listdir("/proc/self/task"))
for _ in range(2):
    Engine(folder, artifact.read_manifest(folder), {named})
    print(len(os.listdir("/proc/self/task")) - before + 1)
"""
    environment = os.environ | {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3538"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(expected)] * 2, done.stderr


def test_a_damaged_graph_is_refused_by_name(tmp_path: Path) -> None:
    for file in MINI.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / artifact.DECODER).write_bytes(b"no graph")
    path = re.escape(str(tmp_path / artifact.DECODER))
    with pytest.raises(ArtifactError, match=rf"{path} cannot be loaded: .*Build the artifact again"):
        Engine(tmp_path, MANIFEST)
