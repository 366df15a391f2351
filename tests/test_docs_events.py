"""docs/events.md against the code."""

import json
import re
import subprocess
from typing import get_args

from conftest import ROOT

from handler import settings, telemetry
from handler.storage import work
from handler.storage.documents import Document, Outcome

PAGE = (ROOT / "docs" / "events.md").read_text()


def test_the_example_is_a_result() -> None:
    (example,) = (json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    document = Document.model_validate(example, extra="forbid")
    assert json.loads(document.model_dump_json(exclude_none=True)) == example


def test_every_outcome_is_told() -> None:
    table = PAGE.split("| `outcome` |")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(get_args(Outcome))


def test_every_setting_of_storage_is_told() -> None:
    named = set(re.findall(r"FLORENCE_\w+", PAGE))
    elsewhere = {settings.UPLOADS_BUCKET, settings.SOURCE_BUCKETS, settings._CACHE}  # docs/api.md
    assert named == {name for name in settings._NAMES if not name.endswith(("_ARTIFACT", "_THREADS"))} - elsewhere


def test_tags_are_named() -> None:
    assert f"`{work.TAG_OUTCOME}` and `{work.TAG_CAPTION}`" in PAGE
    assert f"at most {work.MAX_TAG} characters" in PAGE


def test_the_command_gives_what_the_log_has() -> None:
    (command,) = re.findall(r"^printf .*", PAGE, re.MULTILINE)
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.strip()
    assert said == telemetry.name("photos", "2026/a.png")
