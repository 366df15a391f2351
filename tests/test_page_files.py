"""The page's files as they are served: how large, how long they are kept, under which policy. Without a browser."""

import re
from pathlib import Path

import pytest
from conftest import ROOT
from starlette.testclient import TestClient

from handler import pages

LIMIT = 100_000  # bytes of all files of both pages, samples apart


def test_the_pages_are_small() -> None:
    files = [path for path in pages.FILES.iterdir() if path.is_file()]
    assert len(files) > 10
    size = sum(path.stat().st_size for path in files)
    assert 30_000 < size < LIMIT
    assert f"plain files, {size / 1000:.0f} KB without" in (ROOT / "docs" / "page.md").read_text()


def test_every_file_of_a_version_is_there_and_kept(client: TestClient) -> None:
    pages_ = [client.get(path) for path in ("/", "/docs")]
    named = {name for page in pages_ for name in re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)}
    modules = {path.name for path in pages.FILES.glob("*.js")}
    assert all(name.startswith(f"page/{pages.version()}/") for name in named)
    for name in [*named, *(f"page/{pages.version()}/{module}" for module in modules)]:
        answer = client.get(f"/{name}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    for page in pages_:
        assert page.headers["cache-control"] == "no-cache"


def test_modules_import_what_is_there() -> None:
    for path in pages.FILES.glob("*.js"):
        for name in re.findall(r'from "([^"]+)"', path.read_text(encoding="utf-8")):
            assert name.startswith("./"), f"{path.name} imports {name}: nothing from elsewhere"
            assert (pages.FILES / name).is_file()


@pytest.mark.parametrize("version", ["0123456789ab/", ""])
def test_files_of_another_version_are_asked_for_again(client: TestClient, version: str) -> None:
    answer = client.get(f"/page/{version}app.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


def test_a_changed_file_makes_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "FILES", tmp_path)
    (tmp_path / "app.js").write_text("1")
    first = pages.version()
    (tmp_path / "app.js").write_text("2")
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert pages.version() != first


def test_the_camera_is_allowed_to_the_page_alone(client: TestClient) -> None:
    assert client.get("/").headers["permissions-policy"] == "camera=(self), geolocation=(), microphone=()"
