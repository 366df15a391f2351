"""The page in use: choosing, dropping and pasting images, tasks and what they need, pointing, keys, what is saved;
in a real browser against the real app."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from browser import (
    CAPTION,
    Driver,
    Site,
    ask,
    choose,
    click_sample,
    painted,
    permit,
    pick,
    picture,
    pixel,
    rgba,
    rows,
    shoot,
    shown,
    text,
    wait,
)
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from handler.drawing import COLOURS
from handler.florence import tasks
from handler.florence.tasks import TASKS, Input

REGION = (32, 24, 160, 120)  # of the sample of 320 x 240: the stand-in's red circle


def corners(driver: Driver) -> tuple[int, ...]:
    """The region in the form's fields."""
    values = [driver.find_element(By.ID, name).get_property("value") for name in ("left", "top", "right", "bottom")]
    return tuple(int(str(value)) for value in values if value)


def drag(driver: Driver, start: tuple[float, float], end: tuple[float, float], release: bool = True) -> None:
    """From one part of the overlay's width and height to another, with the mouse."""
    overlay = driver.find_element(By.ID, "overlay")
    size = overlay.rect["width"], overlay.rect["height"]
    (x1, y1), (x2, y2) = (
        [round((part - 0.5) * side) for part, side in zip(at, size, strict=True)] for at in (start, end)
    )
    actions = webdriver.ActionChains(driver, duration=20)
    actions.move_to_element_with_offset(overlay, x1, y1).click_and_hold().move_to_element_with_offset(overlay, x2, y2)
    (actions.release() if release else actions).perform()


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


def test_pasted_text_is_answered_with_a_sentence_unless_it_goes_into_a_field(page: Driver) -> None:
    paste = (
        "const data = new DataTransfer(); data.setData('text/plain', 'hello');"
        "arguments[0].dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true}))"
    )
    page.execute_script(paste, page.find_element(By.ID, "phrase"))
    assert not shown(page, "problem")
    page.execute_script(paste, page.find_element(By.TAG_NAME, "body"))
    assert text(page, "problem-detail") == "Only image files can be dropped or pasted here."


def test_every_task_is_offered_and_answers_as_the_api_does(page: Driver, site: Site) -> None:
    click_sample(page)
    offered = [option.get_attribute("value") for option in page.find_elements(By.CSS_SELECTOR, "#task option")]
    assert offered[0] == ""  # caption and objects
    assert sorted(filter(None, offered)) == sorted(task.name for task in TASKS)
    for task in TASKS:
        pick(page, task.name)
        parameters = {}
        if task.input is Input.TEXT:
            parameters["input"] = "the red circle"
            page.execute_script("document.getElementById('phrase').value = 'the red circle'")
        if task.input is Input.REGION:
            parameters["region"] = ",".join(map(str, REGION))
            for name, value in zip(("left", "top", "right", "bottom"), REGION, strict=True):
                page.execute_script("document.getElementById(arguments[0]).value = arguments[1]", name, value)
        assert (shown(page, "phrase"), shown(page, "region")) == ("input" in parameters, "region" in parameters)
        page.find_element(By.ID, "ask").click()
        wait(page, lambda: shown(page, "result") and json.loads(text(page, "json")).get("task") == task.name)  # noqa: B023
        answer = httpx2.post(f"{site.address}/tasks/{task.name}", params=parameters, content=site.sample).json()
        assert json.loads(text(page, "json")) == answer
        assert shown(page, "caption") == bool(answer["text"])
        assert len(rows(page)) == len(answer["objects"])
        assert shown(page, "found") == (task.answer is not tasks.Answer.TEXT)


def test_polygons_and_quads_are_drawn(page: Driver) -> None:
    click_sample(page)
    pick(page, "referring-segmentation")
    page.find_element(By.ID, "phrase").send_keys("the moon", Keys.ENTER)
    wait(page, lambda: rows(page) == ["the moon 0.50"])  # a polygon has no label: it is called what was asked for
    assert pixel(page, 0.5, 0.25) == rgba(COLOURS[0])  # the stand-in's triangle: 0 0, 0.5 0, 0.5 0.5
    assert 0 < pixel(page, 0.4, 0.3)[3] < 100
    assert pixel(page, 0.25, 0.4)[3] == 0
    pick(page, "read-regions")
    page.find_element(By.ID, "ask").click()
    wait(page, lambda: rows(page) == ["text 0.50"])
    assert 0 < pixel(page, 0.25, 0.4)[3] < 100


