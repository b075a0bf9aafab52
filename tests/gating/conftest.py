"""Records of a real conversion and comparison, which tests alter where a figure must differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq import api, models, records, storage
from edgeq.records import Record


@pytest.fixture(scope="session")
def converted(int8_mobilenet: Path) -> Record:
    return records.read_record(Path(f"{int8_mobilenet}.json"))


@pytest.fixture(scope="session")
def compared(
    int8_mobilenet: Path, float_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Record:
    path = tmp_path_factory.mktemp("gate") / "compare.json"
    result = api.compare(
        float_file, int8_mobilenet, models.path("fashion_mnist_test.npz"),
        preprocess=["scale=1/255"], samples=500,
    )  # fmt: skip
    storage.write_record(path, "compare", result)
    return records.read_record(path)
