"""The page in a real Chromium: it shows the records' figures, and asks for nothing else."""

from __future__ import annotations

import json
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from edgeq.escaping import printable
from edgeq.render.report import render_report
from edgeq.reporting import make_report
from tests.nasty import ALL, steering

from .conftest import Browse, edited, requests
from .enlarging import enlarge

PHONE, DESKTOP = 390, 1280


@pytest.fixture(scope="session")
def page(one_model: dict[str, Path], record_files: dict[str, Path],
         tmp_path_factory: pytest.TempPathFactory) -> Path:  # fmt: skip
    """A report of everything that is known of one model."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    report = make_report([*one_model.values(), record_files["gate"]])
    path.write_text(render_report(report, "html"))
    return path


@pytest.fixture(scope="session")
def tuned(record_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a search."""
    path = tmp_path_factory.mktemp("tuned") / "report.html"
    path.write_text(render_report(make_report([record_files["tune"]]), "html"))
    return path


@pytest.fixture(scope="session")
def long_names(one_model: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a model with a long name."""
    folder = tmp_path_factory.mktemp("long_names")

    def lengthen(plain: dict[str, Any]) -> None:
        name = f"models/{'_'.join(['MobileNetV2_BATCH128'] * 8)}.tflite"
        for item in (plain["candidate"], plain["bench"]["runs"][1]["model"]):
            item["path"] = name

    path = edited(one_model["compare"], folder / "compare.json", lengthen)
    page = folder / "report.html"
    page.write_text(render_report(make_report([path]), "html"))
    return page


# ---------------------------------------------------------------- it renders


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (PHONE, True), (DESKTOP, False)])
def test_it_renders_without_a_word_on_the_console_or_a_request(
    browse: Browse, page: Path, width: int, dark: bool
) -> None:
    chromium = browse(page, width, dark=dark)
    assert chromium.title == "CHECK: mobilenet.tflite"  # 50 samples prove little
    shown = {item.text for item in chromium.find_elements(By.CSS_SELECTOR, "main h2")}
    assert {"Accuracy", "Latency and memory", "Sustained run", "Error by layer", "Certificate",
            "Latency by operator", "Calibration", "Gate", "Provenance"} <= shown  # fmt: skip
    assert "\\n" not in chromium.find_element(By.TAG_NAME, "main").text
    assert chromium.get_log("browser") == []
    assert requests(chromium) == [page.as_uri()]
    widths = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert chromium.execute_script(widths) == [width, width]


TEXTS = """
const found = [];
for (const plot of document.querySelectorAll("svg.plot")) {
  if (plot.getClientRects().length === 0) continue;
  const own = plot.getBoundingClientRect();
  const texts = [...plot.querySelectorAll("text")].map((text) => {
    const box = text.getBoundingClientRect();
    return [text.textContent, box.left, box.top, box.right, box.bottom];
  });
  found.push({ box: [own.left, own.top, own.right, own.bottom], texts });
}
return found;
"""


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("which", ["page", "tuned", "long_names"])
def test_no_text_of_a_plot_is_cut_or_lies_upon_another(
    browse: Browse, request: pytest.FixtureRequest, which: str, width: int
) -> None:
    chromium = browse(request.getfixturevalue(which), width)
    plots = chromium.execute_script(TEXTS)
    assert len(plots) >= (5 if which == "page" else 1)
    for plot in plots:
        left, top, right, bottom = plot["box"]
        for name, x1, y1, x2, y2 in plot["texts"]:
            assert left - 1 <= x1 and x2 <= right + 1, name
            assert top - 2 <= y1 and y2 <= bottom + 2, name
        for one, other in combinations(plot["texts"], 2):
            apart = (one[3] <= other[1] + 1 or other[3] <= one[1] + 1
                     or one[4] <= other[2] + 4 or other[4] <= one[2] + 4)  # fmt: skip
            assert apart, (one[0], other[0])


def test_it_prints_all_rows(browse: Browse, page: Path) -> None:
    chromium = browse(page)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = chromium.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter("
        "(box) => box.scrollHeight > box.clientHeight + 2).length"
    )
    assert hidden == 0
    # Chromium repeats the headings on a table's next page only if they have no button's box.
    boxes = "return [...document.querySelectorAll('thead button')].map((b) => b.offsetHeight)"
    assert set(chromium.execute_script(boxes)) == {0}
    printed = chromium.execute_cdp_cmd("Page.printToPDF", {})
    assert len(printed["data"]) > 10_000


CONTRASTS = """
const light = (text) => {
  const [r, g, b] = text.match(/[\\d.]+/g).map(Number).slice(0, 3).map((v) => {
    v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = light(getComputedStyle(document.body).backgroundColor);
const seen = {};
for (const item of document.querySelectorAll("body *")) {
  const own = [...item.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || item.getClientRects().length === 0 || item.closest(".skip, #tip")) continue;
  const style = getComputedStyle(item);
  const colour = light(item.closest("svg") ? style.fill : style.color);
  const [high, low] = colour > ground ? [colour, ground] : [ground, colour];
  const key = `${item.tagName}.${item.className.baseVal ?? item.className}`;
  seen[key] = (high + 0.05) / (low + 0.05);
}
return seen;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_has_the_contrast_that_wcag_asks_for(
    browse: Browse, page: Path, dark: bool
) -> None:
    """WCAG 2.2, success criterion 1.4.3: at least 4.5."""
    found = browse(page, dark=dark).execute_script(CONTRASTS)
    assert len(found) > 15
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}


# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
DEFICIENCIES = {
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}


@pytest.mark.parametrize("dark", [False, True])
def test_colour_blind_readers_tell_the_two_models_apart(
    browse: Browse, page: Path, dark: bool
) -> None:
    chromium = browse(page, dark=dark)
    names = ("candidate", "baseline", "accent")
    colours = [
        chromium.execute_script(
            "const item = document.createElementNS('http://www.w3.org/2000/svg', 'circle');"
            "item.setAttribute('class', arguments[0] + ' fill');"
            "document.querySelector('svg.plot').append(item);"
            "return getComputedStyle(item).fill.match(/[\\d.]+/g).map(Number)",
            name,
        )
        for name in names
    ]
    for matrix, (one, other) in product(DEFICIENCIES.values(), combinations(colours, 2)):
        first, second = (_lab(_seen(colour, matrix)) for colour in (one, other))
        distance = sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5
        assert distance > 15, (one, other)


def _seen(colour: list[float], matrix: tuple[tuple[float, ...], ...]) -> list[float]:
    line = [
        value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4
        for value in colour[:3]
    ]
    return [min(max(sum(m * v for m, v in zip(row, line, strict=True)), 0), 1) for row in matrix]


def _lab(line: list[float]) -> list[float]:
    """CIE 1976 L*a*b* of linear sRGB."""
    r, g, b = line
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.0890
    f = [v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z)]
    return [116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])]