def test_a_region_is_drawn_with_the_mouse(page: Driver, site: Site) -> None:
    click_sample(page)
    pick(page, "region-category")
    drag(page, (0.5, 0.5), (0.1, 0.1), release=False)  # from any corner to the opposite
    assert corners(page) == pytest.approx(REGION, abs=1)
    assert pixel(page, 0.8, 0.8)[3] > 0  # what lies outside is dimmed
    shoot(page, "page-region.png")
    asked = len(site.predictor.asked)
    webdriver.ActionChains(page).release().perform()
    wait(page, lambda: shown(page, "result") and "region-category" in text(page, "json"))
    assert len(site.predictor.asked) == asked + 1
    assert site.predictor.asked[-1].input == corners(page)
    assert text(page, "asked") == f"Category of a region ({', '.join(map(str, corners(page)))})"
    webdriver.ActionChains(page).click().perform()  # a click draws none, and asks nothing
    assert corners(page) == pytest.approx(REGION, abs=1)
    assert len(site.predictor.asked) == asked + 1


def test_a_region_is_drawn_with_a_finger(page: Driver, site: Site) -> None:
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        click_sample(page)
        pick(page, "region-text")
        page.execute_script("document.getElementById('overlay').scrollIntoView({block: 'center'})")
        box = page.execute_script("return document.getElementById('overlay').getBoundingClientRect()")
        for kind, part in [("touchStart", 0.2), ("touchMove", 0.4), ("touchMove", 0.7), ("touchEnd", None)]:
            at = {"x": box["x"] + part * box["width"], "y": box["y"] + part * box["height"]} if part else {}
            touches = {"type": kind, "touchPoints": [at] if part else []}
            page.execute_cdp_cmd("Input.dispatchTouchEvent", touches)
        wait(page, lambda: shown(page, "result") and "region-text" in text(page, "json"))
    finally:
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
    assert corners(page) == pytest.approx((64, 48, 224, 168), abs=1)


def test_a_region_is_typed(page: Driver, site: Site) -> None:
    click_sample(page)
    pick(page, "region-description")
    asked = len(site.predictor.asked)
    for name, value in zip(("left", "top", "right", "bottom"), (32, 24, 16, 120), strict=True):
        page.find_element(By.ID, name).send_keys(str(value))
    right = page.find_element(By.ID, "right")
    right.send_keys(Keys.ENTER)
    assert right.get_property("validationMessage") == "This must be more than left."
    right.send_keys(Keys.CONTROL, "a")
    right.send_keys("321", Keys.ENTER)
    assert "320" in str(right.get_property("validationMessage"))  # the image ends there
    right.send_keys(Keys.BACKSPACE, Keys.BACKSPACE, Keys.BACKSPACE, "160", Keys.ENTER)
    wait(page, lambda: shown(page, "result") and "region-description" in text(page, "json"))
    assert len(site.predictor.asked) == asked + 1
    assert site.predictor.asked[-1].input == REGION


def test_a_question_that_lacks_something_says_what(page: Driver, site: Site) -> None:
    page.find_element(By.ID, "ask").click()
    assert text(page, "problem-title") == "No image yet"
    pick(page, "ground")
    page.find_element(By.CSS_SELECTOR, "#samples button").click()
    wait(page, lambda: text(page, "status") == "Now fill in “Sentence”, and ask.")
    assert shown(page, "frame")
    page.find_element(By.ID, "phrase").send_keys("   ", Keys.ENTER)
    assert site.predictor.asked == []
    page.find_element(By.ID, "phrase").send_keys("a moon", Keys.ENTER)
    wait(page, lambda: shown(page, "result"))
    assert site.predictor.asked[-1].input == "a moon"
    assert text(page, "asked") == "Phrases of a caption “a moon”"


def test_pointing_at_an_object_marks_its_box(page: Driver) -> None:
    click_sample(page)
    hover = webdriver.ActionChains(page)
    hover.move_to_element(page.find_element(By.CSS_SELECTOR, "#objects li:nth-child(2) .row")).perform()
    assert pixel(page, 0.75, 0.6)[3] > 0  # its box is tinted
    assert pixel(page, 0.1, 0.3)[3] < 100  # the other fades
    hover.move_to_element(page.find_element(By.ID, "caption")).perform()
    assert pixel(page, 0.75, 0.6)[3] == 0
    overlay = page.find_element(By.ID, "overlay")
    hover.move_to_element_with_offset(overlay, round(-0.2 * overlay.rect["width"]), 0).perform()  # and back: 0.3, 0.5
    assert page.find_element(By.CSS_SELECTOR, "#objects .marked").text.startswith("red circle")


