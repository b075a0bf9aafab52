"""The examples of the page on quantization run, and files and links that pages name exist."""

from __future__ import annotations

import doctest
import pkgutil
import re
import runpy
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import click
import numpy as np
import pytest

import edgeq
from edgeq import models
from edgeq.cli import WORDS, cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "models/README.md",
         *(path.relative_to(ROOT).as_posix() for path in sorted(DOCS.rglob("*.md"))))  # fmt: skip
# Paths in backticks that begin with one of these are files and folders of the repository.
FOLDERS = (
    "edgeq",
    "converters",
    "device_runners",
    "models",
    "tests",
    "scripts",
    "benchmarks",
    "docs",
)
IN_REPOSITORY = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*|[\w/-]+\.py)(?: [^`]*)?`")
ELSEWHERE = {
    "edgeq/history.sqlite",
    "numpy.py",
    "json.py",
    "my_layers.py",
    "__init__.py",
    "__main__.py",
}
MODULE = re.compile(r"`[^`\n]*?\b(edgeq(?:\.[a-zA-Z_]\w*)+)(?!\w*[/:])[^`\n]*`")
NO_MODULES = {"edgeq.toml", "edgeq.preprocessing", "edgeq.layout", "edgeq.joins"}
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
GENERATED = {"docs/notebook.md", "docs/reference/fields.md", "docs/reference/codes.md"}


def test_the_page_on_quantization_is_true_of_an_exported_file(int8_mobilenet: Path) -> None:
    pixels = np.load(models.path("fashion_mnist_test.npz"))["x"][:64]
    known = {"tflite": int8_mobilenet, "samples": (pixels / 255).astype(np.float32)}
    page = (DOCS / "quantization.md").read_text().replace("```", "")
    test = doctest.DocTestParser().get_doctest(page, known, "quantization.md", None, 0)
    assert len(test.examples) > 20
    found: list[str] = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=found.append)
    assert failed == 0, "".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(IN_REPOSITORY.findall(text)) - ELSEWHERE
    # A page may name a file from the root, or from a folder that it has named before.
    files = [path.as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert not {
        name
        for name in named
        if not (ROOT / name).exists() and not any(path.endswith(f"/{name}") for path in files)
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page: str) -> None:
    links = {(ROOT / page).parent / link for link in LINK.findall((ROOT / page).read_text())}
    generated = {ROOT / name for name in GENERATED}
    assert all(link.exists() or link.resolve() in generated for link in links), links


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_functions_that_a_page_names_exist(page: str) -> None:
    for name in set(MODULE.findall((ROOT / page).read_text())) - NO_MODULES:
        first = ROOT / "edgeq" / name.split(".")[1]
        assert first.is_dir() or first.with_suffix(".py").exists() or first.name in edgeq.__all__
        assert pkgutil.resolve_name(name) is not None


@pytest.mark.parametrize("picture", sorted(DOCS.glob("*.svg")), ids=lambda path: path.name)
def test_pictures_fetch_nothing(picture: Path) -> None:
    root = ElementTree.fromstring(picture.read_text())
    for element in root.iter():
        assert not re.search(r"https?://|url\((?!#)", " ".join(element.attrib.values()))
        assert "://" not in (element.text or "") and "@import" not in (element.text or "")


def test_the_picture_of_the_architecture_follows_the_code() -> None:
    script = runpy.run_path(str(DOCS / "architecture.py"))
    shown = (DOCS / "architecture.svg").read_text()
    assert shown == script["draw"](), "run python docs/architecture.py"


# ---------------------------------------------------------------- the site that scripts/docs built

SITE = ROOT / "site"
needs_site = pytest.mark.skipif(not SITE.exists(), reason="needs the site: run scripts/docs")


class _Words(HTMLParser):
    """The text of a page, and by element: headings, and cells of tables."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[str]] = {"h2": [], "td": []}
        self.text: list[str] = []
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.found:
            self._inside = tag
            self.found[tag].append("")
        elif ("class", "headerlink") in attrs:
            self._inside = None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._inside:
            self.found[self._inside][-1] += data


def _commands(command: click.Command, context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, click.Context(inner, parent=context, info_name=name))


@needs_site
def test_the_page_of_commands_says_what_help_says() -> None:
    page = _Words()
    page.feed((SITE / "reference/commands/index.html").read_text())
    contexts = list(_commands(cli, click.Context(cli, info_name="edgeq", **cli.context_settings)))
    glossary = [text for pair in WORDS.items() for text in pair]
    assert page.found["h2"] == [context.command_path for context in contexts]
    cells = [
        " ".join(cell.replace("`", "").split())
        for context in contexts
        for parameter in context.command.get_params(context)
        if (record := parameter.get_help_record(context)) and record[1]
        for cell in record
    ]
    shown = [" ".join(cell.split()) for cell in page.found["td"]]
    shown = shown[shown.index(cells[0]) :]  # behind the table of exit statuses
    assert [cell for cell in shown if cell not in glossary] == cells
    assert [cell for cell in shown if cell in glossary] == glossary
    assert len(cells) > 2 * 200
    assert "`" not in "".join(page.text)  # code is code


@needs_site
def test_no_page_shows_the_inside_of_an_object() -> None:
    pages = list(SITE.rglob("*.html"))
    assert len(pages) > 60
    for path in pages:
        found = re.search(r"Sentinel|UNSET|&lt;object object|object at 0x", path.read_text())
        assert found is None, path
