"""Lessons from COCO's own pictures, from drawn ones, and from pictures that are broken."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from test_training_coco import link
from torch.utils.data import DataLoader
from transformers import CLIPImageProcessorPil, Florence2Processor, PreTrainedTokenizerFast

from handler.florence import answers, locations, tasks
from handler.florence.image import MEAN, STD
from handler.florence.tokenizer import Tokenizer
from training import coco
from training.coco import DataError, Record, Thing, order
from training.dataset import Collate, Example, Lessons, Mix, Shuffled

SIZE = 64  # pixels a side
ALL: Mix = {"<CAPTION>": 1, "<OD>": 1, "<OPEN_VOCABULARY_DETECTION>": 1, "<REGION_TO_CATEGORY>": 1}
CAPTION: Mix = {"<CAPTION>": 1}
DETECT: Mix = {"<OD>": 1}


@pytest.fixture(scope="module")
def records(refdata: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, ...]:
    """COCO's 25 real pictures."""
    return coco.read(link(refdata / "coco_mini", tmp_path_factory.mktemp("coco"), "2017"), "val").records


@pytest.fixture
def lessons(library: tokenizers.Tokenizer) -> Callable[..., Lessons]:
    def make(records: Sequence[Record], mix: Mix = ALL, seed: int = 1, **options: Any) -> Lessons:
        return Lessons(records, library, SIZE, mix, seed, **{"flip": 0.0, "jitter": 0.0} | options)

    return make


def picture(path: Path, size: tuple[int, int] = (40, 30), **options: Any) -> Path:
    Image.new("RGB", size, (90, 120, 30)).save(path, **options)
    return path


def record(path: Path, number: int = 1, things: int = 1, captions: Sequence[str] = ("A boat.", "One boat.")) -> Record:
    boxes = [(2.0 + i, 3.0, 12.0 + i, 20.0) for i in range(things)]
    return Record(number, path, (40, 30), tuple(captions), tuple(Thing("boat", box) for box in boxes))


def same(one: Example, other: Example) -> bool:
    texts = [(e.record, e.task, e.prompt, e.answer) for e in (one, other)]
    return texts[0] == texts[1] and np.array_equal(one.pixels, other.pixels)


def test_lessons_of_cocos_pictures_are_true_and_the_server_reads_them_back(
    records: tuple[Record, ...], lessons: Callable[..., Lessons], tokenizer: Tokenizer
) -> None:
    """Prompts from the task table; boxes within a bin, in the documented order; captions word for word."""
    taught = lessons(records)
    assert len(taught) == 25
    seen = Counter()
    for index in range(4 * len(taught)):
        example = taught[index]
        about = next(one for one in records if one.id == example.record)
        task, prompt = tasks.find(example.task), tokenizer.decode(example.prompt)
        answer = answers.parse(task, tokenizer.decode(example.answer), about.size)
        assert example.answer[0] == tokenizer.bos_id
        assert example.answer[-1] == tokenizer.eos_id
        assert example.pixels.shape == (3, SIZE, SIZE)
        assert example.pixels.dtype == np.float32
        seen[task.token] += 1
        if task.token == "<CAPTION>":
            assert prompt == task.ask()
            assert answer.text in about.captions
        elif task.token == "<REGION_TO_CATEGORY>":
            box = locations.to_pixels(locations.from_text(prompt), about.size)
            named = [thing.category for thing in about.things if near(box, thing.box, about.size)]
            assert prompt == task.ask(locations.to_text(locations.from_text(prompt)))
            assert answer.text in named
        else:
            things = list(about.things)
            if task.token == "<OPEN_VOCABULARY_DETECTION>":
                (name,) = {one.label for one in answer.objects}
                assert prompt == task.ask(name)
                things = [thing for thing in things if thing.category == name]
            else:
                assert prompt == task.ask()
            assert [one.label for one in answer.objects] == [thing.category for thing in things]
            assert all(near(one.box, thing.box, about.size) for one, thing in zip(answer.objects, things, strict=True))
            assert things == sorted(things, key=lambda thing: order(thing.category, thing.box))
    assert set(seen) == set(ALL)


