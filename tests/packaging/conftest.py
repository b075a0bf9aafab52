"""Packages of the MobileNet-like model, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq import models
from edgeq.packaging.building import Package, make_package

LABELS = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
          "ankle boot")  # fmt: skip


@pytest.fixture(scope="session")
def package(int8_mobilenet: Path) -> Package:
    """For Python; what is common to all targets is tested on it."""
    return make_package(
        int8_mobilenet,
        "python",
        data=models.path("fashion_mnist_test.npz"),
        labels={"": LABELS},
        license="Apache-2.0",
        name="fashion",
        version="1.4.0",
    )
