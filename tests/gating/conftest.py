"""Records of a conversion and a comparison, which tests alter where a figure must differ.

They are real ones, of the MobileNet-like model that ships with edgeq, shortened; the latencies are
of a machine that nobody disturbs: twelve rounds of five inferences, 0.06 and 0.04 ms.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeq.records import reading
from edgeq.records.reading import Record


def read_copy(name: str, factory: pytest.TempPathFactory) -> Record:
    return reading.read_record(
        Path(shutil.copy(Path(__file__).with_name(name), factory.mktemp("records")))
    )


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return read_copy("convert.json", tmp_path_factory)


@pytest.fixture(scope="session")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return read_copy("compare.json", tmp_path_factory)
