"""How large a report is, how long making it takes, and how fast it opens in a real Chromium.

    python benchmarks/report.py [--layers 300] [RECORD...]

Without records, a conversion, a comparison, a debug run and a profile of the MobileNet-like model
that ships with edgeq are made first, and their layers repeated under other names until there are
--layers. Needs selenium, chromium and chromedriver, which `scripts/test` installs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from edgeq import models
from tests.reporting.enlarging import enlarge

RUNS = 7
OPENED = """
const entry = performance.getEntriesByType("navigation")[0];
return [entry.domContentLoadedEventEnd, entry.loadEventEnd,
        performance.getEntriesByType("paint").map((paint) => paint.startTime).at(-1) ?? 0];
"""


def edgeq(*arguments: object) -> None:
    program = str(Path(sys.executable).with_name("edgeq"))
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def make_records(folder: Path, layers: int) -> list[Path]:
    """Real records of the MobileNet-like model, made larger."""
    source, test = models.path("fmnist_mobilenet.keras"), models.path("fashion_mnist_test.npz")
    int8, fp32 = folder / "int8.tflite", folder / "fp32.tflite"
    data = "--data", models.path("fashion_mnist_calibration.npz"), "--preprocess", "scale=1/255"
    edgeq("convert", source, *data, "-o", int8)
    edgeq("convert", source, "--scheme", "fp32", "-o", fp32)
    made = {name: folder / f"{name}.json" for name in ("compare", "debug", "profile")}
    edgeq("compare", source, int8, "--data", test, "-o", made["compare"])
    edgeq("debug", source, int8, "--data", test, "-o", made["debug"])
    edgeq("profile", int8, fp32, "-o", made["profile"])
    return [
        enlarge(path, folder / f"large-{path.name}", layers)
        for path in (Path(f"{int8}.json"), *made.values())
    ]


def open_page(path: Path, width: int) -> list[float]:
    """Milliseconds until the page was parsed, loaded and painted, in a new browser."""
    options = webdriver.ChromeOptions()
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    options.binary_location = next(name for name in found if name is not None)
    for argument in ("--headless=new", "--disable-gpu", f"--window-size={width},900"):
        options.add_argument(argument)
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.get(path.resolve().as_uri())
        time.sleep(0.3)  # the browser reports the last paint a moment later
        return list(driver.execute_script(OPENED))
    finally:
        driver.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=300)
    parser.add_argument("records", nargs="*", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = given.records or make_records(folder, given.layers)
        page = folder / "report.html"
        times = []
        for _ in range(RUNS):
            began = time.perf_counter()
            edgeq("report", *records, "-o", page)
            times.append(time.perf_counter() - began)
        print(f"page: {page.stat().st_size / 1e6:.2f} MB; made in {statistics.median(times):.2f} s "
              f"({min(times):.2f} to {max(times):.2f}) as a whole process")  # fmt: skip
        for width in (1280, 390):
            opened = [open_page(page, width) for _ in range(RUNS)]
            parts = [
                f"{what} {statistics.median(item):.0f} ms ({min(item):.0f} to {max(item):.0f})"
                for what, item in zip(
                    ("parsed", "loaded", "painted"), zip(*opened, strict=True), strict=True
                )
            ]
            print(f"opened {width} pixels wide: {', '.join(parts)}")


if __name__ == "__main__":
    main()
