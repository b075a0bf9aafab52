"""Packages of the MobileNet-like model, made once; the runtime of microcontrollers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq import models
from edgeq.children.other_python import OtherPython
from edgeq.errors import MissingExtraError
from edgeq.packaging.assembly.build import Package, make_package
from edgeq.packaging.targets.c import tflite_micro as micro

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


@pytest.fixture(scope="session")
def tflite_micro() -> OtherPython:
    """The Python that has tflite-micro."""
    try:
        return micro.find()
    except MissingExtraError:
        pytest.skip("tflite-micro is not installed: EDGEQ_TEST_EXTRAS=micro scripts/test")
