"""What the README shows of the three ways in on AWS is what the miniature answers; `…` stands for what is left out."""

import json
import re

import pytest
from buckets import Store
from conftest import ROOT
from starlette.testclient import TestClient
from test_handler_entrypoint import SAMPLE, Context

from handler.api import create_app
from handler.florence.predictor import Predictor
from handler.settings import Storage
from handler.storage.delivery import deliver

README = (ROOT / "README.md").read_text()
UPLOADS, RESULTS = "florence-lambda-uploads-123456789012-us-east-1", "florence-lambda-results-123456789012-us-east-1"


def shown(after: str) -> str:
    """The output of the commands that have this text: its pattern."""
    block = re.findall(r"^```\n```\n(.*?)^```", README.split(after, 1)[1], re.MULTILINE | re.DOTALL)[0]
    return ".*".join(map(re.escape, block.replace("\n", "").split("…")))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(ROOT / "models" / "mini", 1)


def test_the_endpoint(predictor: Predictor) -> None:
    answer = TestClient(create_app(predictor)).post("/caption", content=SAMPLE)
    assert re.fullmatch(shown("curl --aws-sigv4"), answer.text)


def test_sam_local_invoke(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's own return; tests/e2e has SAM print it."""
    monkeypatch.setenv("FLORENCE_ARTIFACT", str(ROOT / "models" / "mini"))
    from handler import entrypoint

    answer = entrypoint.handle(json.loads((ROOT / "events" / "caption.json").read_text()), Context())
    assert re.fullmatch(shown("make invoke\n"), json.dumps(answer))


def test_a_picture_in_the_bucket(predictor: Predictor, store: Store) -> None:
    for bucket in (UPLOADS, RESULTS):
        store.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    put = store.put(UPLOADS, "shapes-1.png", SAMPLE)
    deliver(put.event, predictor, Storage(results_bucket=RESULTS), 60_000)
    result = store.get(RESULTS, f"results/{UPLOADS}/shapes-1.png/latest.json").decode()
    assert re.fullmatch(shown("shapes-1.png/latest.json"), result.rstrip())
