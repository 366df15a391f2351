"""The report on real evaluations: the miniature, which has never named a heart, and an oracle that answers the truth.

The page is opened in Chromium, as in `browser`; pictures of it are left in tests/output.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import Driver, console, resize, shoot, theme
from PIL import Image
from pycocotools import mask

from handler.florence.predictor import Object, Predictor
from training import coco, shapes
from training.evaluate import evaluate
from training.report import __main__ as command
from training.report import evaluations, ranking
from training.report.evaluations import Answer

ROOT = Path(__file__).parents[1]
COUNT = 10
NASTY = """</style><script>hacked=1</script><img src=x onerror="hacked=1">'$x_2$&amp;"""


class Oracle:
    """Answers what `coco` says, in the predictor's words."""

    def __init__(self, data: coco.Coco) -> None:
        self.manifest = SimpleNamespace(name="oracle", precision="fp32", image_size=128)
        self._truth = {record.path.read_bytes(): record for record in data.records}

    def predict(self, image: bytes, asks: Sequence[object]) -> Any:
        record = self._truth[image]
        objects = tuple(Object(thing.category, 0.9, thing.box, None, None) for thing in record.things)
        answers = SimpleNamespace(text=record.captions[0], score=0.9, tokens=9), SimpleNamespace(objects=objects)
        return SimpleNamespace(predictions=answers, milliseconds={"vision": 1.0})


@dataclass(frozen=True)
class Runs:
    data: Path
    base: Path
    oracle: Path
    losses: Path

    def arguments(self, out: Path, *more: str) -> list[str]:
        named = ["--evaluation", f"base={self.base}", "--evaluation", f"oracle={self.oracle}"]
        return ["--data", str(self.data), *named, "--losses", str(self.losses), "--out", str(out), *more]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    found = Runs(folder / "data", folder / "base", folder / "oracle", folder / "losses.csv")
    shapes.write_coco(found.data, COUNT, 9, shapes.CATEGORIES, split="val")
    data = coco.read(found.data, "val")
    evaluate(Predictor(ROOT / "models" / "mini"), "mini", data, "val", None, found.base)
    evaluate(Oracle(data), "oracle", data, "val", None, found.oracle)  # type: ignore[arg-type]
    found.losses.write_text(
        "step,loss,eval_loss,learning_rate,seconds\n10,2.5,,0.001,1.5\n20,1.25,1.5,0.0005,3\n30,,1.375,,\n"
    )
    return found


@pytest.fixture(scope="module")
def written(runs: Runs) -> Path:
    out = runs.data.parent / "report"
    assert command.main(runs.arguments(out)) == 0
    return out


@pytest.fixture
def page(browser: Driver, written: Path) -> Iterator[Driver]:
    resize(browser, 1280, 900)
    theme(browser, "light")
    console(browser)
    browser.get((written / "report.html").as_uri())
    yield browser
    assert console(browser) == []


def cells(page: Driver, table: str, row: str) -> list[str]:
    script = """
        const rows = [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(
            (row) => [...row.cells].map((cell) => cell.textContent.trim().replace("\\u00a0", " ")));
        return rows.find((row) => row[0] === arguments[1]);
    """
    found: list[str] = page.execute_script(script, table, row)
    return found


def load_pictures(page: Driver) -> int:
    """How many pictures there are, all of which have been decoded."""
    script = """
        const done = arguments[0], images = [...document.querySelectorAll("svg image")];
        Promise.all(images.map((image) => image.decode())).then(() => done(images.length), (error) => done(`${error}`));
    """
    count: int = page.execute_async_script(script)
    return count


def test_the_figures_are_those_that_were_measured(page: Driver, runs: Runs) -> None:
    base, oracle = (json.loads((each / "figures.json").read_text()) for each in (runs.base, runs.oracle))
    before, after = base["captions"]["cider"], oracle["captions"]["cider"]
    assert page.title.startswith(f"CIDEr rises from {before:.3f} to {after:.3f}")
    assert page.title.endswith(f"on {COUNT} held-out pictures.")
    assert cells(page, "figures", "CIDEr") == ["CIDEr", f"{before:.3f}", f"{after:.3f}", f"▲ +{after - before:.3f}"]
    exact = 100 * base["captions"]["exact"]
    row = cells(page, "figures", "Exactly right")
    assert row == ["Exactly right", f"{exact:.1f} %", "100.0 %", f"▲ +{100 - exact:.1f} pp"]
    assert cells(page, "categories", "heartnew")[:3] == ["heartnew", "0.000", "1.000"]
    circle = base["detection"]["per_category"]["circle"]
    assert cells(page, "categories", "circle")[:3] == ["circle", f"{circle:.3f}", "1.000"]
    text = page.find_element("tag name", "body").text
    assert "A new category, heart: AP 1.000." in text
    assert "The held-out loss is lowest at step 30: 1.375." in text
    assert base["data"] in text
    shoot(page, "report.png")


