"""Each form of answers, read by those whose form it is: pycocotools, botocore, supervision, Hugging Face's types."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import botocore.session
import numpy as np
import pytest
import supervision
from botocore.validate import ParamValidator
from fakes import FakePredictor
from huggingface_hub import (
    ImageSegmentationOutputElement,
    ImageToTextOutput,
    ObjectDetectionOutputElement,
)
from images import encoded, noise
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from handler import questions, schemas
from handler.florence.errors import TaskInputError
from handler.florence.tasks import TASKS, find
from handler.formats import Format, check, coco, hf, rekognition, render

WIDTH, HEIGHT = 200, 100


def answer(name: str) -> schemas.TaskAnswer:
    """The stand-in's answer to this task."""
    predictor = FakePredictor()
    extra = {"none": (None, None), "text": ("a dog", None), "region": (None, "20,10,100,50")}[find(name).input]
    data = encoded(noise((WIDTH, HEIGHT)), "PNG")
    question = questions.task(name, *extra)
    answered = question.answer(predictor.manifest, predictor.predict(data, question.asks))
    assert isinstance(answered, schemas.TaskAnswer)
    return answered


def found(*objects: schemas.Object, size: tuple[int, int] = (WIDTH, HEIGHT)) -> schemas.TaskAnswer:
    """An answer with these objects."""
    image = schemas.Image(width=size[0], height=size[1], format="PNG", sha256="")
    return answer("detect").model_copy(update={"objects": list(objects), "image": image})


def plain(rendered: list[Any]) -> list[Any]:
    """As it is sent."""
    return [json.loads(each.model_dump_json(exclude_none=True)) for each in rendered]


# ---- hf


@pytest.mark.parametrize("name", ["caption", "read", "region-category"])
def test_a_text_is_image_to_text(name: str) -> None:
    rendered = plain(hf.elements(answer(name)))
    assert ImageToTextOutput.parse_obj_as_list(rendered)[0].generated_text == answer(name).text


def test_what_was_read_with_regions_is_a_text_of_lines() -> None:
    quad = (0.0, 0.0, 9.0, 0.0, 9.0, 9.0, 0.0, 9.0)
    read = found(*(schemas.Object(label=label, score=1, quad=quad) for label in ("STOP", "here")))
    assert plain(hf.elements(read)) == [{"generated_text": "STOP\nhere"}]


def test_boxes_are_object_detection() -> None:
    first, second = ObjectDetectionOutputElement.parse_obj_as_list(plain(hf.elements(answer("detect"))))
    assert (first.label, first.score) == ("red circle", 0.9877)
    assert (first.box.xmin, first.box.ymin, first.box.xmax, first.box.ymax) == (20, 10, 100, 50)
    assert second.label == "blue square"


def test_polygons_are_masks() -> None:
    square = (10.0, 20.0, 49.0, 20.0, 49.0, 59.0, 10.0, 59.0)
    rendered = plain(hf.elements(found(schemas.Object(label="", score=0.5, polygons=(square, (1.0, 1.0, 2.0, 2.0))))))
    (segment,) = ImageSegmentationOutputElement.parse_obj_as_list(rendered)
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(segment.mask))))
    assert mask.shape == (HEIGHT, WIDTH)
    assert set(np.unique(mask)) == {0, 255}
    ys, xs = np.nonzero(mask)
    assert (xs.min(), ys.min(), xs.max(), ys.max()) == (10, 20, 49, 59)
    assert len(xs) == 40 * 40


# ---- coco


@pytest.fixture(scope="module")
def truth(refdata: Path) -> COCO:
    """79 pictures of val2017 with COCO's own annotations."""
    return COCO(str(refdata / "coco_mini" / "instances_val2017_mini79.json"))


def test_the_names_and_numbers_are_cocos(truth: COCO) -> None:
    assert {each["name"]: each["id"] for each in truth.loadCats(truth.getCatIds())} == coco.CATEGORIES
    assert len(coco.CATEGORIES) == 80


