"""Fixtures of the packages' tests."""

from __future__ import annotations

import pytest

from edgeq.errors import MissingExtraError
from edgeq.packaging import micro


@pytest.fixture(scope="session")
def tflite_micro() -> micro.Runtime:
    """The Python that has tflite-micro."""
    try:
        return micro.find()
    except MissingExtraError:
        pytest.skip("tflite-micro is not installed: EDGEQ_TEST_EXTRAS=micro scripts/test")
