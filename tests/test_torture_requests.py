"""Hostile requests: what schemathesis derives from the OpenAPI document, with all of its checks."""

import base64
import os
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from buckets import RESULTS, UPLOADS
from fakes import FakePredictor
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from images import encoded, noise
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from schemathesis.transport.serialization import Binary
from torture import amount, record

from handler.api import create_app
from handler.settings import Storage

# JSON Schema cannot say what an image is: without these, every "valid" request would be refused as no image.
IMAGES = [encoded(noise((9, 5)), format_) for format_ in ("JPEG", "PNG", "WebP", "GIF")]
schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
schemathesis.openapi.format("byte", st.sampled_from([base64.b64encode(image).decode() for image in IMAGES]))
schemathesis.openapi.media_type("image/*", st.sampled_from(IMAGES), aliases=["image/jpeg", "image/png"])

# Rarely bytes are made up all the same, and refused as 400, 415 or 422. Nor can it say which input goes with which
# task: what fits the document may still be refused by the task, and only as that.
REFUSED = {
    "include-operation-id-regex": "tasks__task_|ground|segment",
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 400, 403, 404, 415, 422]}},
}
NO_BUCKET = {
    "include-operation-id-regex": "caption|detect|analyze|classify|read",
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 400, 403, 415, 422]}},
}
# An image of a batch that cannot be answered has its problem in the answer.
BATCH = {
    "include-operation-id-regex": "batch",
    "checks": {
        "positive_data_acceptance": {"expected-statuses": ["2xx", 422]},
        "negative_data_rejection": {"expected-statuses": [200, 400, 413, 415, 422]},
    },
}
FREE_TEXTS = ("classes", "input", "text")
CONFIG = SchemathesisConfig.from_dict({"operations": [NO_BUCKET, REFUSED, BATCH]})
APP = create_app(FakePredictor(), storage=Storage(results_bucket=RESULTS, uploads_bucket=UPLOADS))
schema = schemathesis.openapi.from_asgi("/openapi.json", APP, config=CONFIG)


sent: Counter[str] = Counter()


@pytest.fixture(scope="module", autouse=True)
def figures() -> Iterator[None]:
    """What was sent, in the end."""
    yield
    record("requests", operations=len(sent), sent=sent.total())


@schema.parametrize()
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("store")
@settings(
    max_examples=amount(30, 1_000),
    deadline=None,
    derandomize=os.environ.get("TORTURE") != "long",
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_its_contract(case: Case) -> None:
    body = case.body
    if (
        case.meta
        and case.meta.generation.mode.is_positive
        and isinstance(body, dict)
        and isinstance(body.get("image"), Binary)
    ):
        assume(body["image"].data in IMAGES)  # some of its images are its own invention
    if case.media_type == "multipart/form-data" and isinstance(body, dict):
        # In a form everything is text, and a list is a field that stands several times: what is meant as null or as a
        # list of one number, both wrong, arrives as a word or a number, both right.
        assume(all(isinstance(body.get(name, ""), str) for name in FREE_TEXTS))
        assume(not any(isinstance(value, list) for name, value in body.items() if name != "image"))
    sent[case.operation.label] += 1
    case.call_and_validate()
