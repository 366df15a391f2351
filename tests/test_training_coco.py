"""COCO's own annotations and pictures in every arrangement they come in, and annotations that are wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from training import coco, shapes
from training.coco import DataError, Record, Thing

KINDS = ("captions", "instances")
# Where the annotations and the pictures lie, and how the split is then called.
LAYOUTS = {
    "2017": ("annotations/{}_val2017.json", "val2017", "val"),
    "2014": ("annotations/{}_val2014.json", "val2014", "val"),
    "pictures in images/": ("annotations/{}_val2017.json", "images/val2017", "val"),
    "all in one folder": ("{}_val2017.json", ".", "val"),
    "a name of one's own": ("annotations/{}_harbour.json", "harbour", "harbour"),
    "one unnamed split": ("{}.json", "images", "all"),
}


def link(real: Path, directory: Path, layout: str) -> Path:
    """The real annotations and pictures, linked into this layout."""
    annotations, pictures, _ = LAYOUTS[layout]
    (directory / annotations).parent.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (directory / annotations.format(kind)).symlink_to(real / f"{kind}_images.json")
    (directory / pictures).mkdir(parents=True, exist_ok=True)
    for path in (real / "images").iterdir():
        (directory / pictures / path.name).symlink_to(path)
    return directory


def document(images: Any, annotations: Any, categories: Any = None) -> dict[str, Any]:
    named = [{"id": 7, "name": "boat"}] if categories is None else categories
    return {"images": images, "annotations": annotations, "categories": named}


def write(directory: Path, captions: Any = None, instances: Any = None, pictures: tuple[str, ...] = ()) -> Path:
    """One unnamed split: annotation documents, and empty files for pictures."""
    (directory / "images").mkdir(exist_ok=True)
    for name, content in (("captions", captions), ("instances", instances)):
        if content is not None:
            (directory / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    for picture in pictures:
        (directory / "images" / picture).touch()
    return directory


IMAGE = {"id": 1, "file_name": "1.jpg", "width": 100, "height": 50}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cocos_own_pictures_in_every_arrangement(refdata: Path, tmp_path: Path, layout: str) -> None:
    real = refdata / "coco_mini"
    data = link(real, tmp_path, layout)
    split = LAYOUTS[layout][2]
    assert coco.splits(data) == (split,)
    read = coco.read(data, split)
    assert [record.path.resolve() for record in read.records] == sorted((real / "images").resolve().iterdir())
    assert read.set_aside == {"crowd boxes": 2}
    assert sum(len(record.captions) for record in read.records) == 125
    assert sum(len(record.things) for record in read.records) == 211
    assert read.fingerprint == coco.read(link(real, tmp_path / "elsewhere", "2017"), "val").fingerprint


def test_boxes_and_captions_are_those_that_pycocotools_reads(
    refdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = refdata / "coco_mini"
    instances, captions = (COCO(str(real / f"{kind}_images.json")) for kind in ("instances", "captions"))
    names = {category["id"]: category["name"] for category in instances.loadCats(instances.getCatIds())}
    read = coco.read(link(real, tmp_path, "2017"), "val")
    assert read.categories == {name: id_ for id_, name in names.items()}
    for record in read.records:
        boxes = []
        for one in instances.loadAnns(instances.getAnnIds(record.id, iscrowd=False)):
            x, y, width, height = one["bbox"]
            box = (x, y, min(x + width, record.size[0]), min(y + height, record.size[1]))
            boxes.append((names[one["category_id"]], box))
        assert sorted((thing.category, thing.box) for thing in record.things) == sorted(boxes)
        said = [" ".join(one["caption"].split()) for one in captions.loadAnns(captions.getAnnIds(record.id))]
        assert list(record.captions) == said


def test_the_files_may_be_asked_for_by_their_own_suffix(refdata: Path, tmp_path: Path) -> None:
    data = link(refdata / "coco_mini", tmp_path, "2017")
    assert len(coco.read(data, "val2017").records) == 25


def test_two_years_in_one_folder_keep_their_years(tmp_path: Path) -> None:
    for suffix in ("train2014", "train2017", "val2017"):
        shapes.write_coco(tmp_path, 1, 1, split=suffix)
    assert coco.splits(tmp_path) == ("train2014", "train2017", "val")
    assert coco.read(tmp_path, "train2014").records[0].path.parent.name == "train2014"


def test_things_stand_from_left_to_right_then_from_top_to_bottom(tmp_path: Path) -> None:
    boxes = [[60, 0, 10, 10], [0, 30, 10, 10], [0, 10, 10, 10], [30, 0, 4, 4], [28, 0, 8, 8]]
    annotations = [{"image_id": 1, "category_id": 7, "bbox": box} for box in boxes]
    read = coco.read(write(tmp_path, instances=document([IMAGE], annotations), pictures=("1.jpg",)), "all")
    assert [thing.box[:2] for thing in read.records[0].things] == [(0, 10), (0, 30), (30, 0), (28, 0), (60, 0)]


def test_what_cannot_be_taught_is_set_aside_and_counted(tmp_path: Path) -> None:
    good = [[10, 10, 20, 20], [-5.5, -5, 20, 20], [90, 40, 30, 30]]
    degenerate: list[Any] = [
        [],
        None,
        [1, 2, 3],
        [0, 0, 0, 9],
        [5, 5, 20, -3],
        "1,2,3,4",
        [1, 2, None, 4],
        [1, 1, 0.4, 9],
    ]
    outside = [[100, 0, 5, 5], [0, -30, 5, 5], [1e9, 1e9, 5, 5]]
    annotations = [
        *({"image_id": 1, "category_id": 7, "bbox": box} for box in (*good, *degenerate, *outside)),
        {"image_id": 1, "category_id": 7, "bbox": [99.5, 10, 20, 20]},  # half a pixel of it is in the picture
        {"image_id": 1, "category_id": 7},
        {
            "image_id": 1,
            "category_id": 7,
            "bbox": [0, 0, 9, 9],
            "iscrowd": 1,
            "segmentation": {"counts": "", "size": []},
        },
        {"image_id": 1, "category_id": 8, "bbox": [0, 0, 9, 9]},
        {"image_id": 99, "category_id": 7, "bbox": [0, 0, 9, 9]},
    ]
    said = ["A boat .", "", "  \n", None, "A\nred  boat."]
    captions = [{"image_id": 1, "caption": text} for text in said] + [{"image_id": 99, "caption": "Lost."}]
    images = [IMAGE, IMAGE | {"id": 2, "file_name": "2.jpg"}, IMAGE | {"id": 3, "file_name": "3.jpg", "width": 0}]
    data = write(tmp_path, document(images, captions), document(images, annotations), ("1.jpg", "3.jpg"))
    read = coco.read(data, "all")
    assert read.records == (
        Record(
            1,
            data / "images" / "1.jpg",
            (100, 50),
            ("A boat .", "A red boat."),
            (
                Thing("boat", (0, 0, 14.5, 15)),
                Thing("boat", (10, 10, 30, 30)),
                Thing("boat", (90, 40, 100, 50)),
            ),
        ),
    )
    assert read.set_aside == {
        "empty captions": 3,
        "annotations of unknown images": 2,
        "degenerate boxes": len(degenerate) + 2,
        "boxes outside the picture": len(outside),
        "crowd boxes": 1,
        "boxes of unknown categories": 1,
        "missing files": 1,
        "pictures without a size": 1,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_the_two_files_is_enough(tmp_path: Path, kind: str) -> None:
    one = {"image_id": 1, "caption": "A boat.", "category_id": 7, "bbox": [0, 0, 9, 9]}
    (record,) = coco.read(write(tmp_path, **{kind: document([IMAGE], [one])}, pictures=("1.jpg",)), "all").records
    assert (len(record.captions), len(record.things)) == ((1, 0) if kind == "captions" else (0, 1))


def test_reading_opens_no_picture(tmp_path: Path) -> None:
    """The pictures are empty files, and one is in a folder that its `file_name` names."""
    nested = IMAGE | {"id": 2, "file_name": "deep/2.jpg"}
    annotations = [{"image_id": id_, "caption": "A boat."} for id_ in (1, 2)]
    (tmp_path / "images" / "deep").mkdir(parents=True)
    data = write(tmp_path, document([IMAGE, nested], annotations), pictures=("1.jpg", "deep/2.jpg"))
    assert [record.path.name for record in coco.read(data, "all").records] == ["1.jpg", "2.jpg"]


TWICE = [{"id": 7, "name": "boat"}, {"id": 8, "name": "boat"}]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no captions"),
        ({"instances": ""}, r"instances.json is not in COCO's format: .*Download or export it again"),
        ({"instances": '{"images": [{"id": 1, "fi'}, "instances.json is not in COCO's format"),
        ({"captions": "[]"}, "captions.json is not in COCO's format"),
        ({"captions": b"\xff\xfe".decode("latin-1")}, "captions.json is not in COCO's format"),
        ({"instances": {"images": [], "annotations": []}}, "missing required field `categories`"),
        ({"instances": '{"images": [], "categories": [], "annotations": [{"bbox": [NaN]}]}'}, "malformed"),
        ({"instances": document([IMAGE], [], TWICE)}, "two categories named 'boat'"),
        (
            {"captions": document([IMAGE], [])},
            r"no picture to read \(1 missing files\); put the pictures into .*images",
        ),
        ({"captions": document([], [])}, r"no picture to read \(it lists none\)"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, files: Mapping[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        coco.read(write(tmp_path, **files), "all")


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    shapes.write_coco(tmp_path, 1, 1, split="train")
    with pytest.raises(DataError, match="no split 'val'; it has train"):
        coco.read(tmp_path, "val")


def test_the_fingerprint_tells_contents_apart(tmp_path: Path) -> None:
    found = []
    for number, text in enumerate(("A boat.", "A coat.")):
        (folder := tmp_path / str(number)).mkdir()
        captions = document([IMAGE], [{"image_id": 1, "caption": text}])
        found.append(coco.read(write(folder, captions, pictures=("1.jpg",)), "all").fingerprint)
    assert found[0] != found[1]