# ---------------------------------------------------------------- its figures


def test_the_numbers_on_it_are_the_records(
    browse: Browse, page: Path, one_model: dict[str, Path]
) -> None:
    chromium = browse(page)
    compare = json.loads(one_model["compare"].read_text())
    text = chromium.find_element(By.ID, "comparison-rows").text
    quality, (first, second) = compare["quality"], compare["bench"]["runs"]
    assert f"{quality['baseline_accuracy_percent']:.2f} %" in text
    assert f"{quality['candidate_accuracy_percent']:.2f} %" in text
    assert f"{quality['outputs'][0]['parts'][0]['sqnr_db']:.1f} dB" in text
    values = {
        float(cell.get_attribute("data-v"))
        for cell in chromium.find_elements(By.CSS_SELECTOR, "#comparison-rows td[data-v]")
    }
    wanted = {first["latency"]["p50_ms"], second["latency"]["p90_ms"], compare["size_ratio"],
              first["peak_rss_bytes"], quality["drop_points"]["value"]}  # fmt: skip
    assert wanted <= values
    layers = json.loads(one_model["debug"].read_text())["layers"]
    shown = chromium.find_elements(By.CSS_SELECTOR, "#layers tbody tr")
    assert len(shown) == len(layers)
    cells = [row.find_elements(By.CSS_SELECTOR, "td")[3].text for row in shown]
    assert cells == [f"{layer['own_sqnr_db']:.1f}" for layer in layers]
    marks = chromium.find_elements(By.CSS_SELECTOR, "#layers svg.wide circle.candidate")
    assert len(marks) == len(layers)


