"""What the page does when something goes wrong or takes long: images, servers, a change of mind; in a real browser."""

import io
import threading
from pathlib import Path

import httpx2
import numpy as np
import pytest
from browser import (
    Driver,
    Site,
    choose,
    click_sample,
    picture,
    rows,
    running,
    serving,
    shoot,
    shown,
    started,
    text,
    wait,
)
from fakes import FakePredictor
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from handler.api import create_app


def test_a_file_that_is_no_image_shows_the_problem(page: Driver, site: Site, tmp_path: Path) -> None:
    click_sample(page)
    (tmp_path / "notes.txt").write_text("no image at all")
    choose(page, tmp_path / "notes.txt")
    wait(page, lambda: shown(page, "problem"))
    problem = httpx2.post(f"{site.address}/analyze", content=b"no image at all").json()
    assert (text(page, "problem-title"), text(page, "problem-detail")) == (problem["title"], problem["detail"])
    more = page.find_element(By.ID, "problem-more")
    assert more.get_attribute("href") == site.address + problem["type"]
    assert not shown(page, "result")  # the answer to the sample must not stand beside it
    assert shown(page, "invitation")
    shoot(page, "page-problem.png")
    click_sample(page)  # and the next image is answered
    assert not shown(page, "problem")


def test_a_large_file_that_is_no_image_is_not_sent(page: Driver, site: Site, tmp_path: Path) -> None:
    click_sample(page)
    asked = len(site.predictor.asked)
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(httpx2.get(f"{site.address}/ready").json()["max_image_bytes"] + 1)
    choose(page, tmp_path / "huge.png")
    wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == "Image too large"
    assert len(site.predictor.asked) == asked
    assert shown(page, "invitation")
    assert not shown(page, "frame")


@pytest.mark.parametrize(
    ("name", "size", "sent"), [("huge.png", (3000, 2500), (2048, 1707)), ("old.bmp", (64, 48), (64, 48))]
)
def test_what_the_server_does_not_read_is_sent_as_a_jpeg(
    page: Driver, tmp_path: Path, name: str, size: tuple[int, int], sent: tuple[int, int]
) -> None:
    """A file over the limit, and a format that browsers show and the server refuses."""
    Image.open(io.BytesIO(picture(*size))).save(tmp_path / name, **({"compress_level": 0} if ".png" in name else {}))
    choose(page, tmp_path / name)
    wait(page, lambda: shown(page, "result"))
    assert f"as a JPEG of {sent[0]} × {sent[1]}." in text(page, "note")
    assert f'"width": {sent[0]},\n    "height": {sent[1]},\n    "format": "JPEG"' in text(page, "json")
    assert text(page, "filename") == f"{name} · {size[0]} × {size[1]}"
    assert rows(page)


def test_a_server_that_is_gone(page: Driver, tmp_path: Path) -> None:
    """Before the page has asked anything, and afterwards."""
    with serving(FakePredictor()) as address:
        page.get(address)
        started(page)
    click = page.find_element(By.CSS_SELECTOR, "#samples button")
    click.click()
    wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == "No answer"
    (tmp_path / "mine.png").write_bytes(picture())
    choose(page, tmp_path / "mine.png")
    wait(page, lambda: shown(page, "frame") and shown(page, "problem"))
    assert text(page, "problem-detail") == "The server cannot be reached; is it running?"
    assert shown(page, "ask")  # to try again


@pytest.mark.parametrize(
    ("status", "title"), [(413, "Image too large"), (503, "No answer in time"), (418, "No answer")]
)
def test_errors_of_what_stands_before_the_server(page: Driver, status: int, title: str) -> None:
    """API Gateway and Lambda answer in their own words: {"message": "Service Unavailable"}."""
    app = create_app(FakePredictor())

    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") == "POST":
            refusal = JSONResponse({"message": "no"}, status, {"x-amzn-requestid": "4f1d"})
            await refusal(scope, receive, send)
        else:
            await app(scope, receive, send)

    with running(gateway) as address:
        page.get(address)
        started(page)
        page.find_element(By.CSS_SELECTOR, "#samples button").click()
        wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == title
    assert text(page, "problem-request") == "Request 4f1d"
    assert not shown(page, "problem-more")


def test_a_fault_of_the_server(page: Driver, site: Site) -> None:
    def fault() -> None:
        raise ValueError("not for users")

    site.predictor.before = fault
    page.find_element(By.CSS_SELECTOR, "#samples button").click()
    wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == "Internal error"
    site.predictor.before = lambda: None
    page.find_element(By.ID, "ask").click()  # the image is still there
    wait(page, lambda: shown(page, "result"))
    assert not shown(page, "problem")


def test_progress_is_shown_and_a_later_image_wins(page: Driver, site: Site, tmp_path: Path) -> None:
    release = threading.Event()
    site.predictor.before = lambda: release.wait(20)
    try:
        page.find_element(By.CSS_SELECTOR, "#samples button").click()
        wait(page, lambda: shown(page, "progress"))
        assert text(page, "status") == "Looking at red-circle.png …"
        wait(page, lambda: text(page, "elapsed").endswith("s"))
        shoot(page, "page-busy.png")
        (tmp_path / "later.png").write_bytes(picture(400, 100))
        choose(page, tmp_path / "later.png")
        wait(page, lambda: text(page, "status") == "Looking at later.png …")
    finally:
        release.set()
    wait(page, lambda: shown(page, "result"))
    assert '"width": 400' in text(page, "json")
    assert not shown(page, "progress")


def test_the_part_that_is_sent_is_told(page: Driver, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")  # 270 kB
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 250_000}
    page.execute_cdp_cmd("Network.enable", {})
    page.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    try:
        choose(page, tmp_path / "noise.png")
        bar = page.find_element(By.ID, "progress")
        wait(page, lambda: 10 < int(bar.get_attribute("aria-valuenow") or 0) < 100)
        wait(page, lambda: shown(page, "result"))
        assert bar.get_attribute("aria-valuenow") is None
    finally:
        page.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
        page.execute_cdp_cmd("Network.disable", {})


@pytest.mark.parametrize("way", ["button", "escape"])
def test_a_question_is_cancelled(page: Driver, site: Site, way: str) -> None:
    release = threading.Event()
    site.predictor.before = lambda: release.wait(20)
    try:
        page.find_element(By.CSS_SELECTOR, "#samples button").click()
        wait(page, lambda: shown(page, "cancel") and site.predictor.running)
        if way == "button":
            page.find_element(By.ID, "cancel").send_keys(Keys.ENTER)
            assert page.switch_to.active_element.get_attribute("id") == "ask"  # not lost with the button
        else:
            page.switch_to.active_element.send_keys(Keys.ESCAPE)
        assert text(page, "status") == "Cancelled."
        assert not shown(page, "working")
    finally:
        release.set()
    wait(page, lambda: not site.predictor.running)
    page.find_element(By.ID, "ask").click()
    wait(page, lambda: shown(page, "result"))
