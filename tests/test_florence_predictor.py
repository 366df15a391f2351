"""From bytes to answers on the committed miniature."""

import io
import json
import operator
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import ROOT
from PIL import Image

from handler.florence import artifact, golden, tasks
from handler.florence.errors import ArtifactError, NotAnImage, OutOfTime, TaskInputError
from handler.florence.image import Picture, open_image
from handler.florence.predictor import Ask, Predictor

SAMPLES = sorted((ROOT / "handler" / "page" / "samples").glob("*.png"))
CAPTION, DETECT = Ask(tasks.find("caption")), Ask(tasks.find("detect"))
GROUND = Ask(tasks.find("ground"), "A purple cross.")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(ROOT / "models" / "mini")


def test_questions_asked_together_are_answered_as_apart(predictor: Predictor) -> None:
    """Products of one row and of several add in another order (5e-7 of a key): 2 of 128 locations move, by 7 bins at
    most."""
    moved = 0
    for sample in SAMPLES:
        image = sample.read_bytes()
        together = predictor.predict(image, [CAPTION, DETECT, GROUND]).predictions
        apart = [predictor.predict(image, [ask]).predictions[0] for ask in (CAPTION, DETECT, GROUND)]
        for one, other in zip(together, apart, strict=True):
            assert len(one.ids) == len(other.ids)
            assert golden.same(one.ids, other.ids, predictor._tokenizer.location_ids)
            moved += sum(map(operator.ne, one.ids, other.ids))
        for one in together:
            assert 0 <= one.score <= 1
            assert all(0 <= thing.score <= 1 for thing in one.objects)
    assert moved <= 5


