"""The page in use: choosing, dropping and pasting images, pointing and keys, in a real browser against the real app."""

import base64
import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browser import CAPTION, Driver, Site, choose, click_sample, picture, pixel, rgba, rows, shoot, shown, text, wait
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from handler.drawing import COLOURS


def test_boxes_are_drawn_where_the_objects_are(page: Driver) -> None:
    click_sample(page)
    for x, y in [(0.1, 0.3), (0.5, 0.3), (0.3, 0.5)]:  # the stand-in's first box: 0.1 0.1 0.5 0.5
        assert pixel(page, x, y) == rgba(COLOURS[0])
    for x, y in [(0.6, 0.5), (0.9, 0.5), (0.75, 0.95)]:  # the second: 0.6 0.2 0.9 0.95
        assert pixel(page, x, y) == rgba(COLOURS[1])
    for x, y in [(0.3, 0.3), (0.75, 0.5), (0.95, 0.05)]:  # within them, and outside
        assert pixel(page, x, y) == [0, 0, 0, 0]
    size = (
        "const {width, height} = document.getElementById(arguments[0]).getBoundingClientRect(); return [width, height]"
    )
    photo = page.execute_script(size, "photo")
    assert page.execute_script(size, "overlay") == photo
    assert photo[0] / photo[1] == pytest.approx(320 / 240, rel=0.01)


def test_a_file_is_chosen(page: Driver, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(picture(100, 400))
    choose(page, tmp_path / "mine.png")
    wait(page, lambda: shown(page, "result"))
    assert text(page, "filename") == "mine.png · 100 × 400"
    assert text(page, "caption") == CAPTION


def test_a_file_is_dropped(page: Driver, tmp_path: Path) -> None:
    (tmp_path / "dropped.png").write_bytes(picture())
    stage = page.find_element(By.ID, "stage").rect
    data = {"items": [], "files": [str(tmp_path / "dropped.png")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        where = {"x": stage["x"] + 50, "y": stage["y"] + 50}
        page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **where, "data": data})
    wait(page, lambda: "over" in (page.find_element(By.ID, "stage").get_attribute("class") or ""))
    page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": "drop", **where, "data": data})
    wait(page, lambda: shown(page, "result"))
    assert text(page, "filename").startswith("dropped.png")
    assert "over" not in (page.find_element(By.ID, "stage").get_attribute("class") or "")


def test_an_image_is_pasted(page: Driver, site: Site) -> None:
    permissions = {"origin": site.address, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.execute_cdp_cmd("Browser.grantPermissions", permissions)
    script = """
        const [data, done] = arguments;
        const blob = new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], {type: "image/png"});
        const written = navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
        written.then(() => done("written"), (error) => done(`${error}`));
    """
    assert page.execute_async_script(script, base64.b64encode(picture()).decode()) == "written"
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.CONTROL, "v")
    wait(page, lambda: shown(page, "result"))
    assert text(page, "caption") == CAPTION


def test_pasted_text_is_answered_with_a_sentence(page: Driver) -> None:
    page.execute_script(
        "const data = new DataTransfer(); data.setData('text/plain', 'hello');"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))"
    )
    assert text(page, "problem-detail") == "Only image files can be dropped or pasted here."


def test_a_file_over_the_limit_is_not_sent(page: Driver, site: Site, tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(httpx2.get(f"{site.address}/ready").json()["max_image_bytes"] + 1)
    asked = len(site.predictor.asked)
    choose(page, tmp_path / "huge.png")
    wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == "Image too large"
    assert len(site.predictor.asked) == asked


def test_progress_is_shown_and_a_later_image_wins(page: Driver, site: Site, tmp_path: Path) -> None:
    release = threading.Event()
    site.predictor.before = lambda: release.wait(20)
    try:
        page.find_element(By.CSS_SELECTOR, "#samples button").click()
        wait(page, lambda: shown(page, "progress"))
        assert text(page, "status") == "Looking at red-circle.png …"
        assert page.find_element(By.ID, "answer").get_attribute("aria-busy") == "true"
        shoot(page, "page-busy.png")
        (tmp_path / "later.png").write_bytes(picture(400, 100))
        choose(page, tmp_path / "later.png")
        wait(page, lambda: text(page, "status") == "Looking at later.png …")
    finally:
        release.set()
    wait(page, lambda: shown(page, "result"))
    assert '"width": 400' in text(page, "json")
    assert not shown(page, "progress")


def test_pointing_at_an_object_marks_its_box(page: Driver) -> None:
    click_sample(page)
    hover = webdriver.ActionChains(page)
    hover.move_to_element(page.find_element(By.CSS_SELECTOR, "#objects li:nth-child(2) button")).perform()
    assert pixel(page, 0.75, 0.6)[3] > 0  # its box is tinted
    assert pixel(page, 0.1, 0.3)[3] < 100  # the other fades
    hover.move_to_element(page.find_element(By.ID, "caption")).perform()
    assert pixel(page, 0.75, 0.6)[3] == 0
    overlay = page.find_element(By.ID, "overlay")
    hover.move_to_element_with_offset(overlay, round(-0.2 * overlay.rect["width"]), 0).perform()  # and back: 0.3, 0.5
    assert page.find_element(By.CSS_SELECTOR, "#objects .marked").text.startswith("red circle")


def test_keyboard_alone(page: Driver) -> None:
    def focused() -> Any:
        return page.switch_to.active_element

    def tab_to(selector: str) -> None:
        for _ in range(20):
            focused().send_keys(Keys.TAB)
            if page.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return
        pytest.fail(f"{selector} is not reached with the tab key")

    tab_to("#choose")
    tab_to("#samples button")
    focused().send_keys(Keys.ENTER)
    wait(page, lambda: shown(page, "result"))
    tab_to("#minimum")
    for _ in range(45):
        focused().send_keys(Keys.ARROW_RIGHT)
    assert text(page, "minimum-value") == "0.45"
    assert text(page, "count") == "1 of 2"
    assert rows(page) == ["red circle 0.99"]
    assert pixel(page, 0.75, 0.95) == [0, 0, 0, 0]  # the box below the minimum is gone
    tab_to("#objects button")
    assert page.find_element(By.CSS_SELECTOR, "#objects .marked").text.startswith("red circle")
    assert pixel(page, 0.3, 0.3)[3] > 0
    tab_to("summary")
    focused().send_keys(Keys.ENTER)
    assert shown(page, "json")
