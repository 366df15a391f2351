"""Many images from the command line: forms, going on, interruption, a watched folder, buckets, completion."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from buckets import PLAIN, Store
from conftest import ROOT
from fakes import COMMAND_LINE, FakePredictor
from huggingface_hub import ObjectDetectionOutputElement
from images import encoded, noise
from PIL import Image
from pycocotools.coco import COCO

from handler.__main__ import main
from handler.cli import parser, sources
from handler.florence.predictor import Ask, Result

Captured = pytest.CaptureFixture[str]
NAMES = ["000000000139.png", "000000000285.png", "000000000632.png"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures named as COCO's are; the working directory is the folder above."""
    monkeypatch.chdir(tmp_path)
    photos = Path("photos")
    photos.mkdir()
    for number, name in enumerate(NAMES):
        (photos / name).write_bytes(encoded(noise((200, 100), number), "PNG"))
    return photos


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- what is asked


@pytest.mark.parametrize(
    ("arguments", "tasks", "line"),
    [
        (
            ["caption", "--detail", "paragraph"],
            ["more-detailed-caption"],
            "0.88  a fake answer to more-detailed-caption",
        ),
        (["detect", "--classes", "dog, cat", "--max-objects", "1"], ["open-vocabulary-detection"] * 2, "0.99  dog"),
        (
            ["analyze", "--detail", "detailed"],
            ["detailed-caption", "detect"],
            "0.88  a fake answer to detailed-caption",
        ),
        (["classify"], ["detect"], "0.99  red circle"),
        (["ground", "--text", "a dog"], ["ground"], "0.99  red circle"),
        (["segment", "--text", "the dog"], ["referring-segmentation"], "0.50  the dog  0 0 100 0 100 50"),
        (["segment", "--region", "20,10,100,50"], ["region-segmentation"], "0.50    0 0 100 0 100 50"),
        (["read"], ["read-regions"], "0.50  text  0 0 200 0 200 100 0 100"),
        (["read", "--no-regions"], ["read"], "0.88  a fake answer to read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_the_commands_ask_what_the_routes_ask(
    fake: FakePredictor, photos: Path, capsys: Captured, arguments: list[str], tasks: list[str], line: str
) -> None:
    command, *options = arguments
    assert main([command, str(photos / NAMES[0]), *options]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith(line)
    assert [ask.task.name for ask in fake.asked] == tasks


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["analyze", "a.png", "--format", "coco"], "caption and detect apart"),
        (["caption", "a.png", "--format", "rekognition"], "no place in rekognition"),
        (["classify", "a.png", "--format", "coco"], "no place in coco"),
        (["detect", "a.png", "--format", "text", "--out", "a.txt"], "--out takes one of the forms for programs"),
        (["detect", "a.png", "--annotations", "a.json"], "--annotations is for --format coco"),
        (["detect", "a.png", "--format", "coco", "--annotations", "none.json"], "none.json: No such file"),
        (["detect", "a.png", "--out", "nowhere/a.jsonl"], "nowhere/a.jsonl cannot be written: No such file"),
        (["segment", "a.png"], "by a text or a region"),
        (["detect", "s3://"], "the bucket's name is missing"),
        (["detect", "--watch", "nowhere"], "--watch nowhere: there is no such folder"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    fake: FakePredictor, photos: Path, capsys: Captured, arguments: list[str], complaint: str
) -> None:
    assert main(arguments) == 1
    assert complaint in capsys.readouterr().err
    assert fake.asked == []


@pytest.mark.parametrize(
    "arguments", [["caption"], ["caption", "a.png", "--watch", "."], ["detect", "--max-objects", "0"]]
)
def test_wrong_usage_has_its_exit_code(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_the_examples_of_the_help_are_commands() -> None:
    built, examples = (
        parser.build(),
        re.findall(rf"^  {parser.PROGRAM} (.*)$", parser.build().format_help(), re.MULTILINE),
    )
    assert {shlex.split(each)[0] for each in examples} >= {"caption", "detect", "analyze", "read", "segment", "run"}
    for each in examples:
        assert built.parse_args(shlex.split(each)).command == shlex.split(each)[0]


# ---- forms


def test_coco_results_load(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    (photos / "cover.png").write_bytes(encoded(noise((20, 20)), "PNG"))
    assert main(["detect", "photos", "--format", "coco", "--out", "results.json"]) == 1
    assert "photos/cover.png: COCO's results need the image's number" in capsys.readouterr().err
    dataset = COCO()
    dataset.dataset = {"images": [{"id": 139}, {"id": 285}, {"id": 632}], "categories": [], "annotations": []}
    dataset.createIndex()
    assert len(dataset.loadRes("results.json").anns) == 6


def test_coco_results_with_numbers_of_a_file(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    images = [{"id": 7, "file_name": f"deep/{NAMES[0]}"}]
    annotations = {"images": images, "categories": [{"id": 3, "name": "Blue Square"}]}
    Path("own.json").write_text(json.dumps(annotations))
    assert main(["detect", "photos", "--format", "coco", "--annotations", "own.json"]) == 1
    out, err = capsys.readouterr()
    assert [(each["image_id"], each["category_id"]) for each in json.loads(out)] == [(7, 0), (7, 3)]
    assert err.count("the annotations have no image of this name") == 2
    Path("own.json").write_text("[]")
    assert main(["detect", "photos", "--format", "coco", "--annotations", "own.json"]) == 1
    assert "own.json is no file of COCO annotations" in capsys.readouterr().err


def test_nothing_found_is_an_empty_array(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["detect", "photos", "--format", "coco", "--min-score", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_forms_of_others_are_lines_with_the_name(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["detect", "photos", "--format", "hf"]) == 0
    first, *_ = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["file"] == f"photos/{NAMES[0]}"
    assert ObjectDetectionOutputElement.parse_obj_as_list(first["answer"])[0].label == "red circle"
    assert main(["detect", "photos", "--format", "rekognition"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["answer"]["Labels"][0]["Name"] == "Red Circle"


# ---- going on


@pytest.mark.parametrize("cut", [0, 1, 25])
@pytest.mark.parametrize("form", ["native", "coco"])
def test_a_second_run_asks_what_is_missing(
    fake: FakePredictor, photos: Path, capsys: Captured, form: str, cut: int
) -> None:
    command = ["detect", "photos", "--format", form, "--out", "out.json"]
    assert main(command) == 0
    whole = Path("out.json").read_bytes()
    end = whole.index(b'"file"', 20) + 40 if form == "native" else whole.index(b'"image_id": 285')
    Path("out.json").write_bytes(whole[: end + cut])  # as a sudden end leaves it, within the second image
    fake.asked.clear()
    assert main(command) == 0
    assert len(fake.asked) == 2
    assert "2 answered, 0 failed, 1 answered before" in capsys.readouterr().err
    assert Path("out.json").read_bytes() == whole
    assert main(command) == 0
    assert "0 answered, 0 failed, 3 answered before" in capsys.readouterr().err
    assert Path("out.json").read_bytes() == whole


def test_a_failure_is_tried_again(fake: FakePredictor, photos: Path) -> None:
    broken = photos / NAMES[1]
    good = broken.read_bytes()
    broken.write_bytes(b"no image")
    assert main(["caption", "photos", "--out", "out.jsonl"]) == 1
    broken.write_bytes(good)
    assert main(["caption", "photos", "--out", "out.jsonl"]) == 0
    assert [record["file"] for record in records(Path("out.jsonl"))] == [f"photos/{NAMES[n]}" for n in (0, 2, 1)]


@pytest.mark.parametrize(
    ("content", "form", "complaint"),
    [
        ("notes\n", "native", "line 1 is no answer of ours"),
        ('{"file": "a"}\n[]\n', "native", "line 2 is no answer of ours"),
        ('{"file": "a", "model": {"artifact": "other"}}\n', "native", "holds the answers of another model"),
        ('{"file": "a"}\n', "coco", "holds no COCO results of ours"),
        ("\xff\n", "native", "cannot be gone on with"),
    ],
)
def test_a_file_of_something_else_is_left_alone(
    fake: FakePredictor, photos: Path, capsys: Captured, content: str, form: str, complaint: str
) -> None:
    Path("out").write_text(content, encoding="latin-1")
    assert main(["caption", "photos", "--format", form, "--out", "out"]) == 1
    assert complaint in capsys.readouterr().err
    assert Path("out").read_text(encoding="latin-1") == content


@pytest.mark.parametrize("form", ["native", "coco"])
def test_interrupted_in_the_middle(fake: FakePredictor, photos: Path, capsys: Captured, form: str) -> None:
    predict = fake.predict

    def interrupt(image: bytes, asks: Sequence[Ask], deadline: float | None = None) -> Result:
        if len(fake.asked) == 2:
            raise KeyboardInterrupt
        return predict(image, asks, deadline)

    fake.predict = interrupt  # type: ignore[method-assign]
    command = ["caption", "photos", "--format", form, "--out", "out"]
    assert main(command) == 130
    assert "interrupted: 2 answered, 0 failed; the same command goes on" in capsys.readouterr().err
    if form == "coco":
        assert len(json.loads(Path("out").read_text())) == 2  # a whole array
    fake.predict = predict  # type: ignore[method-assign]
    assert main(command) == 0
    assert len(fake.asked) == 3


def test_ctrl_c_of_a_terminal_and_a_kill_leave_whole_lines(photos: Path) -> None:
    for number in range(2_000):
        os.link(photos / NAMES[0], photos / f"{number}.png")
    command = [sys.executable, "-c", COMMAND_LINE, "caption", str(photos.resolve()), "--out"]
    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        out = Path(f"{how.name}.jsonl").resolve()
        with subprocess.Popen([*command, str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            while not out.exists() or out.stat().st_size < 10_000:
                time.sleep(0.01)
                assert process.poll() is None
            process.send_signal(how)
            _, err = process.communicate(timeout=30)
        assert process.returncode == code
        assert "Traceback" not in err
        lines = out.read_text().split("\n")
        assert lines.pop() == "" or how is signal.SIGKILL
        assert 10 < len([json.loads(line) for line in lines]) < 2_000


def test_drawn_pictures_keep_their_names(fake: FakePredictor, photos: Path) -> None:
    (photos / "deep").mkdir()
    (photos / "deep" / NAMES[0]).write_bytes((photos / NAMES[0]).read_bytes())
    command = ["detect", "photos", "--out", "out.jsonl", "--draw", "drawn"]
    assert main(command) == 0
    expected = sorted([*NAMES, NAMES[0].replace(".png", "-2.png")])
    assert sorted(path.name for path in Path("drawn").iterdir()) == expected
    lines = Path("out.jsonl").read_text().splitlines(keepends=True)
    Path("out.jsonl").write_text("".join(lines[:1]))
    for path in Path("drawn").iterdir():
        path.unlink()
    assert main(command) == 0
    assert {path.name for path in Path("drawn").iterdir()} == set(expected) - {NAMES[0]}


# ---- watching


def test_what_comes_into_a_watched_folder_is_answered_once_whole(
    fake: FakePredictor, photos: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "POLL_SECONDS", 0.05)
    late, picture = photos / "late.png", encoded(noise((60, 60), 9), "PNG")

    def person() -> None:
        wait(3)
        with late.open("wb") as file:  # written slowly
            for start in range(0, len(picture), len(picture) // 8 + 1):
                file.write(picture[start : start + len(picture) // 8 + 1])
                file.flush()
                time.sleep(0.02)
        (photos / "notes.txt").write_text("no image")
        (photos / "bad.png").write_text("no image")
        wait(4)
        (photos / NAMES[0]).write_bytes(picture)  # another in its place
        wait(5)
        signal.raise_signal(signal.SIGINT)

    def wait(lines: int) -> None:
        deadline = time.monotonic() + 30
        while not Path("out.jsonl").exists() or len(Path("out.jsonl").read_text().splitlines()) < lines:
            time.sleep(0.01)
            assert time.monotonic() < deadline

    thread = threading.Thread(target=person)
    thread.start()
    assert main(["caption", "--watch", "photos", "--out", "out.jsonl"]) in (0, 1)
    thread.join(30)
    answered = [Path(record["file"]).name for record in records(Path("out.jsonl"))]
    assert answered == [*NAMES, "late.png", NAMES[0]]
    assert capsys.readouterr().err.count("late.png") == 0


# ---- buckets


def test_a_prefix_of_a_bucket(fake: FakePredictor, photos: Path, store: Store, capsys: Captured) -> None:
    for key in ("2026/a.png", "2026/deep/b ü+1.PNG", "2026/notes.txt", "2025/c.png"):
        store.put(PLAIN, key, (photos / NAMES[0]).read_bytes())
    store.put(PLAIN, "2026/broken.jpg", b"no image")
    command = ["caption", f"s3://{PLAIN}/2026/", f"photos/{NAMES[1]}", "--out", "out.jsonl"]
    assert main(command) == 1
    assert f"s3://{PLAIN}/2026/broken.jpg: The data is not an image" in capsys.readouterr().err
    named = [record["file"] for record in records(Path("out.jsonl"))]
    assert named == [f"s3://{PLAIN}/2026/a.png", f"s3://{PLAIN}/2026/deep/b ü+1.PNG", f"photos/{NAMES[1]}"]
    store.calls.clear()
    assert main(command) == 1
    assert store.calls == ["ListObjectsV2", "GetObject"]  # what was answered is not read again


def test_one_object_of_a_bucket_and_what_is_not_there(
    fake: FakePredictor, photos: Path, store: Store, capsys: Captured
) -> None:
    store.put(PLAIN, "a.png", (photos / NAMES[0]).read_bytes())
    assert main(["caption", f"s3://{PLAIN}/a.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == f"s3://{PLAIN}/a.png"
    assert main(["caption", f"s3://{PLAIN}/gone.png"]) == 1
    assert "is not there, or not any more" in capsys.readouterr().err
    assert main(["caption", "s3://no-such-bucket/"]) == 1
    assert "s3://no-such-bucket/ cannot be listed: " in capsys.readouterr().err


def test_a_listing_of_many_pages_is_read_as_it_goes(fake: FakePredictor, photos: Path, store: Store) -> None:
    for number in range(1_001):  # a page has 1,000
        store.put(PLAIN, f"{number:04}.png", b"x")
    images = iter(sources.find([f"s3://{PLAIN}"]).images)
    store.calls.clear()
    assert next(images).name == f"s3://{PLAIN}/0000.png"
    assert store.calls == ["ListObjectsV2"]
    assert len(list(images)) == 1_000
    assert store.calls == ["ListObjectsV2"] * 2


def test_without_boto3_the_mend_is_named(
    fake: FakePredictor, photos: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from handler.storage import objects

    objects.forget()
    monkeypatch.setitem(sys.modules, "boto3", None)
    for name in ("s3://photos/", "s3://photos/a.png"):
        assert main(["caption", name]) == 1
        assert "error: Buckets need boto3: python -m pip install" in capsys.readouterr().err


# ---- completion


def complete(line: str, folder: Path) -> list[str]:
    """What bash offers for the last word of this line."""
    script = subprocess.run(
        [sys.executable, "-m", "handler", "completion", "bash"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    words = line.split(" ")
    asked = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}"
    program = f"{script}\n{asked}\n_shtab_florence\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
    run = subprocess.run(["bash", "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_bash_completes_commands_options_tasks_and_files(photos: Path) -> None:
    assert complete("florence ca", photos) == ["caption"]
    assert "--classes" in complete("florence detect --c", photos)
    assert set(complete("florence detect --format r", photos)) == {"rekognition"}
    assert "region-category" in complete("florence run region-c", photos)
    assert NAMES[0] in complete("florence caption 0000", photos)


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_scripts_for_other_shells_are_made(shell: str, capsys: Captured) -> None:
    assert main(["completion", shell, "--name", "captions"]) == 0
    assert "captions" in capsys.readouterr().out


def test_drawn_pictures_are_pictures(fake: FakePredictor, photos: Path) -> None:
    assert main(["detect", f"photos/{NAMES[0]}", "--draw", "boxes.png"]) == 0
    with Image.open("boxes.png") as picture:
        assert picture.size == (200, 100)
