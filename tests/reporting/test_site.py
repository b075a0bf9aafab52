"""The built documentation in a real Chromium: nothing is cut without a way to scroll."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from .conftest import Browse

SITE = Path(__file__).resolve().parents[2] / "site"
pytestmark = pytest.mark.skipif(not SITE.exists(), reason="needs the site: run scripts/docs")
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("**/index.html"))
WIDE_PAGES = ("index.html", "notebook/index.html", "reference/commands/index.html",
              "reference/codes/index.html", "tasks/index.html")  # fmt: skip

CUT = """
const items = document.querySelectorAll("article table, article pre > code, .output > pre");
return [...items].flatMap((item) => {
  const box = item.closest(".md-typeset__scrollwrap") ?? item;
  const style = getComputedStyle(box);
  const isCut = box.scrollWidth > box.clientWidth + 1;
  const isShown = style.overflowX === "auto" && style.backgroundImage.includes("gradient");
  return isCut && !isShown ? [item.textContent.slice(0, 60)] : [];
});
"""


BEYOND = """
const width = document.documentElement.clientWidth;
const scrolls = (item) => item && (["auto", "scroll"].includes(getComputedStyle(item).overflowX)
  || scrolls(item.parentElement));
return [...document.querySelectorAll("article *")].filter((item) =>
  item.getBoundingClientRect().right > width + 1 && !scrolls(item.parentElement)).map((item) =>
  item.outerHTML.slice(0, 80));
"""


@pytest.mark.parametrize(
    ("names", "width", "dark"), [(PAGES, 390, True), (WIDE_PAGES, 1280, False)]
)
def test_what_is_beyond_an_edge_can_be_scrolled_to(
    browse: Browse, names: list[str], width: int, dark: bool
) -> None:
    for name in names:
        chromium = browse(SITE / name, width, dark=dark)
        assert chromium.find_element(By.CSS_SELECTOR, "article h1").text, name
        assert chromium.execute_script("return document.documentElement.scrollWidth") == width, name
        for rule in (CUT, BEYOND):
            assert chromium.execute_script(rule) == [], name


def test_a_phone_shows_the_meanings_of_options_whole(browse: Browse) -> None:
    chromium = browse(SITE / "reference/commands/index.html", 390)
    hidden = chromium.execute_script("""
      return [...document.querySelectorAll(".md-typeset__scrollwrap")].map((box) =>
        box.scrollWidth - box.clientWidth);
    """)
    assert len(hidden) > 20
    assert max(hidden) <= 1
    # Neither a line's end between two hyphens, nor a button on top of code.
    options = (
        "return [...document.querySelectorAll('.option')].map((o) => o.getClientRects().length)"
    )
    assert set(chromium.execute_script(options)) == {1}
    shown = chromium.find_elements(By.CSS_SELECTOR, "article .md-code__nav")
    assert {float(item.value_of_css_property("opacity")) for item in shown} == {0.0}


def test_a_phone_shows_the_bars_of_a_result(browse: Browse) -> None:
    chromium = browse(SITE / "notebook/index.html", 390)
    widths = chromium.execute_script(
        "return [...document.querySelectorAll('.output td > div')].map((bar) => bar.offsetWidth)"
    )
    assert len(widths) > 3
    assert min(widths) > 20


def test_tables_are_printed_whole(browse: Browse) -> None:
    chromium = browse(SITE / "tasks/index.html", 700)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    beyond = chromium.execute_script("""
      return [...document.querySelectorAll("article table, article pre > code")].filter((item) =>
        item.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length;
    """)
    assert beyond == 0
