"""Hostile requests: what schemathesis derives from the OpenAPI document, with all of its checks."""

import os

import pytest
import schemathesis
from fakes import FakePredictor
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from images import encoded, noise
from schemathesis import Case
from schemathesis.config import SchemathesisConfig
from torture import amount

from handler.api import create_app

# JSON Schema cannot say what an image is: without these, every "valid" request would be refused as no image.
IMAGES = [encoded(noise((9, 5)), format_) for format_ in ("JPEG", "PNG", "WebP", "GIF")]
schemathesis.openapi.format("binary", st.sampled_from(IMAGES))
schemathesis.openapi.media_type("image/*", st.sampled_from(IMAGES), aliases=["image/jpeg", "image/png"])

# Nor which input goes with which task: what fits the document may still be refused by the task, and only as that.
REFUSED = {
    "include-operation-id-regex": "tasks__task_",
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 404, 422]}},
}
CONFIG = SchemathesisConfig.from_dict({"operations": [REFUSED]})
schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(FakePredictor()), config=CONFIG)


@schema.parametrize()
@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(
    max_examples=amount(30, 1_000),
    deadline=None,
    derandomize=os.environ.get("TORTURE") != "long",
    suppress_health_check=list(HealthCheck),
)
def test_every_operation_keeps_its_contract(case: Case) -> None:
    case.call_and_validate()