# ---------------------------------------------------------------- it can be used


def test_a_click_on_a_heading_sorts(browse: Browse, page: Path) -> None:
    chromium = browse(page)
    button = chromium.find_elements(By.CSS_SELECTOR, "#layers thead button")[4]  # own dB
    heading = button.find_element(By.XPATH, "..")

    def column() -> list[float]:
        cells = chromium.find_elements(By.CSS_SELECTOR, "#layers tbody tr > :nth-child(5)")
        return [float(cell.get_attribute("data-v")) for cell in cells]

    values = column()
    for order in ("descending", "ascending"):
        chromium.execute_script("arguments[0].click()", button)
        assert heading.get_attribute("aria-sort") == order
        assert column() == sorted(values, reverse=order == "descending")


def test_a_layer_is_filtered_for_in_all_tables_and_plots(browse: Browse, page: Path) -> None:
    chromium = browse(page)
    first, *others = chromium.find_elements(By.CSS_SELECTOR, ".filter input")
    first.send_keys("aDd_1")
    for table in chromium.find_elements(By.CSS_SELECTOR, ".by-layer tbody"):
        rows = table.find_elements(By.CSS_SELECTOR, "tr")
        for row in rows:
            name = row.find_element(By.TAG_NAME, "th").get_attribute("textContent")
            assert row.is_displayed() == ("add_1" in name.lower())
    assert all(item.get_attribute("value") == "aDd_1" for item in others)
    faded = chromium.find_elements(By.CSS_SELECTOR, "#layers svg.wide .pt.off")
    assert 0 < len(faded) < len(chromium.find_elements(By.CSS_SELECTOR, "#layers svg.wide .pt"))


def test_the_keyboard_reaches_the_figures_of_a_plot(browse: Browse, page: Path) -> None:
    chromium = browse(page)
    figure = chromium.find_element(By.CSS_SELECTOR, "#layers figure")
    tip = chromium.find_element(By.ID, "tip")
    assert not tip.is_displayed()
    figure.send_keys(Keys.ARROW_RIGHT)
    first = tip.text
    figure.send_keys(Keys.ARROW_RIGHT)
    assert tip.is_displayed() and "own" in first and tip.text not in ("", first)
    assert tip.get_attribute("role") == "status"
    figure.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_every_part_has_a_name_for_screen_readers(browse: Browse, page: Path) -> None:
    chromium = browse(page)
    tree = chromium.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles: dict[str, list[str]] = {}
    for node in tree:
        if not node.get("ignored"):
            role = node["role"]["value"]
            roles.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ("table", "region", "figure", "navigation", "button", "searchbox", "image"):
        assert roles.get(role), role
        assert all(roles[role]), role
    assert len(roles["table"]) == len(chromium.find_elements(By.TAG_NAME, "table"))
    assert len(roles["main"]) == 1


# ---------------------------------------------------------------- what may not happen

