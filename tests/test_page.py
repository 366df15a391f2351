"""What the page and its documentation show, in a real browser against the real app: see `browser`."""

from pathlib import Path

import httpx2
import pytest
from browser import (
    CAPTION,
    SAMPLES,
    Driver,
    Site,
    choose,
    click_sample,
    console,
    resize,
    rows,
    serving,
    shoot,
    shown,
    text,
    theme,
    wait,
)
from conftest import ROOT
from fakes import NOTICE
from selenium.webdriver.common.by import By

from handler import pages
from handler.florence.predictor import Predictor


def test_it_says_which_model_answers_and_what_it_cannot(page: Driver) -> None:
    wait(page, lambda: shown(page, "notice"))
    assert text(page, "model") == "fake · fp32"
    assert text(page, "notice") == NOTICE
    shoot(page, "page-empty.png")


def test_a_sample_gives_the_answer_of_the_api(page: Driver, site: Site) -> None:
    click_sample(page)
    answer = httpx2.post(f"{site.address}/analyze", content=site.sample).json()
    assert text(page, "caption") == answer["caption"] == CAPTION
    assert text(page, "caption-score") == f"{answer['score']:.2f}"
    assert rows(page) == [f"{found['label']} {found['score']:.2f}" for found in answer["objects"]]
    assert text(page, "total") == "10 ms"
    assert [each.text.replace("\n", " ") for each in page.find_elements(By.CSS_SELECTOR, "#stages > div")] == [
        "Image 1.2 ms",
        "Vision 2.0 ms",
        "Text encoder 3.0 ms",
        "Decoder 4.0 ms",
    ]
    assert text(page, "status") == "Done in 10 ms."
    shoot(page, "page.png")


def test_a_file_that_is_no_image_shows_the_problem(page: Driver, site: Site, tmp_path: Path) -> None:
    click_sample(page)
    (tmp_path / "notes.txt").write_text("no image at all")
    choose(page, tmp_path / "notes.txt")
    wait(page, lambda: shown(page, "problem"))
    problem = httpx2.post(f"{site.address}/analyze", content=b"no image at all").json()
    assert (text(page, "problem-title"), text(page, "problem-detail")) == (problem["title"], problem["detail"])
    assert not shown(page, "result")  # the answer to the sample must not stand beside it
    assert shown(page, "invitation")
    shoot(page, "page-problem.png")
    click_sample(page)  # and the next image is answered
    assert not shown(page, "problem")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_phone_needs_no_sideways_scrolling(page: Driver, site: Site, path: str) -> None:
    resize(page, 360, 740)
    page.get(site.address + path)
    if path == "/":
        wait(page, lambda: shown(page, "samples"))
        click_sample(page)
    else:
        wait(page, lambda: shown(page, "kinds"))
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    shoot(page, f"phone{path.replace('/', '-').rstrip('-')}.png")


def test_in_the_dark_text_is_light(page: Driver) -> None:
    theme(page, "dark")
    click_sample(page)
    colours = page.execute_script("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    background, ink = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in colours]
    assert background < 40
    assert ink > 200
    shoot(page, "page-dark.png")


def test_everything_to_press_has_a_name(page: Driver) -> None:
    click_sample(page)
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [node for node in tree if node.get("role", {}).get("value") in ("button", "slider", "link", "image")]
    assert len(controls) >= 7
    assert [node for node in controls if not node["ignored"] and not node.get("name", {}).get("value")] == []


def test_the_documentation_shows_every_route_and_problem(page: Driver, site: Site) -> None:
    page.get(f"{site.address}/docs#damaged-image")
    wait(page, lambda: shown(page, "kinds"))
    document = httpx2.get(f"{site.address}/openapi.json").json()
    headings = [each.text.replace("\n", " ") for each in page.find_elements(By.CSS_SELECTOR, "#operations h2")]
    assert headings == [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    assert len(page.find_elements(By.CSS_SELECTOR, "#kinds > div")) == 10
    assert page.find_element(By.ID, "damaged-image").is_displayed()
    assert page.execute_script(
        "return document.getElementById('damaged-image').getBoundingClientRect().top < innerHeight"
    )
    shoot(page, "docs.png")


def test_the_miniature_answers_every_sample(browser: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SAMPLES", SAMPLES)
    resize(browser, 1280, 900)
    theme(browser, "light")
    predictor = Predictor(ROOT / "models" / "mini")
    with serving(predictor) as address:
        browser.get(address)
        wait(browser, lambda: shown(browser, "samples"))
        names = httpx2.get(f"{address}/samples").json()
        buttons = browser.find_elements(By.CSS_SELECTOR, "#samples button")
        assert len(names) == len(buttons) > 3
        for name, button in reversed(list(zip(names, buttons, strict=True))):  # the first is shot
            answer = httpx2.post(f"{address}/analyze", content=(SAMPLES / name).read_bytes()).json()
            button.click()
            wait(browser, lambda: text(browser, "filename").startswith(name) and shown(browser, "result"))  # noqa: B023
            assert text(browser, "caption") == answer["caption"]
            labels = [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#objects .label")]
            assert sorted(labels) == sorted(found["label"] for found in answer["objects"])
            assert labels
        assert "drawn shapes" in text(browser, "notice")
        assert console(browser) == []
        shoot(browser, "page-miniature.png")
        theme(browser, "dark")
        shoot(browser, "page-miniature-dark.png")