def test_pictures_load_with_the_boxes_of_all_side_by_side(page: Driver, written: Path) -> None:
    assert load_pictures(page) == COUNT
    assert len(page.find_elements("css selector", ".card figure")) == COUNT * 3  # truth, base, oracle
    missed = [each.text for each in page.find_elements("css selector", "figcaption small")]
    assert any("missed" in each and "heart" in each for each in missed)
    html = (written / "report.html").read_text()
    assert "http://" not in html.replace("http://www.w3.org/", "")
    assert "https://" not in html
    assert "<script" not in html


@pytest.mark.parametrize("name", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(page: Driver, name: str) -> None:
    theme(page, name)
    resize(page, 360, 740)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    background, ink = page.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map("
        "(c) => c.match(/\\d+/g).slice(0, 3).reduce((sum, x) => sum + Number(x), 0) / 3)"
    )
    assert (ink - background if name == "dark" else background - ink) > 160
    shoot(page, f"report-phone-{name}.png")


def test_the_picture_for_a_readme_and_the_same_bytes_again(runs: Runs, written: Path, tmp_path: Path) -> None:
    with Image.open(written / "report.png") as image:
        assert image.width > 1200
        assert len(set(np.asarray(image.convert("L")).reshape(-1).tolist())) > 100
    assert command.main(runs.arguments(tmp_path)) == 0
    for name in ("report.html", "report.png"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_hostile_names_are_shown_as_they_are(runs: Runs, browser: Driver, tmp_path: Path) -> None:
    def poison(path: Path, change: dict[str, Any]) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    data, evaluated, out = tmp_path / "data", tmp_path / "evaluated", tmp_path / "out"
    shapes.write_coco(data, 3, 9, split="val")
    captions, instances = data / "annotations" / "captions_val.json", data / "annotations" / "instances_val.json"
    nasty_file = NASTY.replace("/", "|")  # as far as a file name goes
    images = json.loads(captions.read_text())["images"]
    for path in (captions, instances):
        poison(path, {"images": [images[0] | {"file_name": nasty_file + ".png"}, *images[1:]]})
    (data / "val" / images[0]["file_name"]).rename(data / "val" / f"{nasty_file}.png")
    document = json.loads(captions.read_text())
    poison(captions, {"annotations": [one | {"caption": NASTY} for one in document["annotations"]]})
    document = json.loads(instances.read_text())
    poison(instances, {"categories": [one | {"name": NASTY + one["name"]} for one in document["categories"]]})
    truth = coco.read(data, "val")
    evaluate(Oracle(truth), "oracle", truth, "val", None, evaluated)  # type: ignore[arg-type]
    poison(evaluated / "figures.json", {"model": NASTY, "unknown_labels": {NASTY: 1}})

    arguments = ["--data", str(data), "--evaluation", f"{NASTY.replace('=', '')}={evaluated}", "--out", str(out)]
    assert command.main(arguments) == 0
    console(browser)
    browser.get((out / "report.html").as_uri())
    assert load_pictures(browser) == 3
    assert console(browser) == []
    assert browser.execute_script("return typeof hacked") == "undefined"
    assert browser.execute_script("return document.querySelectorAll('script, img, [onerror]').length") == 0
    text = browser.execute_script("return document.body.textContent")
    for expected in (NASTY, nasty_file, NASTY + "circle"):
        assert expected in text
    resize(browser, 360, 740)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize(
    ("spoilt", "content", "said"),
    [
        ("figures.json", None, "does not exist: correct --evaluation"),
        ("figures.json", '{"model": "m"}', "is not as training wrote it (precision: Field required)"),
        ("predictions.jsonl", None, "does not exist: correct --evaluation"),
        ("predictions.jsonl", "", "holds no answers: run python -m training.evaluate again"),
        ("predictions.jsonl", '{"image_id": 0}\n{"image', "line 2 is not as training wrote it"),
        ("predictions.jsonl", '{"image_id": 4711}\n', "answers picture 4711, which is not in"),
        ("predictions.jsonl", '{"image_id": 0}\n', "does not answer the same pictures as base (1 and 10)"),
        ("losses.csv", None, "does not exist: correct --losses"),
        ("losses.csv", "step,loss\n1,2\n", "has no column eval_loss"),
        ("losses.csv", "step,loss,eval_loss\n", "holds no losses yet"),
        ("losses.csv", "step,loss,eval_loss\n1,2,\n2,two,\n", "losses.csv, line 3 is not as training wrote it (loss:"),
    ],
)
def test_an_unusable_file_is_named_in_one_line(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: str, content: str | None, said: str
) -> None:
    copied = tmp_path / "oracle"
    copied.mkdir()
    for name in ("figures.json", "predictions.jsonl"):
        (copied / name).write_bytes((runs.oracle / name).read_bytes())
    (tmp_path / "losses.csv").write_bytes(runs.losses.read_bytes())
    path = (tmp_path if spoilt == "losses.csv" else copied) / spoilt
    path.unlink()
    if content is not None:
        path.write_text(content)
    bad = Runs(runs.data, runs.base, copied, tmp_path / "losses.csv")
    assert command.main(bad.arguments(tmp_path / "out")) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(f"report: {path}")
    assert said in message
    assert not (tmp_path / "out").exists()


def test_other_data_than_was_measured_on_are_refused(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes.write_coco(tmp_path / "data", COUNT, 10, split="val")
    other = Runs(tmp_path / "data", runs.base, runs.oracle, runs.losses)
    assert command.main(other.arguments(tmp_path / "out")) == 1
    assert "was measured on other data than" in capsys.readouterr().err
    assert command.main(runs.arguments(tmp_path / "out", "--split", "test")) == 1
    assert "has no split 'test': it has val" in capsys.readouterr().err


def record(id_: int, captions: tuple[str, ...] = (), **things: tuple[float, float, float, float]) -> coco.Record:
    marked = tuple(coco.Thing(name.rstrip("_"), box) for name, box in things.items())
    return coco.Record(id_, Path("x.png"), (100, 100), captions, marked)


def answer(text: str = "", *objects: tuple[str, float, tuple[float, float, float, float]]) -> Answer:
    found = [{"label": label, "score": score, "box": box} for label, score, box in objects]
    return Answer.model_validate({"image_id": 1, "caption": {"text": text, "score": 0.5}, "objects": found})


def test_each_box_takes_one_thing_and_the_surest_takes_first() -> None:
    truth = record(1, dog=(0, 0, 10, 10), cat=(20, 20, 40, 40), dog_=(50, 50, 90, 90))
    marked = ranking.mark(
        truth,
        answer(
            "",
            ("dog", 0.5, (0, 0, 10, 9)),  # right, were it not for a surer one
            ("dog", 0.9, (10, 10, 0, 0)),  # corners in another order
            ("cat", 0.9, (30, 30, 50, 50)),  # IoU 1/7
            ("cow", 0.9, (20, 20, 40, 40)),  # no such thing
        ),
        detects=True,
    )
    assert marked.right == (False, True, False, False)
    assert marked.missed == ("cat", "dog")
    assert marked.objects_score == pytest.approx(2 / 7)
    empty = ranking.mark(record(2), answer(), detects=True)
    assert empty.objects_score == 1


def test_overlap_is_that_of_pycocotools() -> None:
    rng = random.Random(3)
    for _ in range(200):
        (ax, ay, aw, ah), (bx, by, bw, bh) = ([rng.uniform(1, 50) for _ in range(4)] for _ in range(2))
        expected = mask.iou(np.array([[ax, ay, aw, ah]]), np.array([[bx, by, bw, bh]]), [0])[0][0]
        assert ranking.overlap((ax, ay, ax + aw, ay + ah), (bx, by, bx + bw, by + bh)) == pytest.approx(expected)


def test_words_outside_the_nearest_reference_are_marked() -> None:
    truth = record(1, ("A dog.", "A red circle and a blue star."))
    marked = ranking.mark(truth, answer("A red circle and a green star!"), detects=False)
    assert [word for word, right in marked.words if not right] == ["green"]
    assert marked.caption_score == marked.score == pytest.approx(6 / 7)
    assert marked.right == ()


def scored(id_: int, *words_right: int) -> tuple[coco.Record, tuple[ranking.Marked, ...]]:
    """A picture on which each evaluation gets so many of a hundred right."""
    one = record(id_)
    return one, tuple(ranking.Marked(answer(), (), (), (), share / 100, None) for share in words_right)


def test_the_sheet_shows_the_worst_the_lost_and_the_usual() -> None:
    few = ranking.choose([scored(i, 50, 100 - i) for i in range(5)], 5)
    assert [one.record.id for one in few] == [4, 3, 2, 1, 0]
    many = [scored(i, 0, i) for i in range(90)] + [scored(i, 100, i) for i in (97, 95, 96)]
    chosen = ranking.choose(many, 8)
    assert [one.record.id for one in chosen if one.why == "among the worst"] == [0, 1, 2, 3]
    assert [one.record.id for one in chosen if one.why == "lost most"] == [95, 96]
    usual = [one.record.id for one in chosen if one.why == "an even sample"]
    assert len(usual) == 2
    assert usual[0] in range(20, 35)
    assert usual[1] in range(60, 80)
    without_loss = ranking.choose([scored(i, 0, i) for i in range(90)], 8)
    assert len({one.record.id for one in without_loss}) == 8


def test_minus_one_and_nan_are_no_figures(tmp_path: Path) -> None:
    figures = {
        "model": "m",
        "precision": "int8",
        "pictures": 1,
        "captions": None,
        "detection": {"map": -1, "ap50": 0.5, "ap75": None, "per_category": {"cow": -1.0}},
    }
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    (tmp_path / "predictions.jsonl").write_text('{"image_id": 1}\n')
    read = evaluations.read("x", tmp_path).figures
    assert read.detection is not None
    assert (read.detection.map, read.detection.ap50, read.detection.per_category) == (None, 0.5, {"cow": None})