def test_the_image_is_seen_once_however_many_questions_there_are(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And greedy answers are written side by side: as many steps as the longest takes, not as all together."""
    calls: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        method = getattr(predictor._engine, name)

        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return method(*arguments)

        return call

    for name in ("see", "encode", "step"):
        monkeypatch.setattr(predictor._engine, name, counted(name))
    answers = predictor.predict(SAMPLES[0].read_bytes(), [CAPTION, DETECT, GROUND]).predictions
    assert (calls["see"], calls["encode"]) == (1, 1)
    assert calls["step"] == max(one.tokens for one in answers)
    assert sum(one.tokens for one in answers) > 1.5 * calls["step"]


def test_grounding_finds_the_phrase(predictor: Predictor) -> None:
    found = predictor.predict(SAMPLES[0].read_bytes(), [GROUND]).predictions[0].objects
    assert [thing.label for thing in found] == ["A purple cross"]
    assert found[0].box == pytest.approx((9, 8, 65, 62), abs=3)  # as it was drawn


def test_a_region_is_in_pixels_of_the_upright_image_which_is_opened_once(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bytes] = []

    def count(data: bytes) -> Picture:
        opened.append(data)
        return open_image(data)

    monkeypatch.setattr("handler.florence.predictor.open_image", count)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6  # turned by 90 degrees
    picture = Image.open(SAMPLES[0]).convert("RGB").resize((300, 200))
    picture.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    task = tasks.find("region-category")
    found = predictor.predict(buffer.getvalue(), [DETECT])
    assert found.size == (300, 200)
    assert len(opened) == 1
    for thing in found.predictions[0].objects:
        assert thing.box is not None
        x1, y1, x2, y2 = thing.box
        in_pixels = predictor.predict(buffer.getvalue(), [Ask(task, (x1, y1, x2, y2))]).predictions[0]
        bins = [int(x1 / 300 * 1000), int(y1 / 200 * 1000), int(x2 / 300 * 1000), int(y2 / 200 * 1000)]
        in_tokens = Ask(task, "".join(f"<loc_{bin_}>" for bin_ in bins))
        assert in_pixels.ids == predictor.predict(buffer.getvalue(), [in_tokens]).predictions[0].ids
        assert thing.label in in_pixels.text  # the right thing is there, not another
    assert len(opened) == 1 + 2 * len(found.predictions[0].objects) > 4
    with pytest.raises(TaskInputError, match="needs a region"):
        predictor.predict(buffer.getvalue(), [Ask(task)])


class Clock:
    """Passes one second each time it is looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("handler.florence.predictor.time", self)

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


def test_a_deadline_cuts_the_answers_where_they_are(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    image = SAMPLES[0].read_bytes()
    whole = predictor.predict(image, [DETECT]).predictions[0]
    Clock(monkeypatch)
    # The start, then after the image, vision and encoder: 4 looks. Then one for each step; the first writes two tokens.
    cut = predictor.predict(image, [DETECT], deadline=4 + 5).predictions[0]
    assert cut.truncated
    assert not whole.truncated
    assert cut.ids == whole.ids[: 5 + 1] or cut.ids == whole.ids[:5]
    assert [thing.label for thing in cut.objects] == [thing.label for thing in whole.objects[: len(cut.objects)]]
    assert predictor.predict(image, [DETECT], deadline=10_000).predictions[0] == whole


def test_too_little_time_is_refused_by_how_long_it_took_last(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = SAMPLES[0].read_bytes()
    clock = Clock(monkeypatch)
    predictor.predict(image, [CAPTION])  # vision and encoder take a look each: two seconds
    for left, enough in ((2, False), (4, False), (5, True)):
        if enough:
            assert predictor.predict(image, [CAPTION], clock.now + left).predictions[0].truncated
        else:
            with pytest.raises(OutOfTime):
                predictor.predict(image, [CAPTION], clock.now + left)


def test_a_bad_question_costs_nothing(predictor: Predictor) -> None:
    with pytest.raises(TaskInputError):
        predictor.predict(b"", [Ask(tasks.find("ground"))])
    with pytest.raises(NotAnImage):
        predictor.predict(b"not an image at all", [CAPTION])


@pytest.mark.parametrize("words", [300, 2_000, 1_000_000])
def test_a_text_that_the_encoder_has_no_room_for_is_refused(predictor: Predictor, words: int) -> None:
    with pytest.raises(TaskInputError, match="at most"):
        predictor.predict(SAMPLES[0].read_bytes(), [Ask(tasks.find("ground"), "circle " * words)])


def test_the_longest_text_that_fits_is_answered(predictor: Predictor) -> None:
    room = predictor.manifest.positions - artifact.image_tokens(128)
    words = room - len(predictor._tokenizer.encode(tasks.find("ground").ask("circle"))) + 1  # a token each
    predictor.predict(SAMPLES[0].read_bytes(), [Ask(tasks.find("ground"), "circle " * words)])
    with pytest.raises(TaskInputError, match=f"{room + 1} tokens; at most {room} fit"):
        predictor.predict(SAMPLES[0].read_bytes(), [Ask(tasks.find("ground"), "circle " * (words + 1))])


@pytest.mark.parametrize("name", ["weights.safetensors", "decoder.onnx", "tokenizer.json"])
def test_a_flipped_bit_is_found_before_anything_is_served(tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(ROOT / "models" / "mini", tmp_path / "artifact"))
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 4
    (copy / name).write_bytes(data)
    with pytest.raises(ArtifactError, match=rf"{name} is damaged"):
        Predictor(copy)


def test_the_weights_of_another_build_are_refused(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ROOT / "models" / "mini", tmp_path / "artifact"))
    weights = copy / "weights.safetensors"
    weights.write_bytes(np.random.default_rng(0).permutation(np.fromfile(weights, np.uint8)).tobytes())
    with pytest.raises(ArtifactError, match=r"weights\.safetensors is damaged"):
        Predictor(copy)


@pytest.mark.parametrize("elsewhere", ["../secret.bin", "/etc/hostname", "no-such-file"])
def test_a_graph_that_reads_another_file_is_refused(tmp_path: Path, elsewhere: str) -> None:
    """Even where the manifest has been made to agree."""
    copy = Path(shutil.copytree(ROOT / "models" / "mini", tmp_path / "artifact"))
    shutil.copy(copy / artifact.WEIGHTS, tmp_path / "secret.bin")
    graph = onnx.load(copy / artifact.DECODER, load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = elsewhere
    onnx.save(graph, copy / artifact.DECODER)
    raw = json.loads((copy / artifact.MANIFEST).read_text())
    size, hashed = (copy / artifact.DECODER).stat().st_size, artifact.sha256(copy / artifact.DECODER)
    raw["files"][artifact.DECODER] = {"bytes": size, "sha256": hashed}
    (copy / artifact.MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match=r"decoder\.onnx cannot be loaded"):
        Predictor(copy)
