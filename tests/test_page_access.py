"""The page for those who do not see it, or not well: axe-core's rules in each state of the page, and what they cannot
tell: names, live regions, the list that stands for the drawing."""

from collections.abc import Callable
from importlib import metadata

import pytest
from browser import Driver, Site, click_sample, documented, permit, pick, resize, shown, theme, wait
from selenium.webdriver.common.by import By

# axe-core 4.12, which a package for another browser driver brings; nothing else of that package is used.
(AXE,) = (file.locate() for file in metadata.files("axe-playwright-python") or () if file.name == "axe.min.js")
# Its rules for WCAG 2.2, levels A and AA, and its own best practices.
RUN = """
    const done = arguments[0];
    const options = {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]};
    axe.run(document, options).then(
        ({violations, passes}) => done({passes: passes.length, violations: violations.map(({id, help, nodes}) => (
            `${id}: ${help}\\n` + nodes.map(({html, failureSummary}) => `  ${html}\\n  ${failureSummary}`).join("\\n")
        ))}),
        (error) => done({passes: 0, violations: [`${error}`]}),
    );
"""


def with_answer(page: Driver) -> None:
    click_sample(page)
    for summary in page.find_elements(By.TAG_NAME, "summary"):
        summary.click()


def with_region(page: Driver) -> None:
    click_sample(page)
    pick(page, "region-category")


def with_phrase(page: Driver) -> None:
    pick(page, "ground")


def with_problem(page: Driver) -> None:
    page.find_element(By.ID, "ask").click()
    assert shown(page, "problem")


def with_camera(page: Driver) -> None:
    permit(page, page.current_url.rstrip("/"), "camera", "granted")
    page.find_element(By.ID, "use-camera").click()
    wait(page, lambda: page.find_element(By.ID, "camera-take").is_enabled())


def docs(page: Driver) -> None:
    page.get(f"{page.current_url}docs")
    documented(page)


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("state", [with_answer, with_region, with_phrase, with_problem, with_camera, docs])
def test_axe_finds_nothing(page: Driver, state: Callable[[Driver], None], colours: str) -> None:
    theme(page, colours)
    resize(page, *((1280, 900) if colours == "light" else (360, 740)))
    state(page)
    page.execute_script(AXE.read_text(encoding="utf-8"))
    found = page.execute_async_script(RUN)
    assert found["violations"] == []
    assert found["passes"] > 20


def test_everything_to_press_has_a_name(page: Driver) -> None:
    click_sample(page)
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "checkbox", "combobox", "image", "link", "slider")
    controls = [node for node in tree if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert {node["role"]["value"] for node in controls} == set(roles)
    assert [node for node in controls if not node.get("name", {}).get("value")] == []


def test_the_list_tells_what_the_drawing_shows(page: Driver) -> None:
    """Label, score and place, by the browser's own reckoning of the checkboxes' names."""
    click_sample(page)
    tree = page.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    names = [node["name"]["value"] for node in tree if node.get("role", {}).get("value") == "checkbox"]
    assert names == [
        "red circle score 0.99 from 32, 24 to 160, 120",
        "blue square score 0.40 from 192, 48 to 288, 228",
    ]
    drawing = page.find_element(By.ID, "overlay")
    assert drawing.accessible_name == "2 objects drawn over the image, listed under Objects"


def test_what_happens_is_said(page: Driver, site: Site) -> None:
    """The live regions are in the page from the start, and say what comes and goes."""
    assert page.find_element(By.ID, "status").aria_role == "status"
    assert page.find_element(By.ID, "problem").get_attribute("role") == "alert"
    script = """
        window.said = [];
        new MutationObserver(() => window.said.push(document.getElementById("status").textContent))
            .observe(document.getElementById("status"), {childList: true});
    """
    page.execute_script(script)
    click_sample(page)
    said = page.execute_script("return window.said")
    assert [each for each in said if each] == [
        "Looking at red-circle.png …",
        "Looking at red-circle.png …",  # asked about, once it is decoded
        "a fake answer to caption. 2 objects. Done in 10 ms.",
    ]
    # What counts beside it is not said.
    assert page.find_element(By.ID, "elapsed").get_attribute("aria-hidden") == "true"
