"""Evaluation: a model that knows the truth, interrupted runs, and the miniature itself."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from pycocotools.coco import COCO
from test_training_coco import link

from handler.florence.errors import DamagedImage
from handler.florence.predictor import Ask, Predictor
from training import answering, base, coco, evaluate, lora, shapes

MINI = ROOT / "models" / "mini"
COUNT = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    shapes.write_coco(folder, COUNT, 9)
    return folder


class Knowing:
    """Stands where the predictor does and answers the truth; to picture 3 a thing that the data does not name, too."""

    manifest = SimpleNamespace(name="knowing", precision="fp32", image_size=128)

    def __init__(self, world: Path, stop: int = COUNT) -> None:
        paths = sorted((world / "images").iterdir())
        self._of = {path.read_bytes(): index for index, path in enumerate(paths)}
        self.asked: list[int] = []
        self._stop = stop

    def predict(self, image: bytes, asks: Sequence[Ask]) -> Any:
        if image not in self._of:
            raise DamagedImage("The PNG image is damaged.")
        if len(self.asked) == self._stop:
            raise KeyboardInterrupt
        index = self._of[image]
        self.asked.append(index)
        scene = shapes.draw(9, index)
        objects = [SimpleNamespace(label=thing.shape, score=0.9, box=thing.box) for thing in scene.things]
        objects += [SimpleNamespace(label="cat", score=0.5, box=(0, 0, 9, 9))] * (index == 3)
        caption = SimpleNamespace(text=scene.caption, score=0.8, tokens=9)
        predictions = (caption, SimpleNamespace(objects=objects))
        return SimpleNamespace(predictions=predictions, milliseconds={"vision": 1.5, "decoder": 2.0})


def run(predictor: Any, data: Path, out: Path, limit: int | None = None) -> dict[str, Any]:
    evaluate.evaluate(predictor, "sha", coco.read(data, "all"), "all", limit, out)
    figures: dict[str, Any] = json.loads((out / "figures.json").read_text())
    return figures


def test_a_model_that_knows_the_truth_has_full_marks(world: Path, tmp_path: Path) -> None:
    figures = run(Knowing(world), world, tmp_path)
    assert (figures["model"], figures["precision"], figures["pictures"]) == ("knowing", "fp32", COUNT)
    assert figures["captions"]["exact"] == 1
    assert figures["captions"]["bleu"] == pytest.approx([1] * 4)
    assert figures["captions"]["rouge_l"] == pytest.approx(1)
    assert figures["captions"]["cider"] > 4  # the second reference, the detailed caption, is another sentence
    for name in ("map", "ap50", "ap75", "ar100", "map_constant_scores"):
        assert figures["detection"][name] == pytest.approx(1), name
    assert figures["detection"]["per_category"].keys() == set(shapes.SHAPES)
    assert figures["unknown_labels"] == {"cat": 1}
    assert figures["calibration"]["captions"] == {
        "error": pytest.approx(0.2),
        "bins": [{"score": pytest.approx(0.8), "right": 1, "count": COUNT}],
    }
    assert figures["calibration"]["detections"]["error"] == pytest.approx(0.1)
    assert figures["milliseconds"] == {"median": 3.5}


def test_the_results_are_in_cocos_format(world: Path, tmp_path: Path) -> None:
    run(Knowing(world), world, tmp_path)
    for truth, results in (("captions", "captions_results"), ("instances", "detections_results")):
        loaded = COCO(str(world / f"{truth}.json")).loadRes(str(tmp_path / f"{results}.json"))
        assert len(loaded.getImgIds()) == COUNT
        assert len(loaded.anns) >= COUNT


def test_an_interrupted_run_goes_on_and_ends_the_same(world: Path, tmp_path: Path) -> None:
    whole = run(Knowing(world), world, tmp_path / "whole")
    out, first = tmp_path / "cut", Knowing(world, stop=7)
    with pytest.raises(KeyboardInterrupt):
        run(first, world, out)
    assert not (out / "figures.json").exists()
    lines = out / "predictions.jsonl"
    lines.write_bytes(lines.read_bytes()[:-20])  # the seventh line half written
    second = Knowing(world)
    assert run(second, world, out) == whole
    assert (first.asked, second.asked) == (list(range(7)), list(range(6, COUNT)))
    assert lines.read_text() == (tmp_path / "whole" / "predictions.jsonl").read_text()
    third = Knowing(world)
    assert run(third, world, out) == whole
    assert third.asked == []


def test_another_run_is_refused(world: Path, tmp_path: Path) -> None:
    run(Knowing(world), world, tmp_path / "out", limit=3)
    with pytest.raises(evaluate.EvaluationError, match=r"another run \(limit 3 -> 4\)"):
        run(Knowing(world), world, tmp_path / "out", limit=4)
    shapes.write_coco(tmp_path / "other", 3, 10)
    with pytest.raises(evaluate.EvaluationError, match="data"):
        run(Knowing(world), tmp_path / "other", tmp_path / "out", limit=3)
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(evaluate.EvaluationError, match=r"without run\.json"):
        run(Knowing(world), world, tmp_path / "out", limit=3)


def test_what_the_data_has_no_truth_for_is_null(world: Path, tmp_path: Path) -> None:
    for kept, missing in (("captions", "detection"), ("instances", "captions")):
        folder = tmp_path / kept
        folder.mkdir()
        shutil.copytree(world / "images", folder / "images")
        shutil.copy(world / f"{kept}.json", folder)
        figures = run(Knowing(world), folder, tmp_path / f"out-{kept}")
        assert figures[missing] is None
        assert [name for name, value in figures["calibration"].items() if value is None] == [
            "detections" if missing == "detection" else "captions"
        ]
        assert figures["detection" if missing == "captions" else "captions"] is not None


def test_pictures_with_captions_alone_count_for_the_captions_alone(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "world")
    document = json.loads((tmp_path / "world" / "instances.json").read_text())
    document["images"] = document["images"][:5]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] < 5]
    (tmp_path / "world" / "instances.json").write_text(json.dumps(document))
    figures = run(Knowing(world), tmp_path / "world", tmp_path / "out")
    assert figures["calibration"]["captions"]["bins"][0]["count"] == COUNT
    assert figures["detection"]["map"] == pytest.approx(1)
    assert figures["calibration"]["detections"]["bins"][0]["count"] == len(document["annotations"])


def test_a_picture_that_cannot_be_read_is_left_out(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path / "world")
    (tmp_path / "world" / "images" / "000002.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    figures = run(Knowing(world), tmp_path / "world", tmp_path / "out")
    assert figures["pictures"] == COUNT - 1
    assert sum(figures["set_aside"].values()) == 1
    assert figures["detection"]["map"] == pytest.approx(1)


def test_the_miniature_keeps_its_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes.write_coco(tmp_path / "world", 40, 9)
    command = ["--data", str(tmp_path / "world"), "--out", str(tmp_path / "out")]
    assert evaluate.main(["--artifact", str(MINI), *command]) == 0
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert (figures["pictures"], figures["precision"]) == (40, "int8")
    assert figures["captions"]["exact"] >= 0.85
    assert figures["captions"]["cider"] >= 4
    assert figures["detection"]["map"] >= 0.6
    assert "florence-2-mini in int8: 40 pictures" in capsys.readouterr().out
    first = json.loads((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()[0])
    asked = Predictor(MINI).predict((tmp_path / "world" / "images" / "000000.png").read_bytes(), answering.ASKS)
    assert first["caption"]["text"] == asked.predictions[0].text
    assert [one["box"] for one in first["objects"]] == [list(one.box or ()) for one in asked.predictions[1].objects]
    # The torch model in the same folder is another model.
    checkpoint = ["--checkpoint", str(ROOT / "models" / "mini-checkpoint"), "--image-size", "128"]
    assert evaluate.main([*checkpoint, *command]) == 1
    assert "holds another run (model" in capsys.readouterr().err


def test_the_torch_model_is_measured_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes.write_coco(tmp_path / "world", 6, 9)
    command = ["--data", str(tmp_path / "world"), "--limit", "5", "--out"]
    checkpoint = ["--checkpoint", str(ROOT / "models" / "mini-checkpoint"), "--image-size", "128"]
    assert evaluate.main([*checkpoint, *command, str(tmp_path / "torch")]) == 0
    assert evaluate.main(["--artifact", str(MINI), *command, str(tmp_path / "int8")]) == 0
    said = [json.loads((tmp_path / name / "captions_results.json").read_text()) for name in ("torch", "int8")]
    assert len(said[0]) == 5
    assert said[0] == said[1]
    assert "mini-checkpoint in fp32: 5 pictures" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT 0.21's
def test_an_adapter_is_measured_at_the_size_it_was_trained_at(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = ROOT / "models" / "mini-checkpoint"
    model = lora.attach(base.load(checkpoint)[0], lora.PRESETS["text"], seed=1)
    lora.save(model, tmp_path / "lora", lora.Provenance("id", None, 96, "p", "d", "text", 1, 1, {}))
    command = ["--checkpoint", str(checkpoint), "--adapter", str(tmp_path / "lora"), "--data", str(world)]
    command += ["--limit", "1", "--out"]
    assert evaluate.main([*command, str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["image_size"] == 96
    (tmp_path / "lora" / "training.json").write_text("{}")
    assert evaluate.main([*command, str(tmp_path / "other")]) == 1
    assert "training.json is damaged" in capsys.readouterr().err


def test_cocos_own_pictures_are_measured(refdata: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the miniature, which has never seen a photograph: the figures are low, and every part of them is there."""
    data = link(refdata / "coco_mini", tmp_path / "coco", "2017")
    assert evaluate.main(["--artifact", str(MINI), "--data", str(data), "--out", str(tmp_path / "out")]) == 0
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["pictures"] == 25
    assert figures["set_aside"] == {"crowd boxes": 2}
    assert 0 <= figures["captions"]["cider"] < 0.2
    assert 0 <= figures["detection"]["map"] < 0.05
    assert sum(figures["unknown_labels"].values()) > 0
    assert "25 pictures" in capsys.readouterr().out


def test_a_terminal_sees_progress(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(Knowing(world), world, tmp_path)
    assert f"{COUNT}/{COUNT} [" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--artifact", "nowhere"], "nowhere holds no artifact"),
        (["--artifact", str(MINI), "--adapter", "a"], "belong to --checkpoint"),
        (["--artifact", str(MINI), "--processes", "2"], "belong to --checkpoint"),
        (["--artifact", str(MINI), "--split", "test"], "has no split 'test'; it has all"),
    ],
)
def test_mistakes_are_one_line(
    extra: list[str], message: str, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([*extra, "--data", str(world), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ")
    assert message in error
    assert error.count("\n") == 1
