"""The examples of the page on quantization run, and files and links that pages name exist."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from edgeq import models

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
ELSEWHERE = {"edgeq/history.sqlite", "numpy.py", "json.py", "my_layers.py", "__init__.py"}
LINK = re.compile(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)")
GENERATED = {"docs/reference/fields.md", "docs/reference/codes.md"}


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
    folder = (ROOT / page).parent
    missing = {name for name in named if not ((ROOT / name).exists() or (folder / name).exists())}
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files(page: str) -> None:
    links = {(ROOT / page).parent / link for link in LINK.findall((ROOT / page).read_text())}
    generated = {ROOT / name for name in GENERATED}
    assert all(link.exists() or link.resolve() in generated for link in links), links
