"""The page in a real Chromium: submit, watch, read the result; nothing from elsewhere, nothing inline."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_server import NET, PROP, Server, serving

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WEB = Path(__file__).parents[1] / "repairsolver" / "service" / "web"
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1280,1000",
)  # fmt: skip
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="chromium and chromedriver are not installed (Debian: chromium, chromium-driver)",
)
SHOTS = os.environ.get("REPAIRSOLVER_SCREENSHOTS")
"""A folder for screenshots, for people who want to see the pages."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("page")) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = str(CHROMIUM)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
        yield driver
        driver.quit()


def find(browser: Any, selector: str, seconds: float = 40.0) -> Any:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.wait import WebDriverWait

    return WebDriverWait(browser, seconds).until(
        expected.visibility_of_element_located((By.CSS_SELECTOR, selector))
    )


def text_at(browser: Any, selector: str, text: str, seconds: float = 60.0) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions as expected
    from selenium.webdriver.support.wait import WebDriverWait

    there = expected.text_to_be_present_in_element((By.CSS_SELECTOR, selector), text)
    WebDriverWait(browser, seconds).until(there, f"{selector} without {text!r}")


def keep(browser: Any, name: str) -> bytes:
    shot: bytes = browser.get_screenshot_as_png()
    if SHOTS:
        (Path(SHOTS) / f"{name}.png").write_bytes(shot)
    return shot


def evil_copy(folder: Path) -> Path:
    """The bundled network under a name that is markup."""
    path = folder / '"><img src=x onerror=alert(1)>.onnx'
    shutil.copyfile(NET, path)
    return path


@needs_chromium
def test_submit_progress_result(server: Server, browser: Any, tmp_path: Path) -> None:
    browser.get(server.address)
    find(browser, "a.button.main").click()
    find(browser, "input[value=repair]").click()
    find(browser, "#slot-network").send_keys(str(evil_copy(tmp_path)))
    find(browser, "#slot-property").send_keys(str(PROP))
    find(browser, "#option-decision option[value=min]").click()
    browser.find_element("id", "option-seconds").clear()
    browser.find_element("id", "option-seconds").send_keys("20")
    submit = keep(browser, "submit")
    find(browser, "form button.main").click()
    find(browser, "section[aria-label=Progress] .chart svg path, section[aria-label=Progress] circle")
    progress = keep(browser, "progress")
    text_at(browser, "h1 .badge", "repaired")
    find(browser, "iframe")
    browser.execute_script("window.scrollTo(0, document.body.scrollHeight)")
    browser.switch_to.frame(browser.find_element("tag name", "iframe"))
    assert browser.find_element("tag name", "h1").text == "Repaired"
    images = browser.find_elements("tag name", "img")
    assert len(images) >= 4
    assert browser.find_element("tag name", "body").value_of_css_property("margin") == "0px"
    browser.switch_to.default_content()
    result = keep(browser, "result")
    assert all(shot.startswith(b"\x89PNG") and len(shot) > 10_000 for shot in (submit, progress, result))
    assert len({submit, progress, result}) == 3
    assert "<img src=x" in browser.find_element("css selector", ".facts").text
    find(browser, "nav a[href='#/']").click()
    text_at(browser, "table .badge", "repaired")
    keep(browser, "jobs")
    assert "token=" not in browser.current_url
    assert quiet(browser) == []


def quiet(browser: Any) -> list[str]:
    """What the browser complained of: refused scripts and styles, missing files, errors."""
    return [
        entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
    ]


@needs_chromium
def test_every_field_has_a_label_and_every_image_a_text(server: Server, browser: Any) -> None:
    browser.get(server.address)
    find(browser, "nav a[href='#/new']").click()
    find(browser, "#slot-network")
    unlabelled = browser.execute_script(
        "return [...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
    )
    assert unlabelled == 0
    assert browser.execute_script("return [...document.images].every(i => i.hasAttribute('alt'))")
    assert browser.execute_script("return document.querySelectorAll('[style], [onclick]').length") == 0


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_told_from_its_ground(server: Server, browser: Any, scheme: str) -> None:
    """WCAG 2.1 AA: a contrast of at least 4.5 in both schemes."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    browser.get(server.address)
    find(browser, "table .badge")
    keep(browser, f"jobs-{scheme}")
    low = browser.execute_script(CONTRAST)
    assert low == []


@needs_chromium
def test_a_wrong_token_is_said_to_be_wrong(server: Server, browser: Any) -> None:
    browser.get(f"{server.url}/#token=wrong")
    text_at(browser, ".error", "not the server's")
    find(browser, "#token").send_keys("wrong-again")
    find(browser, "form button").click()
    text_at(browser, ".error", "not the server's")
    browser.get_log("browser")


def test_the_page_is_small_and_complete() -> None:
    files = list(WEB.iterdir())
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "innerHTML" not in text
        assert "insertAdjacentHTML" not in text
        assert "http" not in text.replace("http://www.w3.org/", ""), f"{file.name} names another site"


CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d');
const colour = (text) => {
  canvas.fillStyle = text;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const luminance = (c) => {
  const [r, g, b] = c.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const text = getComputedStyle(e).backgroundColor;
    if (!text.startsWith('rgba')) return colour(text);
  }
  return [255, 255, 255];
};
const written = (e) => e.offsetParent && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
return [...document.querySelectorAll('body *')].filter(written).map(e => {
  const both = [luminance(colour(getComputedStyle(e).color)), luminance(ground(e))].sort((x, y) => y - x);
  return [(both[0] + .05) / (both[1] + .05), e.textContent.slice(0, 40)];
}).filter(([ratio]) => ratio < 4.5);
"""
