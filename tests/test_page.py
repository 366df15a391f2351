"""The page in a real browser, against the real app on a real socket; only the model is a stand-in.

Needs Chromium and its driver (Debian's packages `chromium` and `chromium-driver`); CHROMIUM and CHROMEDRIVER name
others. Leaves pictures of the page in tests/output.
"""

import base64
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fakes import NOTICE, FakePredictor
from PIL import Image, ImageDraw
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from handler import pages
from handler.api import create_app
from handler.drawing import COLOURS
from handler.florence.predictor import Predictor

ROOT = Path(__file__).parents[1]
SAMPLES = pages.SAMPLES  # the real ones, which the fixture `site` replaces
OUTPUT = ROOT / "tests" / "output"
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
CHROMEDRIVER = Path(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver"))
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CAPTION = "a fake answer to caption"
Driver = webdriver.Chrome


@dataclass
class Site:
    address: str
    predictor: FakePredictor
    sample: bytes


def picture(width: int = 320, height: int = 240) -> bytes:
    image = Image.new("RGB", (width, height), "#e8e4da")
    pen = ImageDraw.Draw(image)
    pen.ellipse((width * 0.1, height * 0.1, width * 0.5, height * 0.5), fill="#d4483b")
    pen.rectangle((width * 0.6, height * 0.2, width * 0.9, height * 0.95), fill="#3a66c4")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def serving(predictor: Predictor) -> Iterator[str]:
    """The app under uvicorn in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(create_app(predictor), port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The app with the stand-in, and one sample, `red-circle.png`."""
    samples = tmp_path_factory.mktemp("samples")
    (samples / "red-circle.png").write_bytes(picture())
    predictor = FakePredictor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "SAMPLES", samples)
        with serving(predictor) as address:
            yield Site(address, predictor, picture())


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    missing = [str(path) for path in (CHROMIUM, CHROMEDRIVER) if not path.exists()]
    if missing:
        message = f"the page is tested in Chromium; {' and '.join(missing)} not found (apt: chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Driver, site: Site) -> Iterator[Driver]:
    """The page, freshly loaded, 1280 x 900, light; the test fails if the console saw an error."""
    resize(browser, 1280, 900)
    theme(browser, "light")
    site.predictor.before = lambda: None
    browser.get(site.address)
    wait(browser, lambda: shown(browser, "samples"))
    console(browser)
    yield browser
    assert [error for error in console(browser) if "400 (Bad Request)" not in error] == []  # Chromium's own, of a fetch


def console(driver: Driver) -> list[str]:
    """The console's errors since the last call; those of the content security policy are among them."""
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]


def resize(driver: Driver, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def theme(driver: Driver, name: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": name}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def wait(driver: Driver, condition: Callable[[], object]) -> None:
    WebDriverWait(driver, 20, 0.02).until(lambda _: condition())


def shown(driver: Driver, element: str) -> bool:
    return driver.find_element(By.ID, element).is_displayed()


def text(driver: Driver, element: str) -> str:
    content: str = driver.execute_script("return document.getElementById(arguments[0]).textContent", element)
    return content


def rows(driver: Driver) -> list[str]:
    return [row.text.replace("\n", " ") for row in driver.find_elements(By.CSS_SELECTOR, "#objects li")]


def choose(driver: Driver, path: Path) -> None:
    driver.find_element(By.ID, "file").send_keys(str(path))


def click_sample(driver: Driver) -> None:
    driver.find_element(By.CSS_SELECTOR, "#samples button").click()
    wait(driver, lambda: shown(driver, "result"))


def pixel(driver: Driver, x: float, y: float) -> list[int]:
    """Red, green, blue, alpha of the overlay, at this part of its width and height."""
    script = """
        const canvas = document.getElementById("overlay"), [x, y] = arguments;
        return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
    """
    values: list[int] = driver.execute_script(script, x, y)
    return values


def rgba(colour: str) -> list[int]:
    return [*bytes.fromhex(colour[1:]), 255]


def shoot(driver: Driver, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    shot: dict[str, Any] = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    (OUTPUT / name).write_bytes(base64.b64decode(shot["data"]))


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
    assert len(page.find_elements(By.CSS_SELECTOR, "#kinds > div")) == 9
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
