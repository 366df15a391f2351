"""The page's camera, in a real browser with a made-up one: taking a picture, changing one's mind, not being allowed."""

import pytest
from browser import Driver, Site, permit, resize, shoot, shown, text, wait
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

LIVE = "return Boolean(document.getElementById('camera-video').srcObject?.active)"


def open_camera(page: Driver, site: Site) -> None:
    permit(page, site.address, "camera", "granted")
    page.find_element(By.ID, "use-camera").click()
    wait(page, lambda: page.find_element(By.ID, "camera-take").is_enabled())


def test_a_picture_is_taken(page: Driver, site: Site) -> None:
    open_camera(page, site)
    assert page.execute_script(LIVE)
    assert page.switch_to.active_element.get_attribute("id") == "camera-take"
    assert text(page, "camera-status") == "The camera is on."
    shoot(page, "page-camera.png")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    wait(page, lambda: shown(page, "result"))
    assert not shown(page, "camera")
    assert not page.execute_script(LIVE)  # its light goes out
    assert text(page, "filename").startswith("camera.jpg · ")
    assert '"format": "JPEG"' in text(page, "json")
    assert len(site.predictor.asked) == 2
    # The made-up camera shows a green field: what was taken is that, not an empty frame.
    script = """
        const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext("2d");
        pen.drawImage(document.getElementById("photo"), 0, 0, 1, 1);
        return [...pen.getImageData(0, 0, 1, 1).data];
    """
    red, green, blue, _ = page.execute_script(script)
    assert green > 80 > max(red, blue)


@pytest.mark.parametrize("way", ["button", "escape"])
def test_a_change_of_mind(page: Driver, site: Site, way: str) -> None:
    open_camera(page, site)
    if way == "button":
        page.find_element(By.ID, "camera-cancel").click()
    else:
        page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(page, lambda: not shown(page, "camera"))
    wait(page, lambda: not page.execute_script(LIVE))  # the dialog tells of its closing a moment later
    assert page.switch_to.active_element.get_attribute("id") == "use-camera"
    assert site.predictor.asked == []


def test_a_camera_that_is_not_allowed_is_explained(page: Driver, site: Site) -> None:
    permit(page, site.address, "camera", "denied")
    page.find_element(By.ID, "use-camera").click()
    wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == "The camera is not allowed"
    assert "choose a file" in text(page, "problem-detail")
    assert not shown(page, "camera")


def test_without_https_there_is_no_camera(page: Driver) -> None:
    page.execute_script("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    page.find_element(By.ID, "use-camera").click()
    wait(page, lambda: shown(page, "problem"))
    assert text(page, "problem-title") == "The camera needs HTTPS"


def test_a_phone_takes_its_own_camera(page: Driver) -> None:
    resize(page, 360, 740)
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 5})
    try:
        opened = """
            const input = document.getElementById("snapshot");
            input.addEventListener("click", (event) => {
                event.preventDefault();
                window.opened = input.getAttribute("capture");
            });
            document.getElementById("use-camera").click();
            return window.opened;
        """
        assert page.execute_script("return matchMedia('(pointer: coarse)').matches")
        assert page.execute_script(opened) == "environment"
    finally:
        page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