def test_an_image_with_an_orientation_is_drawn_on_as_it_is_seen(page: Driver, tmp_path: Path) -> None:
    """A phone's upright photograph: its pixels lie on their side, and EXIF says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(io.BytesIO(picture(320, 240))).save(tmp_path / "phone.jpg", exif=exif)
    choose(page, tmp_path / "phone.jpg")
    wait(page, lambda: shown(page, "result"))
    assert text(page, "filename") == "phone.jpg · 240 × 320"
    image = json.loads(text(page, "json"))["image"]
    assert (image["width"], image["height"]) == (240, 320)
    assert pixel(page, 0.1, 0.3) == pixel(page, 0.3, 0.5) == rgba(COLOURS[0])


def test_an_object_is_hidden_and_shown(page: Driver) -> None:
    click_sample(page)
    box = page.find_element(By.CSS_SELECTOR, "#objects input")
    box.click()
    assert painted(page, COLOURS[0]) == 0
    assert painted(page, COLOURS[1]) > 0
    assert text(page, "count") == "1 of 2"
    box.click()
    assert painted(page, COLOURS[0]) > 0


def test_the_json_that_is_copied_is_the_answer_of_the_api(page: Driver, site: Site) -> None:
    for name in ("clipboard-read", "clipboard-write"):
        permit(page, site.address, name, "granted")
    click_sample(page)
    page.find_element(By.ID, "copy").click()
    wait(page, lambda: text(page, "copy") == "Copied")
    assert text(page, "status") == "Copied"  # for those who do not see the button
    script = "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](`${error}`))"
    copied = page.execute_async_script(script)
    assert json.loads(copied) == httpx2.post(f"{site.address}/analyze", content=site.sample).json()
    assert '"box": [32, 24, 160, 120]' in copied  # a line each


def test_the_json_is_selected_where_the_clipboard_is_closed(page: Driver, site: Site) -> None:
    permit(page, site.address, "clipboard-write", "denied")
    click_sample(page)
    page.find_element(By.ID, "copy").click()
    wait(page, lambda: page.execute_script("return getSelection().toString()") == text(page, "json"))


def test_the_png_has_the_full_size_and_the_boxes_that_are_shown(page: Driver, tmp_path: Path) -> None:
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    (tmp_path / "large.png").write_bytes(picture(1600, 1200))
    choose(page, tmp_path / "large.png")
    wait(page, lambda: shown(page, "result"))
    assert page.find_element(By.ID, "photo").rect["width"] < 1000

    def download() -> np.ndarray[Any, Any]:
        page.find_element(By.ID, "save").click()
        file = tmp_path / "large-objects.png"
        wait(page, file.exists)
        image = Image.open(io.BytesIO(file.read_bytes())).convert("RGB")
        file.unlink()
        assert image.size == (1600, 1200)
        return np.asarray(image)

    original = np.asarray(Image.open(tmp_path / "large.png"))
    drawn = download()
    first, second = (np.array(rgba(colour)[:3]) for colour in COLOURS[:2])
    for x, y in [(160, 400), (800, 400), (400, 600)]:
        assert np.abs(drawn[y, x] - first).max() <= 1
    for x, y in [(960, 600), (1440, 600), (1200, 1140)]:
        assert np.abs(drawn[y, x] - second).max() <= 1
    for x, y in [(480, 360), (1200, 600), (1560, 30)]:  # inside the boxes, and outside
        assert (drawn[y, x] == original[y, x]).all()
    page.find_element(By.CSS_SELECTOR, "#objects input").click()
    assert (download()[:700, :820] == original[:700, :820]).all()  # what is hidden is not drawn
    pick(page, "caption")
    ask(page)
    wait(page, lambda: not shown(page, "save"))  # there is nothing to draw


def test_keyboard_alone(page: Driver, site: Site) -> None:
    def focused() -> Any:
        return page.switch_to.active_element

    def tab_to(selector: str) -> None:
        for _ in range(20):
            focused().send_keys(Keys.TAB)
            outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", "the focus is not seen"
            if page.execute_script("return document.activeElement.matches(arguments[0])", selector):
                return
        pytest.fail(f"{selector} is not reached with the tab key")

    for selector in ("nav a", "#choose", "#use-camera", "#samples button"):  # in the order in which they are seen
        tab_to(selector)
    focused().send_keys(Keys.ENTER)
    wait(page, lambda: shown(page, "result"))
    tab_to("#task")
    focused().send_keys("obj")  # Objects
    tab_to("#ask")
    focused().send_keys(Keys.ENTER)
    wait(page, lambda: shown(page, "result") and '"task": "detect"' in text(page, "json"))
    tab_to("#copy")
    tab_to("#minimum")
    for _ in range(45):
        focused().send_keys(Keys.ARROW_RIGHT)
    assert text(page, "minimum-value") == "0.45"
    assert text(page, "count") == "1 of 2"
    assert rows(page) == ["red circle 0.99"]
    assert pixel(page, 0.75, 0.95) == [0, 0, 0, 0]  # the box below the minimum is gone
    tab_to("#objects input")
    assert page.find_element(By.CSS_SELECTOR, "#objects .marked").text.startswith("red circle")
    assert pixel(page, 0.3, 0.3)[3] > 0
    focused().send_keys(Keys.SPACE)
    assert painted(page, COLOURS[0]) == 0
    tab_to("#response summary")
    focused().send_keys(Keys.ENTER)
    assert shown(page, "json")