HOSTILE = [
    '<img src=x onerror="window.hacked = 1">',
    "</script><script>window.hacked = 1</script>",
    "\"><svg onload='window.hacked = 1'>",
    "javascript:window.hacked=1",
    "{{ 7 * 7 }}{% raw %}",
    "a\u202egnp.exe",
    "tab\tand\nline\x07",
    "\ud800lone half",
    "x" * 5000,
    ALL,
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_names_are_shown_as_text(
    browse: Browse, one_model: dict[str, Path], tmp_path: Path, number: int
) -> None:
    text = HOSTILE[number]

    def attack(plain: dict[str, Any]) -> None:
        for key in ("candidate", "baseline"):
            plain[key]["path"] = f"{text}/{text}.tflite"
        for layer in plain.get("layers", ()):
            layer.update(name=text, operator=text, cause=text, remedy=text)
        plain["data"]["source"] = text
        for output in plain["quality"]["outputs"]:
            output["name"] = text
        if plain.get("bench"):
            plain["bench"]["facts"]["device"] = text
            plain["bench"]["runs"][0]["model"]["path"] = text

    paths = [edited(one_model[kind], tmp_path / f"{kind}.json", attack)
             for kind in ("compare", "debug")]  # fmt: skip
    path = tmp_path / "report.html"
    path.write_text(render_report(make_report(paths), "html"), "utf-8", "backslashreplace")
    chromium = browse(path, PHONE)
    assert chromium.execute_script("return window.hacked") is None
    assert chromium.find_elements(By.CSS_SELECTOR, "img, main script, [onload], [onerror]") == []
    assert chromium.get_log("browser") == []
    assert requests(chromium) == [path.as_uri()]
    body = chromium.find_element(By.TAG_NAME, "main").get_attribute("textContent")
    assert printable(text)[:40].split("/")[-1] in body
    assert steering(path.read_text()) == []
    widths = "return document.documentElement.scrollWidth"
    assert chromium.execute_script(widths) == PHONE


def test_300_layers_stay_below_one_and_a_half_megabytes(
    browse: Browse, one_model: dict[str, Path], tmp_path: Path
) -> None:
    """How fast such a page opens is measured in benchmarks/report.py."""
    path = tmp_path / "report.html"
    paths = [enlarge(one_model[kind], tmp_path / f"{kind}.json", 300)
             for kind in ("convert", "debug", "profile", "compare")]  # fmt: skip
    path.write_text(render_report(make_report(paths), "html"))
    assert path.stat().st_size < 1_500_000
    chromium = browse(path)
    rows = chromium.find_elements(By.CSS_SELECTOR, "#layers tbody tr")
    assert len(rows) == 300
    assert sum(row.is_displayed() for row in rows) == 50
    button = chromium.find_element(By.CSS_SELECTOR, "#layers button.all")
    assert button.text == "Show all 300 rows"
    field = chromium.find_element(By.CSS_SELECTOR, "#layers .filter input")
    field.send_keys("block_299/")
    assert [row.is_displayed() for row in rows] == [False] * 299 + [True]
    field.send_keys(Keys.CONTROL, "a", Keys.DELETE)
    assert sum(row.is_displayed() for row in rows) == 50
    heading = chromium.find_elements(By.CSS_SELECTOR, "#layers thead button")[7]  # position
    heading.click()
    first = chromium.find_element(By.CSS_SELECTOR, "#layers tbody tr")
    assert "block_299/" in first.text and first.is_displayed()
    button.click()
    assert all(row.is_displayed() for row in rows)
    assert len(chromium.find_elements(By.CSS_SELECTOR, "#operators-2-rows tbody tr")) >= 300


# ---------------------------------------------------------------- nothing is cut

BOXES = """
return [...document.querySelectorAll(".table .scroll")].map((box) => {
  const style = getComputedStyle(box), edge = box.getBoundingClientRect();
  const cells = [...box.querySelectorAll("tbody th, tbody td")].filter(
    (cell) => cell.getClientRects().length > 0);
  return {
    caption: box.parentElement.querySelector("h3").textContent,
    rows: box.querySelectorAll("tbody tr").length,
    overflow: style.overflowX,
    shade: style.backgroundImage,
    hidden: box.scrollWidth - box.clientWidth,
    inside: [...box.querySelectorAll("thead th")].filter((cell) =>
      cell.getBoundingClientRect().right <= edge.right + 1).map((cell) => cell.innerText),
    spilled: cells.filter((cell) => cell.scrollWidth > cell.clientWidth + 1)
      .map((cell) => cell.textContent),
  };
});
"""
DECIDING = (
    "difference",
    "drop",
    "outputs dB",
    "gain",
    "p50 ms",
    "trust",
    "verdict",
    "value",
    "SQNR dB",
)


@pytest.mark.parametrize(("width", "dark"), [(PHONE, False), (DESKTOP, True)])
@pytest.mark.parametrize("which", ["page", "tuned"])
def test_what_is_beyond_a_table_s_edge_can_be_scrolled_to(
    browse: Browse, request: pytest.FixtureRequest, which: str, width: int, dark: bool
) -> None:
    boxes = browse(request.getfixturevalue(which), width, dark=dark).execute_script(BOXES)
    assert len(boxes) >= 4
    for box in boxes:
        assert box["spilled"] == []
        if box["hidden"] > 1:
            # A shade says that there is more.
            assert (box["overflow"], box["shade"].count("gradient")) == ("auto", 4), box
            assert width == DESKTOP or box["rows"] > 12, box["caption"]


def test_the_navigation_shows_that_it_continues(browse: Browse, page: Path) -> None:
    hidden, overflow, shade = browse(page, PHONE).execute_script("""
      const list = document.querySelector("nav ul"), style = getComputedStyle(list);
      return [list.scrollWidth - list.clientWidth, style.overflowX, style.backgroundImage];
    """)
    assert hidden > 0
    assert (overflow, shade.count("gradient")) == ("auto", 4)


def test_columns_without_a_value_are_named_below_the_table(browse: Browse, page: Path) -> None:
    tables = browse(page).execute_script("""
      return [...document.querySelectorAll(".table")].map((table) => [
        [...table.querySelectorAll("thead th")].map((cell) => cell.innerText),
        [...table.querySelectorAll("tbody tr")].map((row) => [...row.cells].map(
          (cell) => cell.querySelector("svg") ? "drawn" : cell.textContent.trim())),
        table.querySelector(":scope > .note")?.innerText ?? "",
      ]);
    """)
    for titles, rows, _ in tables:
        for title, column in list(zip(titles, zip(*rows, strict=True), strict=True))[1:]:
            assert set(column) - {"", "-"}, title
    (clock,) = [note for titles, _, note in tables if "from" in titles[0]]
    assert clock.startswith("Left out, because no row has a value: ")


def test_the_column_that_decides_is_in_sight(browse: Browse, page: Path) -> None:
    boxes = browse(page, DESKTOP).execute_script(BOXES)
    (runs,) = [box for box in boxes if box["caption"] == "Every run"]
    assert runs["hidden"] <= 1
    headings = browse(page, DESKTOP).execute_script(
        "return [...document.querySelectorAll('.scroll thead th')].map((cell) => cell.innerText)"
    )
    inside = [title.rstrip("↕") for box in boxes for title in box["inside"]]
    for title in DECIDING:
        assert inside.count(title) == [text.rstrip("↕") for text in headings].count(title) > 0


def test_a_printed_heading_has_its_plot_on_the_same_page(browse: Browse, page: Path) -> None:
    chromium = browse(page, 1032)  # A4 across without its margins
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    # A wider element would make Chromium print everything smaller.
    assert chromium.execute_script("return document.documentElement.scrollWidth") == 1032
    heights = chromium.execute_script("""
      return [...document.querySelectorAll("figure")].map((figure) => {
        const isFirst = figure.previousElementSibling.matches(".lead");
        const top = (isFirst ? figure.parentElement : figure).getBoundingClientRect().top;
        return figure.getBoundingClientRect().bottom - top;
      });
    """)
    assert len(heights) >= 5
    assert max(heights) <= 186 / 25.4 * 96, heights
