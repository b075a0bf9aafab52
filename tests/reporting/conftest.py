"""Records of one model for a report, and a real Chromium to look at it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from edgeq import api
from edgeq.files import storage

Browse = Callable[..., webdriver.Chrome]


@pytest.fixture(scope="session")
def one_model(record_files: dict[str, Path], int8_mobilenet: Path, float_file: Path,
              tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:  # fmt: skip
    """A record of each kind, of the MobileNet-like model; and a sustained run."""
    kinds = ("compare", "debug", "profile", "bench", "eval", "parity", "inspect", "doctor", "fit")
    found = {kind: record_files[kind] for kind in kinds}
    found["convert"] = Path(f"{int8_mobilenet}.json")
    sustained = tmp_path_factory.mktemp("sustained") / "sustained.json"
    result = api.bench([int8_mobilenet], sustained_s=1.5, window_s=0.5)
    storage.write_record(sustained, "bench", result)
    return {**found, "sustained": sustained}


def _program(*names: str) -> str | None:
    return next((found for name in names if (found := shutil.which(name)) is not None), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[webdriver.Chrome]:
    """One headless Chromium for all pages."""
    browser, driver = (
        _program("chromium", "chromium-browser", "google-chrome"),
        _program("chromedriver"),
    )
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--disable-gpu", "--hide-scrollbars", "--no-first-run"):
        options.add_argument(argument)
    if os.getuid() == 0:  # Chromium's sandbox refuses root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    yield window
    window.quit()


@pytest.fixture
def browse(chromium: webdriver.Chrome) -> Browse:
    """Open a page at a width in pixels, in light or dark."""

    def go(path: Path, width: int = 1280, *, dark: bool = False) -> webdriver.Chrome:
        chromium.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": [scheme]})
        for kind in ("browser", "performance"):
            chromium.get_log(kind)  # what other pages left
        chromium.get(path.as_uri())
        return chromium

    return go


def requests(chromium: webdriver.Chrome) -> list[str]:
    """Addresses of everything that was asked for since the page was opened."""
    messages = [
        json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")
    ]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]


def edited(path: Path, target: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """A record with something changed in it."""
    plain = json.loads(path.read_text())
    edit(plain)
    target.write_text(json.dumps(plain))
    return target