def near(found: Sequence[float] | None, box: coco.Box, size: tuple[int, int]) -> bool:
    assert found is not None
    return np.abs(np.subtract(found, box)).max() <= max(size) / locations.BINS


@given(data=st.data(), jitter=st.floats(0, 0.8), flip=st.sampled_from([0.0, 1.0]))
@settings(max_examples=40, deadline=None)
def test_the_location_tokens_point_at_the_pixels_that_the_network_sees(
    data: st.DataObject,
    jitter: float,
    flip: float,
    tmp_path_factory: pytest.TempPathFactory,
    library: tokenizers.Tokenizer,
) -> None:
    """A white rectangle on black, through mirroring, jitter, resizing and tokens."""
    path = tmp_path_factory.mktemp("white") / "1.png"
    size = data.draw(st.integers(40, 90)), data.draw(st.integers(40, 90))
    x1, y1 = (data.draw(st.integers(0, side // 2)) for side in size)
    box = (x1, y1, data.draw(st.integers(x1 + 12, size[0])), data.draw(st.integers(y1 + 12, size[1])))
    image = Image.new("RGB", size)
    image.paste("white", box)
    image.save(path)
    about = Record(1, path, size, ("A box.",), (Thing("box", (*map(float, box),)),))  # type: ignore[arg-type]
    taught = Lessons([about], library, SIZE, DETECT, data.draw(st.integers(0, 999)), flip=flip, jitter=jitter)
    example = taught[0]
    (found,) = answers.parse(tasks.find("<OD>"), Tokenizer(library).decode(example.answer), (SIZE, SIZE)).objects
    channels = zip(example.pixels, STD, MEAN, strict=True)
    brightness = np.mean([channel * deviation + mean for channel, deviation, mean in channels], axis=0)
    rows, columns = np.nonzero(brightness > 0.7)  # beyond the picture it is 0.45
    seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert found.box is not None
    assert np.abs(np.subtract(found.box, seen)).max() <= 1.6  # pixels of the 64: half a resized pixel, and a bin


def test_tasks_are_mixed_by_weight(tmp_path: Path, lessons: Callable[..., Lessons]) -> None:
    path = picture(tmp_path / "1.png")
    taught = lessons([record(path, number) for number in range(10)], {"<CAPTION>": 3.0, "<OD>": 1.0})
    counts = Counter(taught[index].task for index in range(2000))
    assert counts["<CAPTION>"] / 2000 == pytest.approx(0.75, abs=0.03)  # three standard deviations


def test_a_picture_is_asked_only_what_its_annotations_tell(tmp_path: Path, lessons: Callable[..., Lessons]) -> None:
    path = picture(tmp_path / "1.png")
    told = [record(path, 1, things=0), record(path, 2, captions=()), record(path, 3, things=0, captions=())]
    taught = lessons(told, {"<CAPTION>": 1.0, "<OD>": 1.0, "<REGION_TO_CATEGORY>": 0.0})
    assert {(taught[i].record, taught[i].task) for i in range(20)} == {(1, "<CAPTION>"), (2, "<OD>")}


def test_each_epoch_teaches_one_caption_of_each_picture_and_in_time_all(
    records: tuple[Record, ...], lessons: Callable[..., Lessons], tokenizer: Tokenizer
) -> None:
    taught = lessons(records[:3], CAPTION)
    said: dict[int, Counter[str]] = {one.id: Counter() for one in records[:3]}
    epochs = 40
    for index in Shuffled(len(taught), 1, epochs * len(taught)):
        example = taught[index]
        said[example.record][tokenizer.decode(example.answer)] += 1
    for one in records[:3]:
        assert sum(said[one.id].values()) == epochs
        assert set(said[one.id]) == set(one.captions)
        assert max(said[one.id].values()) < epochs / 2


def test_the_order_is_another_in_each_epoch_and_holds_each_picture_once() -> None:
    drawn = list(Shuffled(10, 3, 25))
    assert len(drawn) == len(Shuffled(10, 3, 25)) == 25
    assert sorted(drawn[:20]) == list(range(20))
    assert [index % 10 for index in drawn[:10]] != [index % 10 for index in drawn[10:20]]
    assert drawn == list(Shuffled(10, 3, 40))[:25]  # whatever the length of the run
    assert drawn != list(Shuffled(10, 4, 25))


def test_a_lesson_depends_on_its_number_alone(records: tuple[Record, ...], lessons: Callable[..., Lessons]) -> None:
    """Not on what was read before it, nor on the process that reads it."""
    one, other = (lessons(records, flip=0.5, jitter=0.3) for _ in range(2))
    order = [7, 3, 31, 12, 7]
    before = [one[index] for index in order]
    loader = DataLoader(other, sampler=sorted(order), batch_size=None, num_workers=2, collate_fn=lambda one: one)
    read = dict(zip(sorted(order), loader, strict=True))
    for index, example in zip(order, before, strict=True):
        assert same(example, read[index])
    assert not same(lessons(records, seed=2)[7], lessons(records)[7])


def test_pictures_are_mirrored_unless_a_caption_speaks_of_sides(
    tmp_path: Path, lessons: Callable[..., Lessons]
) -> None:
    image = Image.new("RGB", (40, 30))
    image.paste("white", (0, 0, 20, 30))
    image.save(tmp_path / "1.png")
    for caption, lighter in (("A boat upright.", "right"), ("A boat to the LEFT.", "left"), ("The rightmost.", "left")):
        pixels = lessons([record(tmp_path / "1.png", captions=[caption])], CAPTION, flip=1.0)[0].pixels
        halves = {"left": pixels[:, :, :32].mean(), "right": pixels[:, :, 32:].mean()}
        assert max(halves, key=lambda half: halves[half]) == lighter


def test_where_the_answer_would_be_too_long_the_smallest_boxes_are_left_out(
    tmp_path: Path, lessons: Callable[..., Lessons], tokenizer: Tokenizer
) -> None:
    things = [Thing("boat", (float(i), 0.0, i + 3.0 + i % 7, 20.0)) for i in range(20)]
    about = Record(1, picture(tmp_path / "1.png"), (40, 30), (), tuple(things))
    cost = len(tokenizer.encode("boat")) - 2 + 4
    answer = lessons([about], DETECT, longest=2 + 8 * cost)[0].answer
    assert len(answer) == 2 + 8 * cost
    assert answer[-1] == tokenizer.eos_id
    widths = [
        round(one.box[2] - one.box[0])
        for one in answers.parse(tasks.find("<OD>"), tokenizer.decode(answer), (40, 30)).objects
    ]
    assert sorted(widths, reverse=True) == sorted((3 + i % 7 for i in range(20)), reverse=True)[:8]


def test_a_caption_beyond_the_budget_is_not_taught_to_end_there(
    tmp_path: Path, lessons: Callable[..., Lessons], tokenizer: Tokenizer
) -> None:
    about = record(picture(tmp_path / "1.png"), captions=["A boat " * 100])
    answer = lessons([about], CAPTION)[0].answer
    assert len(answer) == tasks.find("<CAPTION>").max_new_tokens
    assert tokenizer.eos_id not in answer


def test_captions_that_spell_tokens_are_not_taught(tmp_path: Path, lessons: Callable[..., Lessons]) -> None:
    about = record(picture(tmp_path / "1.png"), captions=["A </s> boat.", "One <loc_5> boat.", "2 < 3 boats."])
    assert lessons([about], CAPTION).records[0].captions == ("2 < 3 boats.",)


def broken(folder: Path) -> dict[str, Record]:
    """Pictures that must not be taught, each with a box."""
    whole = picture(folder / "whole.jpg").read_bytes()
    (folder / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("<html>404</html>")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture(folder / "turned.jpg", exif=exif)
    picture(folder / "other size.jpg", (41, 30))
    names = ("torn.jpg", "empty.jpg", "text.jpg", "turned.jpg", "other size.jpg", "gone.jpg")
    return {name: record(folder / name, number) for number, name in enumerate(names)}


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_counted_logged_and_replaced(
    tmp_path: Path, lessons: Callable[..., Lessons], caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    """By whatever process meets them: a run of hours goes on."""
    bad = broken(tmp_path)
    taught = lessons([record(picture(tmp_path / "good.jpg"), 100 + i) for i in range(3)] + list(bad.values()))
    for _ in range(2):
        loader = DataLoader(taught, sampler=range(9), batch_size=3, num_workers=workers, collate_fn=list)
        assert sorted(example.record for batch in loader for example in batch)[0] >= 100
        assert taught.passed_over.tolist() == [0, 0, 0] + [1] * len(bad)
    if workers == 0:
        messages = [log.getMessage() for log in caplog.records if log.levelno == logging.WARNING]
        assert len(messages) == len(bad)
        for name in bad:
            assert sum(name in message for message in messages) == 1


def test_a_turned_picture_without_boxes_is_taught_upright(tmp_path: Path, lessons: Callable[..., Lessons]) -> None:
    turned = broken(tmp_path)["turned.jpg"]
    taught = lessons([Record(1, turned.path, turned.size, turned.captions, ())], CAPTION)
    assert taught[0].record == 1
    assert taught.passed_over.tolist() == [0]


def test_where_no_picture_can_be_read_it_says_so(tmp_path: Path, lessons: Callable[..., Lessons]) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg and 99 pictures before it cannot be read"):
        lessons([broken(tmp_path)["gone.jpg"]])[0]


@pytest.mark.parametrize(
    ("mix", "names", "message"),
    [
        ({"<OCR>": 1}, ["boat"], "cannot teach <OCR>; they teach <CAPTION>, <OD>"),
        ({"<OD>": -1}, ["boat"], "weight of <OD> is -1"),
        ({"<OD>": float("nan")}, ["boat"], "weight of <OD> is nan"),
        ({"<OD>": 0}, ["boat"], "annotations for any task"),
        ({"<OD>": 1}, [], "None of the 1 pictures has annotations for <OD>"),
        ({"<OD>": 1}, ["<loc_1>"], "'<loc_1>' .* cannot be read back"),
        ({"<OD>": 1}, ["ship", " boat"], "' boat' .* cannot be read back"),
        ({"<OD>": 1}, ["café"], "'café' .* cannot be read back"),
    ],
)
def test_what_cannot_be_taught_is_refused(
    tmp_path: Path, lessons: Callable[..., Lessons], mix: Mix, names: list[str], message: str
) -> None:
    things = tuple(Thing(name, (0.0, 0.0, 9.0, 9.0)) for name in names)
    with pytest.raises(DataError, match=message):
        lessons([Record(1, tmp_path, (40, 30), ("A boat.",), things)], mix)


def test_a_batch_is_laid_out_as_transformers_own_processor_does(
    records: tuple[Record, ...], lessons: Callable[..., Lessons], library: tokenizers.Tokenizer
) -> None:
    """Images and prompts in, `input_ids` and `attention_mask` out; only the pixels come from our own resizing."""
    words = PreTrainedTokenizerFast(
        tokenizer_object=library,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )
    seen = (SIZE // 32) ** 2 + 1
    pictures = CLIPImageProcessorPil(size={"height": SIZE, "width": SIZE}, do_center_crop=False)
    pictures.image_seq_length = seen
    processor = Florence2Processor(pictures, words, num_additional_image_tokens=0)
    taught = lessons(records)
    examples = [taught[index] for index in range(8)]
    prompts = [words.decode(example.prompt[1:-1]) for example in examples]
    expected = processor(
        images=[Image.new("RGB", (SIZE, SIZE))] * 8,
        text=prompts,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    batch = Collate(SIZE, words.image_token_id)(examples)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["pixel_values"].shape == expected["pixel_values"].shape
    assert batch["pixel_values"].dtype == torch.float32
    for row, example in zip(batch["labels"].tolist(), examples, strict=True):
        assert row == example.answer + [-100] * (len(row) - len(example.answer))
