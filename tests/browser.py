"""The page in a real browser, for tests: fixtures, and what is read off it. Only the model is a stand-in.

Needs Chromium and its driver (Debian's packages `chromium` and `chromium-driver`); CHROMIUM and CHROMEDRIVER name
others. `conftest` makes the fixtures known to every test. Pictures go to tests/output.
"""

import base64
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from conftest import ROOT
from fakes import FakePredictor
from needs import missing
from PIL import Image, ImageDraw
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait
from starlette.types import ASGIApp

from handler import pages
from handler.api import create_app
from handler.florence.predictor import Predictor

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
    "--use-fake-device-for-media-stream",  # a camera
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


def serving(predictor: Predictor) -> AbstractContextManager[str]:
    """The app with this predictor, see `running`."""
    return running(create_app(predictor))


@contextmanager
def running(app: ASGIApp) -> Iterator[str]:
    """An app under uvicorn in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    lacking = [str(path) for path in (CHROMIUM, CHROMEDRIVER) if not path.exists()]
    if lacking:
        missing(f"the page is tested in Chromium; {' and '.join(lacking)} not found (apt: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    driver.set_script_timeout(120)  # axe takes 5 s on the longest page, and the machine may be busy
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Driver, site: Site) -> Iterator[Driver]:
    """The page, freshly loaded, 1280 x 900, light; the test fails if the console saw an error."""
    resize(browser, 1280, 900)
    theme(browser, "light")
    site.predictor.before = lambda: None
    site.predictor.asked.clear()
    browser.execute_cdp_cmd("Browser.resetPermissions", {})
    browser.get(site.address)
    started(browser)
    console(browser)
    yield browser
    assert console(browser) == []


def started(driver: Driver) -> None:
    """Waits until the page knows its samples and its tasks."""
    wait(driver, lambda: shown(driver, "samples"))
    wait(driver, lambda: len(driver.find_elements(By.CSS_SELECTOR, "#task option")) == 16)


def documented(driver: Driver) -> None:
    """Waits until /docs is written."""
    wait(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "#kinds > div"))


def console(driver: Driver) -> list[str]:
    """The console's errors since the last call; those of the content security policy are among them.

    Without Chromium's own about a request that was answered with an error, or not at all.
    """
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call]
    errors = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
    return [error for error in errors if "Failed to load resource" not in error]


def resize(driver: Driver, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def theme(driver: Driver, name: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": name}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def wait(driver: Driver, condition: Callable[[], object]) -> None:
    WebDriverWait(driver, 20, 0.02).until(lambda _: condition())


def shown(driver: Driver, element: str) -> bool:
    """Whether it takes part in the layout; it may still be empty."""
    seen: bool = driver.execute_script("return document.getElementById(arguments[0]).checkVisibility()", element)
    return seen


def text(driver: Driver, element: str) -> str:
    content: str = driver.execute_script("return document.getElementById(arguments[0]).textContent", element)
    return content


def rows(driver: Driver) -> list[str]:
    """What is seen of each row of the list of objects: its label and its score, or how many share the label."""
    script = """
        const seen = (row) => [...row.querySelectorAll(".label, .number")].map((part) => part.textContent).join(" ");
        return [...document.querySelectorAll("#objects .row")].map(seen);
    """
    values: list[str] = driver.execute_script(script)
    return values


def choose(driver: Driver, path: Path) -> None:
    driver.find_element(By.ID, "file").send_keys(str(path))


def click_sample(driver: Driver) -> None:
    driver.find_element(By.CSS_SELECTOR, "#samples button").click()
    wait(driver, lambda: shown(driver, "result"))


def pick(driver: Driver, task: str) -> None:
    Select(driver.find_element(By.ID, "task")).select_by_value(task)


def ask(driver: Driver) -> None:
    driver.find_element(By.ID, "ask").click()
    wait(driver, lambda: shown(driver, "result"))


def permit(driver: Driver, origin: str, name: str, setting: str) -> None:
    """A permission of the browser (`camera`, `clipboard-write`), `granted` or `denied`."""
    command = {"origin": origin, "permission": {"name": name}, "setting": setting}
    driver.execute_cdp_cmd("Browser.setPermission", command)


def pixel(driver: Driver, x: float, y: float) -> list[int]:
    """Red, green, blue, alpha of the overlay, at this part of its width and height."""
    script = """
        const canvas = document.getElementById("overlay"), [x, y] = arguments;
        return [...canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data];
    """
    values: list[int] = driver.execute_script(script, x, y)
    return values


def painted(driver: Driver, colour: str) -> int:
    """How many pixels of the overlay have exactly this colour."""
    script = """
        const canvas = document.getElementById("overlay");
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const wanted = arguments[0];
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += wanted.every((value, j) => data[i + j] === value);
        return count;
    """
    count: int = driver.execute_script(script, rgba(colour))
    return count


def rgba(colour: str) -> list[int]:
    return [*bytes.fromhex(colour[1:]), 255]


def shoot(driver: Driver, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    shot: dict[str, Any] = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    (OUTPUT / name).write_bytes(base64.b64decode(shot["data"]))