def as_answers(truth: COCO) -> dict[int, schemas.TaskAnswer]:
    """COCO's annotations as if the model had found them, but for crowds."""
    names = {each["id"]: each["name"] for each in truth.loadCats(truth.getCatIds())}
    answers = {}
    for image in truth.loadImgs(truth.getImgIds()):
        objects = []
        for each in truth.loadAnns(truth.getAnnIds(imgIds=image["id"], iscrowd=0)):
            polygons = tuple(tuple(polygon) for polygon in each["segmentation"])
            objects.append(schemas.Object(label=names[each["category_id"]], score=0.9, polygons=polygons))
        answers[image["id"]] = found(*objects, size=(image["width"], image["height"]))
    return answers


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_results_load_and_score_as_the_truth_they_are(truth: COCO, kind: str, tmp_path: Path) -> None:
    rendered = [each for number, one in as_answers(truth).items() for each in coco.results(one, number)]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(plain(rendered)))
    evaluation = COCOeval(truth, truth.loadRes(str(file)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # A polygon's bounds are COCO's box but for rounding; at most 100 detections a picture count.
    assert evaluation.stats[0] > 0.99


def test_other_labels_have_category_0_and_are_left_out_of_an_evaluation(truth: COCO) -> None:
    box = (1.0, 2.0, 11.0, 22.0)
    number = truth.getImgIds()[0]
    rendered = plain(
        coco.results(
            found(*(schemas.Object(label=label, score=0.5, box=box) for label in (" Traffic LIGHT ", "red circle"))),
            number,
        )
    )
    assert [each["category_id"] for each in rendered] == [10, coco.OTHER]
    assert [each["category_name"] for each in rendered] == [" Traffic LIGHT ", "red circle"]
    assert rendered[0]["bbox"] == [1, 2, 10, 20]
    evaluation = COCOeval(truth, truth.loadRes(rendered), "bbox")
    evaluation.evaluate()
    assert sum(len(image["dtIds"]) for image in evaluation.evalImgs if image and image["aRng"] == [0, 1e10]) == 1


def test_categories_of_ones_own() -> None:
    (first, second) = coco.results(answer("detect"), 7, {"blue square": 3})
    assert isinstance(first, coco.Detection)
    assert isinstance(second, coco.Detection)
    assert (first.category_id, second.category_id) == (coco.OTHER, 3)


def test_captions_load(refdata: Path) -> None:
    captions = COCO(str(refdata / "coco_mini" / "captions_val2017_mini79.json"))
    number = captions.getImgIds()[0]
    loaded = captions.loadRes(plain(coco.results(answer("caption"), number)))
    assert [each["caption"] for each in loaded.imgToAnns[number]] == ["a fake answer to caption"]


def test_a_polygon_without_area_is_left_to_its_box() -> None:
    (result,) = coco.results(found(schemas.Object(label="dog", score=1, polygons=((1.0, 2.0, 3.0, 5.0),))), 1)
    assert isinstance(result, coco.Detection)
    assert (result.segmentation, result.bbox) == (None, (1, 2, 2, 3))


# ---- rekognition


@pytest.fixture(scope="module")
def service() -> Any:
    """Botocore's own description of the service."""
    return botocore.session.get_session().get_service_model("rekognition")


def validate(service: Any, operation: str, response: rekognition.Response) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(response.model_dump_json())
    shape = service.operation_model(operation).output_shape
    report = ParamValidator().validate(content, shape)
    assert not report.has_errors(), report.generate_report()
    assert set(content) <= set(shape.members)
    return content


def test_labels_are_what_botocore_describes(service: Any) -> None:
    content = validate(service, "DetectLabels", rekognition.response(answer("detect")))
    assert content["LabelModelVersion"] == "fake"
    circle, square = content["Labels"]
    assert (circle["Name"], circle["Confidence"]) == ("Red Circle", 98.77)
    box = {"Left": 0.1, "Top": 0.1, "Width": 0.4, "Height": 0.4}
    assert circle["Instances"] == [{"BoundingBox": box, "Confidence": 98.77}]
    assert square["Name"] == "Blue Square"


def test_a_label_is_there_once_with_its_instances_surest_first(service: Any) -> None:
    box = (150.0, 20.0, 50.0, 10.0)  # corners in any order
    labelled = [("dog", 0.3), ("cat", 0.6), ("dog", 0.9)]
    several = found(*(schemas.Object(label=label, score=score, box=box) for label, score in labelled))
    dog, cat = validate(service, "DetectLabels", rekognition.response(several))["Labels"]
    assert (dog["Name"], dog["Confidence"]) == ("Dog", 90)
    assert [each["Confidence"] for each in dog["Instances"]] == [90, 30]
    assert cat["Instances"][0]["BoundingBox"] == {"Left": 0.25, "Top": 0.1, "Width": 0.5, "Height": 0.1}


def test_text_is_what_botocore_describes(service: Any) -> None:
    (line,) = validate(service, "DetectText", rekognition.response(answer("read-regions")))["TextDetections"]
    assert (line["DetectedText"], line["Type"], line["Confidence"]) == ("text", "LINE", 50)
    assert line["Geometry"]["BoundingBox"] == {"Left": 0, "Top": 0, "Width": 1, "Height": 1}
    assert len(line["Geometry"]["Polygon"]) == 4


def test_nothing_found_is_an_empty_list(service: Any) -> None:
    assert validate(service, "DetectLabels", rekognition.response(found()))["Labels"] == []
    nothing = answer("read-regions").model_copy(update={"objects": []})
    assert validate(service, "DetectText", rekognition.response(nothing))["TextDetections"] == []


# ---- all


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("format_", Format)
def test_every_task_has_a_form_or_is_refused_before_it_is_asked(task: Any, format_: Format) -> None:
    if (format_, task.answer) == (Format.REKOGNITION, "text"):
        with pytest.raises(TaskInputError, match=task.name):
            check(task, format_)
    else:
        check(task, format_)
        assert render(answer(task.name), format_)


def test_native_is_the_answer_itself() -> None:
    native = answer("detect")
    assert render(native, Format.NATIVE) is native


def test_native_boxes_are_supervisions_detections() -> None:
    """As docs/api.md shows."""
    objects = json.loads(answer("detect").model_dump_json())["objects"]
    detections = supervision.Detections(
        xyxy=np.array([found["box"] for found in objects], np.float32).reshape(-1, 4),
        confidence=np.array([found["score"] for found in objects], np.float32),
        data={"class_name": np.array([found["label"] for found in objects])},
    )
    assert len(detections[detections.confidence > 0.5]) == 1
    assert detections["class_name"].tolist() == ["red circle", "blue square"]
    scene = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    annotated = supervision.BoxAnnotator(color_lookup=supervision.ColorLookup.INDEX).annotate(scene.copy(), detections)
    assert (annotated[10, 20:100] != scene[10, 20:100]).any()
