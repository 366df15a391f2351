"""What the README shows below its commands is what they print. Of the miniature, "…" for what is left out."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from buckets import RESULTS, Store
from conftest import ROOT
from starlette.testclient import TestClient
from test_docs_commands import ACTIVATE, commands
from test_handler_entrypoint import Context, entrypoint  # noqa: F401

from handler.__main__ import main
from handler.api import create_app
from handler.settings import Storage

README = (ROOT / "README.md").read_text()
# Blocks of commands, each with the block of their output.
SHOWN = re.findall(r"^```sh\n((?:(?!```).*\n)*)```\n```\n((?:(?!```).*\n)*)```", README, re.MULTILINE)
SAMPLE = ROOT / "handler" / "page" / "samples" / "shapes-1.png"
PICTURES = "florence-lambda-uploads-123456789012-us-east-1"


@pytest.fixture
def printed(
    entrypoint: ModuleType,  # noqa: F811
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], str]:
    """What a command of the README prints: over HTTP, on the command line, from the function, out of the bucket."""
    monkeypatch.setenv("FLORENCE_ARTIFACT", str(ROOT / "models" / "mini"))
    (tmp_path / "handler").symlink_to(ROOT / "handler")
    monkeypatch.chdir(tmp_path)  # where the commands write
    monkeypatch.setattr(entrypoint, "settings", replace(entrypoint.settings, storage=Storage(results_bucket=RESULTS)))
    store.client.create_bucket(Bucket=PICTURES, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def run(command: str) -> str:
        if command.startswith("curl"):
            assert f"@{SAMPLE.relative_to(ROOT)}" in command
            assert command.rstrip('"').endswith("/caption")
            return TestClient(create_app(entrypoint.predictor)).post("/caption", content=SAMPLE.read_bytes()).text
        if command.startswith("python -m handler"):
            assert main(command.split()[3:]) == 0
            return capsys.readouterr().out
        if command == "make invoke":
            return json.dumps(entrypoint.handle(json.loads((ROOT / "events" / "caption.json").read_text()), Context()))
        if command.endswith(" -"):
            put = store.put(PICTURES, SAMPLE.name, SAMPLE.read_bytes())
            entrypoint.handle(put.event, Context())
            return store.get(RESULTS, f"results/{PICTURES}/{SAMPLE.name}/latest.json").decode()
        return ""

    return run


@pytest.mark.parametrize(("block", "shown"), SHOWN, ids=[commands(f"```sh\n{block}```")[0][:20] for block, _ in SHOWN])
def test_the_output_is_what_the_commands_print(block: str, shown: str, printed: Callable[[str], str]) -> None:
    said = "".join(printed(command) for command in commands(f"```sh\n{block}```") if command != ACTIVATE)
    pattern = ".*".join(re.escape(part) for part in "".join(shown.split()).split("…"))
    assert re.fullmatch(pattern, "".join(said.split())), said


def test_each_way_of_use_is_shown() -> None:
    assert len(SHOWN) == 4


DOCUMENTS = [
    pytest.param(page, example, id=page.stem)
    for page in (ROOT / "docs" / "api.md", ROOT / "docs" / "events.md")
    for example in map(json.loads, re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL))
    if "milliseconds" in example
]


def assert_shows(shown: Any, there: Any, path: str = "") -> None:
    """What is shown is the beginning of what is there; "…" ends a text that goes on."""
    match shown:
        case dict():
            for name, value in shown.items():
                if name not in ("bucket", "etag", "key", "milliseconds"):  # the example's own, or varying
                    assert_shows(value, there[name], f"{path}.{name}")
        case list():
            for number, value in enumerate(shown):
                assert_shows(value, there[number], f"{path}[{number}]")
        case str() if shown.endswith("…"):
            assert there.startswith(shown[:-1]), path
        case _:
            assert shown == there, path


@pytest.mark.parametrize(("page", "example"), DOCUMENTS)
def test_documents_that_are_shown_are_what_comes_out(page: Path, example: Any, printed: Callable[[str], str]) -> None:
    stored = page.stem == "events"
    command = "aws s3 cp latest.json -" if stored else f"python -m handler analyze {SAMPLE} --json"
    assert_shows(example, json.loads(printed(command)) | ({} if stored else {"cached": False}))


def test_a_document_of_each_kind_is_shown() -> None:
    assert len(DOCUMENTS) == 2
