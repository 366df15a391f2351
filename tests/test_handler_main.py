"""The command line, in process and with a stand-in predictor: what it prints where, and with which exit code."""

import fcntl
import hashlib
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import COMMAND_LINE, NOTICE, FakePredictor
from images import encoded, noise
from PIL import Image

from handler.__main__ import main
from handler.florence import predictor as predictor_module
from handler.florence.errors import ArtifactError
from handler.florence.image import MAX_BYTES
from handler.florence.predictor import Ask, Result
from handler.florence.tasks import TASKS, Task

ROOT = Path(__file__).parents[1]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """a.jpg, deep/b.png, broken.jpg and notes.txt in a folder of their own, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    photos = Path("photos")
    (photos / "deep").mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(photos / "a.jpg")
    Image.new("RGB", (100, 100)).save(photos / "deep" / "b.png")
    (photos / "broken.jpg").write_text("not at all")
    (photos / "notes.txt").write_text("no one's image")
    return photos


Captured = pytest.CaptureFixture[str]


def test_caption_for_people(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["caption", "photos/a.jpg"]) == 0
    out, err = capsys.readouterr()
    assert out == "0.88  a fake answer to caption\n"
    assert err == f"note: {NOTICE}\n"


def test_a_model_without_a_notice_is_quiet(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    fake.manifest.notice = ""
    assert main(["caption", "photos/a.jpg"]) == 0
    assert capsys.readouterr().err == ""


def test_detect_for_people(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["detect", "photos/a.jpg"]) == 0
    assert capsys.readouterr().out == "0.99  red circle   20 10 100 50\n0.40  blue square  120 20 180 95\n"


def test_analyze_asks_once(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["analyze", "photos/a.jpg", "--min-score", "0.5"]) == 0
    assert capsys.readouterr().out == "0.88  a fake answer to caption\n0.99  red circle   20 10 100 50\n".replace(
        "circle   20", "circle  20"
    )
    assert [ask.task.name for ask in fake.asked] == ["caption", "detect"]


def test_nothing_found(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["detect", "photos/a.jpg", "--min-score", "1"]) == 0
    assert capsys.readouterr().out == "nothing found\n"


def test_several_files_go_on_past_those_that_fail(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    (photos / "empty").mkdir()
    assert main(["caption", "photos", "photos/gone.png", "photos/notes.txt", "photos/empty"]) == 1
    out, err = capsys.readouterr()
    assert (
        out == "photos/a.jpg\n  0.88  a fake answer to caption\nphotos/deep/b.png\n  0.88  a fake answer to caption\n"
    )
    assert [line.split(": ")[0] for line in err.splitlines()[1:]] == [
        "photos/broken.jpg",
        "photos/gone.png",
        "photos/notes.txt",
        "photos/empty",
    ]
    assert "No such file or directory" in err
    assert "photos/empty: no images in this folder" in err


def test_patterns_and_repeats(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["caption", "photos/**/*.png", "photos/a*", "photos/a.jpg", "--json"]) == 0
    files = [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()]
    assert files == ["photos/deep/b.png", "photos/a.jpg"]


def test_a_file_over_the_limit_is_not_read_whole(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    sizes: list[int] = []
    predict = fake.predict

    def measure(image: bytes, asks: Sequence[Ask]) -> Result:
        sizes.append(len(image))
        return predict(image, asks)

    fake.predict = measure  # type: ignore[method-assign]
    with (photos / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES * 3)
    assert main(["caption", "photos/huge.png"]) == 1
    assert sizes == [MAX_BYTES + 1]


def test_json_lines_are_the_apis_answers(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["analyze", "photos/a.jpg", "photos/deep/b.png", "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["file"] == "photos/a.jpg"
    assert first["caption"] == "a fake answer to caption"
    assert first["objects"][0] == {"label": "red circle", "score": 0.9877, "box": [20, 10, 100, 50]}
    sha256 = hashlib.sha256((photos / "deep" / "b.png").read_bytes()).hexdigest()
    assert second["image"] == {"width": 100, "height": 100, "format": "PNG", "sha256": sha256}
    assert second["model"]["notice"] == NOTICE


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_run_asks_any_task(fake: FakePredictor, photos: Path, capsys: Captured, task: Task) -> None:
    options = {"none": [], "text": ["--input", "a dog"], "region": ["--region", "20,10,100,50"]}[task.input]
    assert main(["run", task.name, "photos/a.jpg", *options]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("0.")
    assert ("may be incomplete" in err) == (task.name == "read")
    assert fake.asked[0].input == {"none": None, "text": "a dog", "region": (20, 10, 100, 50)}[task.input]


def test_an_unknown_task_is_refused_before_a_model_is_loaded(photos: Path, capsys: Captured) -> None:
    assert main(["run", "sing", "photos/a.jpg"]) == 1
    assert capsys.readouterr().err.startswith("error: There is no task 'sing'; there are caption, ")


def test_an_input_that_does_not_fit_is_told_once(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["run", "ground", "photos/a.jpg"]) == 1
    assert capsys.readouterr().err == "error: The task ground needs a text as input.\n"


def test_draw_one(fake: FakePredictor, photos: Path) -> None:
    assert main(["detect", "photos/a.jpg", "--draw", "boxes.png"]) == 0
    with Image.open("boxes.png") as picture:
        assert picture.size == (200, 100)


def test_draw_several_into_a_folder(fake: FakePredictor, photos: Path) -> None:
    Image.new("RGB", (9, 9)).save(photos / "a.png")
    assert main(["detect", "photos/a.jpg", "photos/a.png", "photos/deep", "--draw", "new/drawn"]) == 0
    assert sorted(path.name for path in Path("new/drawn").iterdir()) == ["a-2.png", "a.png", "b.png"]


def test_draw_where_one_cannot(fake: FakePredictor, photos: Path, capsys: Captured) -> None:
    assert main(["detect", "photos/a.jpg", "--draw", "boxes.xyz"]) == 1
    assert "error: --draw boxes.xyz: a picture's name must end in one of .gif," in capsys.readouterr().err
    assert main(["detect", "photos/a.jpg", "photos/deep", "--draw", "photos/notes.txt"]) == 1
    assert "for several images this must be a folder" in capsys.readouterr().err
    assert main(["detect", "photos/a.jpg", "--draw", "nowhere/boxes.png"]) == 1
    assert "error: --draw nowhere/boxes.png: there is no folder nowhere." in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_a_line(
    photos: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(artifact: Path, threads: int | None) -> None:
        raise ArtifactError(f"{artifact}/manifest.json is missing.")

    monkeypatch.setattr(predictor_module, "Predictor", fail)
    assert main(["caption", "photos/a.jpg", "--artifact", "elsewhere"]) == 1
    assert capsys.readouterr().err == "error: elsewhere/manifest.json is missing.\n"


def test_a_wrong_setting_is_a_line(photos: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLORENCE_THREADS", "many")
    assert main(["caption", "photos/a.jpg"]) == 1
    assert capsys.readouterr().err.startswith("error: FLORENCE_THREADS must be")


@pytest.mark.parametrize("score", ["2", "-1", "nan", "x"])
def test_a_score_out_of_range_is_a_usage_error(score: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["detect", "a.jpg", "--min-score", score])
    assert exit_.value.code == 2


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_out_of_range_is_a_usage_error(port: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["serve", "--port", port])
    assert exit_.value.code == 2


def test_interruption_has_its_exit_code(fake: FakePredictor, photos: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    fake.before = interrupt
    assert main(["caption", "photos/a.jpg"]) == 130


def test_help_needs_no_model_and_none_of_its_libraries() -> None:
    libraries = {"onnxruntime", "numpy", "PIL", "fastapi", "pydantic", "tqdm", "shtab", "boto3"}
    code = (
        "import sys; from handler.__main__ import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print({libraries} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m handler segment photo.jpg --text" in run.stdout
    assert run.stdout.endswith("set()\n")


def test_a_terminal_sees_progress_and_a_file_does_not(photos: Path) -> None:
    command = [sys.executable, "-c", COMMAND_LINE, "caption", str((photos / "a.jpg").resolve())]
    command.append(str((photos / "deep").resolve()))
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=end, text=True, check=True)
    os.close(end)
    seen = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "0/2 [" in seen
    assert run.stdout.count("a fake answer to caption") == 2
    assert "\r" not in run.stdout
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stderr == f"note: {NOTICE}\n"


def test_a_reader_who_leaves_early_is_no_error(photos: Path) -> None:
    # The stand-in prints more than a pipe holds, to a `head` that wants one line.
    for number in range(300):
        Image.new("RGB", (9, 9)).save(photos / f"{number}.png")
    command = f'"{sys.executable}" -c "{COMMAND_LINE}" caption {photos.resolve()}/*.png --json | head -n 1'
    run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["caption"] == "a fake answer to caption"
    assert run.stderr == f"note: {NOTICE}\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a text", "The data is not an image; send one of JPEG, PNG, GIF, WebP."),
        (b"II*\0" + bytes(60), "The image is TIFF, which is not supported; send one of JPEG, PNG, GIF, WebP."),
        (bytes(MAX_BYTES + 1), f"The image has {MAX_BYTES + 1:,} bytes; at most {MAX_BYTES:,} are allowed."),
        (b"GIF89a\xff\xff\xff\xff\0\0\0;", "The image is 65,535 x 65,535 pixels; at most 50,331,648 in all"),
        (encoded(noise((64, 64)), "PNG")[:2000], "The PNG image is damaged or cut off, and cannot be read."),
    ],
    ids=["no image", "unsupported", "too large", "too many pixels", "damaged"],
)
def test_an_image_that_is_refused_is_one_line(photos: Path, capsys: Captured, content: bytes, said: str) -> None:
    """With the miniature itself."""
    (photos / "bad.png").write_bytes(content)
    assert main(["caption", "photos/bad.png", "--artifact", str(ROOT / "models" / "mini")]) == 1
    out, err = capsys.readouterr()
    note, line = err.splitlines()
    assert note.startswith("note: This is the miniature")
    assert line.startswith(f"photos/bad.png: {said}")
    assert out == ""


@pytest.mark.parametrize("command", [["caption", "photos/a.jpg"], ["serve", "--port", "0"]], ids=["caption", "serve"])
def test_a_damaged_artifact_is_one_line(photos: Path, capsys: Captured, command: list[str]) -> None:
    shutil.copytree(ROOT / "models" / "mini", "damaged")
    with Path("damaged/weights.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"x" * 100)
    assert main([*command, "--artifact", "damaged"]) == 1
    out, err = capsys.readouterr()
    assert err == ("error: damaged/weights.safetensors is damaged: its sha256 differs. Build the artifact again.\n")
    assert out == ""


def test_a_python_without_the_packages_is_told_which_has_them(photos: Path) -> None:
    """As a reader's own, before `source .venv/bin/activate`."""
    command = [sys.executable, "-S", "-m", "handler", "caption", "photos/a.jpg"]  # -S: no site-packages
    run = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("error: There is no ")
    assert run.stderr.endswith("and `source .venv/bin/activate` takes that one.\n")
    assert run.stderr.count("\n") == 1
