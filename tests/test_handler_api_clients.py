"""Clients that people already have, unchanged, against the running server: Hugging Face's and boto3's."""

from collections.abc import Iterator
from typing import Any

import boto3
import huggingface_hub
import numpy as np
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from browser import serving
from fakes import FakePredictor
from huggingface_hub import InferenceClient
from images import encoded, noise

WIDTH, HEIGHT = 200, 100
PNG = encoded(noise((WIDTH, HEIGHT)), "PNG")


@pytest.fixture(scope="module")
def predictor() -> FakePredictor:
    return FakePredictor()


@pytest.fixture(scope="module")
def address(predictor: FakePredictor) -> Iterator[str]:
    with serving(predictor) as address:
        yield address


# ---- huggingface_hub


@pytest.fixture
def hugging_face(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a client of one of our routes."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # the tests' default; loopback is allowed
    return lambda path: InferenceClient(model=f"{address}{path}?format=hf")


def test_image_to_text(hugging_face: Any) -> None:
    assert hugging_face("/caption").image_to_text(PNG).generated_text == "a fake answer to caption"
    assert hugging_face("/read").image_to_text(PNG).generated_text == "text"


def test_image_to_text_of_a_file(hugging_face: Any, tmp_path: Any) -> None:
    (tmp_path / "photo.png").write_bytes(PNG)
    assert hugging_face("/caption").image_to_text(tmp_path / "photo.png").generated_text.startswith("a fake")


def test_object_detection(hugging_face: Any) -> None:
    circle, square = hugging_face("/detect").object_detection(PNG)
    assert (circle.label, circle.score, square.label) == ("red circle", 0.9877, "blue square")
    assert (circle.box.xmin, circle.box.ymin, circle.box.xmax, circle.box.ymax) == (20, 10, 100, 50)
    (only,) = hugging_face("/detect").object_detection(PNG, threshold=0.5)  # sent as JSON
    assert only == circle


def test_image_classification(hugging_face: Any) -> None:
    circle, square = hugging_face("/classify").image_classification(PNG)
    assert (circle.label, circle.score, square.label) == ("red circle", 0.9877, "blue square")
    assert hugging_face("/classify").image_classification(PNG, top_k=1) == [circle]


def test_zero_shot_image_classification(hugging_face: Any, predictor: FakePredictor) -> None:
    labels = hugging_face("/classify").zero_shot_image_classification(PNG, candidate_labels=["a dog", "a cat"])
    assert {each.label for each in labels} == {"a dog", "a cat"}
    assert [ask.input for ask in predictor.asked[-2:]] == ["a dog", "a cat"]


def test_image_segmentation(hugging_face: Any, address: str) -> None:
    client = InferenceClient(model=f"{address}/segment?format=hf&text=the+dog")
    (segment,) = client.image_segmentation(PNG)
    assert (segment.label, segment.score, segment.mask.size) == ("the dog", 0.5, (WIDTH, HEIGHT))
    assert 0 < np.asarray(segment.mask).mean() < 255


def test_a_parameter_that_does_nothing_here_is_named(hugging_face: Any) -> None:
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as error:
        hugging_face("/classify").image_classification(PNG, function_to_apply="softmax")
    assert "function_to_apply" in error.value.response.json()["detail"]


def test_an_error_is_an_error_there(hugging_face: Any) -> None:
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError) as error:
        hugging_face("/caption").image_to_text(b"no image")
    assert error.value.response.status_code == 400


# ---- boto3


@pytest.fixture(scope="module")
def rekognition(address: str) -> Any:
    return boto3.client(
        "rekognition",
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 0}),
    )


def test_detect_labels(rekognition: Any) -> None:
    response = rekognition.detect_labels(Image={"Bytes": PNG})
    (circle,) = response["Labels"]  # Rekognition's own least confidence is 55 %
    assert (circle["Name"], circle["Confidence"]) == ("Red Circle", 98.77)
    box = {"Left": 0.1, "Top": 0.1, "Width": 0.4, "Height": 0.4}
    assert circle["Instances"] == [{"BoundingBox": box, "Confidence": 98.77}]
    assert response["ResponseMetadata"]["HTTPHeaders"]["x-florence-model"] == "fake"


def test_detect_labels_with_options(rekognition: Any) -> None:
    both = rekognition.detect_labels(Image={"Bytes": PNG}, MinConfidence=10)["Labels"]
    assert [label["Name"] for label in both] == ["Red Circle", "Blue Square"]
    first = rekognition.detect_labels(Image={"Bytes": PNG}, MinConfidence=10, MaxLabels=1, Features=["GENERAL_LABELS"])[
        "Labels"
    ]
    assert first == both[:1]


def test_detect_text(rekognition: Any) -> None:
    (line,) = rekognition.detect_text(Image={"Bytes": PNG})["TextDetections"]
    assert (line["DetectedText"], line["Type"]) == ("text", "LINE")


def test_what_is_not_served_is_an_exception_of_the_client(rekognition: Any) -> None:
    with pytest.raises(rekognition.exceptions.InvalidImageFormatException):
        rekognition.detect_labels(Image={"Bytes": b"no image"})
    with pytest.raises(rekognition.exceptions.InvalidParameterException, match="Features"):
        rekognition.detect_labels(Image={"Bytes": PNG}, Features=["IMAGE_PROPERTIES"])
    with pytest.raises(rekognition.exceptions.InvalidS3ObjectException, match="No bucket is read here"):
        rekognition.detect_labels(Image={"S3Object": {"Bucket": "photos", "Name": "a.jpg"}})
    with pytest.raises(rekognition.exceptions.ImageTooLargeException):
        rekognition.detect_labels(Image={"Bytes": bytes(21_000_000)})
    with pytest.raises(ClientError, match="UnknownOperationException"):
        rekognition.detect_faces(Image={"Bytes": PNG})
