"""The built documentation in a real Chromium: nothing is cut without a way to scroll."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from .conftest import Browse

SITE = Path(__file__).resolve().parents[2] / "site"
pytestmark = pytest.mark.skipif(not SITE.exists(), reason="needs the site: run scripts/docs")
PAGES = ("index.html", "notebook/index.html", "reference/commands/index.html",
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


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_what_is_beyond_an_edge_can_be_scrolled_to(
    browse: Browse, name: str, width: int, dark: bool
) -> None:
    chromium = browse(SITE / name, width, dark=dark)
    assert chromium.find_element(By.CSS_SELECTOR, "article h1").text
    assert chromium.execute_script("return document.documentElement.scrollWidth") == width
    assert chromium.execute_script(CUT) == []


def test_tables_are_printed_whole(browse: Browse) -> None:
    chromium = browse(SITE / "tasks/index.html", 700)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    beyond = chromium.execute_script("""
      return [...document.querySelectorAll("article table, article pre > code")].filter((item) =>
        item.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length;
    """)
    assert beyond == 0
