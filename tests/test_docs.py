"""What the documentation shows is run."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np

from edgeq import models

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_on_quantization_is_true_of_an_exported_file(int8_mobilenet: Path) -> None:
    pixels = np.load(models.path("fashion_mnist_test.npz"))["x"][:64]
    known = {"tflite": int8_mobilenet, "samples": (pixels / 255).astype(np.float32)}
    page = (DOCS / "quantization.md").read_text().replace("```", "")
    test = doctest.DocTestParser().get_doctest(page, known, "quantization.md", None, 0)
    assert len(test.examples) > 20
    found: list[str] = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=found.append)
    assert failed == 0, "".join(found)
