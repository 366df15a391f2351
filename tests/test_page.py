"""What the page and its documentation show, in a real browser against the real app: see `browser`."""

from collections.abc import Iterator

import httpx2
import pytest
from browser import (
    CAPTION,
    SAMPLES,
    Driver,
    Site,
    ask,
    click_sample,
    console,
    documented,
    painted,
    pick,
    resize,
    rows,
    serving,
    shoot,
    shown,
    started,
    text,
    theme,
    wait,
)
from conftest import ROOT
from fakes import NOTICE
from selenium.webdriver.common.by import By

from handler import pages
from handler.drawing import COLOURS
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
    assert text(page, "status") == f"{CAPTION}. 2 objects. Done in 10 ms."
    assert page.find_element(By.CSS_SELECTOR, "#samples button").get_attribute("aria-pressed") == "true"
    shoot(page, "page.png")


def test_an_answer_says_where_it_comes_from(page: Driver, site: Site) -> None:
    """Whatever the API tells of the model and the image is there, but for the notice, which stands above."""
    click_sample(page)
    page.find_element(By.CSS_SELECTOR, "details:not(#response) summary").click()
    told = page.find_element(By.ID, "provenance").text.replace("\n", " ")
    answer = httpx2.post(f"{site.address}/analyze", content=site.sample).json()
    for part in [answer["model"] | {"notice": "320 × 240, PNG"}, answer["image"] | {"width": "", "height": ""}]:
        for value in part.values():
            assert str(value) in told
    assert not shown(page, "truncated")
    pick(page, "read")
    ask(page)
    assert shown(page, "truncated")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_phone_needs_no_sideways_scrolling(page: Driver, site: Site, path: str) -> None:
    resize(page, 360, 740)
    page.get(site.address + path)
    width = "return document.documentElement.scrollWidth"
    if path == "/":
        started(page)
        click_sample(page)
        for details in page.find_elements(By.TAG_NAME, "summary"):
            details.click()
        for task in ["ground", "region-segmentation", "read-regions", ""]:
            pick(page, task)
            assert page.execute_script(width) <= 360
        resize(page, 320, 600)  # the narrowest that WCAG 1.4.10 asks for
        assert page.execute_script(width) <= 320
    else:
        documented(page)
        assert page.execute_script(width) <= 360
    shoot(page, f"phone{path.replace('/', '-').rstrip('-')}.png")


def test_in_the_dark_text_is_light(page: Driver) -> None:
    theme(page, "dark")
    click_sample(page)
    colours = page.execute_script("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    background, ink = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in colours]
    assert background < 40
    assert ink > 200
    shoot(page, "page-dark.png")


def test_the_documentation_shows_every_route_and_problem(page: Driver, site: Site) -> None:
    page.get(f"{site.address}/docs#damaged-image")
    documented(page)
    document = httpx2.get(f"{site.address}/openapi.json").json()
    headings = [each.text.replace("\n", " ") for each in page.find_elements(By.CSS_SELECTOR, "#operations h2")]
    assert headings == [f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item]
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    contents = [answer["content"] for each in operations for answer in each["responses"].values()]
    kinds = {slug for each in contents for slug in each.get("application/problem+json", {}).get("examples", {})}
    told = [each.get_attribute("id") for each in page.find_elements(By.CSS_SELECTOR, "#kinds > div")]
    assert sorted(told) == sorted(kinds)
    assert len(told) > 8
    options = page.find_element(By.ID, "operations").text  # their values, and what holds without them
    assert '"brief" or "detailed" or "paragraph", query, default "brief"' in options
    assert "number, query, default 0" in options
    assert page.find_element(By.ID, "damaged-image").is_displayed()
    assert page.execute_script(
        "return document.getElementById('damaged-image').getBoundingClientRect().top < innerHeight"
    )
    shoot(page, "docs.png")


@pytest.fixture(scope="module")
def miniature() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "SAMPLES", SAMPLES)
        with serving(Predictor(ROOT / "models" / "mini")) as address:
            yield address


@pytest.fixture
def real(browser: Driver, miniature: str) -> Driver:
    """The page with the miniature and the samples that ship."""
    resize(browser, 1280, 900)
    theme(browser, "light")
    browser.get(miniature)
    started(browser)
    console(browser)
    return browser


def test_the_miniature_answers_every_sample(real: Driver, miniature: str) -> None:
    names = httpx2.get(f"{miniature}/samples").json()
    buttons = real.find_elements(By.CSS_SELECTOR, "#samples button")
    assert len(names) == len(buttons) > 3
    for name, button in reversed(list(zip(names, buttons, strict=True))):  # the first is shot
        answer = httpx2.post(f"{miniature}/analyze", content=(SAMPLES / name).read_bytes()).json()
        button.click()
        wait(real, lambda: text(real, "filename").startswith(name) and shown(real, "result"))  # noqa: B023
        assert text(real, "caption") == answer["caption"]
        assert len(rows(real)) >= len(answer["objects"]) > 0
        assert {row.split(" ")[0] for row in rows(real)} == {found["label"] for found in answer["objects"]}
    assert "drawn shapes" in text(real, "notice")
    assert console(real) == []
    shoot(real, "page-miniature.png")
    theme(real, "dark")
    shoot(real, "page-miniature-dark.png")


def test_what_shares_a_label_is_shown_and_hidden_together(real: Driver) -> None:
    """The first sample has two circles, a cross and a star."""
    click_sample(real)
    assert [row.rsplit(" ", 1)[0] for row in rows(real)] == ["cross", "circle ×", "circle 1", "circle 2", "star"]
    several = real.find_element(By.CSS_SELECTOR, "#objects .several")
    boxes = real.find_elements(By.CSS_SELECTOR, "#objects ol input")
    assert several.is_selected()
    colour = COLOURS[1]  # the cross, which is named first, has the one before
    both = painted(real, colour)
    several.click()
    assert text(real, "count") == "2 of 4"
    assert [box.is_selected() for box in boxes] == [False, False]
    assert painted(real, colour) == 0
    boxes[1].click()
    assert 0 < painted(real, colour) < both
    assert (text(real, "count"), several.get_property("indeterminate")) == ("3 of 4", True)
    real.find_element(By.ID, "all").click()
    assert text(real, "count") == "0 of 4"
    real.find_element(By.ID, "all").click()
    assert text(real, "count") == "4"
