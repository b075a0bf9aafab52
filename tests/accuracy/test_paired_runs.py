"""Labels of any size wait for the outputs of their samples."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.accuracy import paired_runs


def test_large_labels_wait_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired_runs, "_MOST_LABEL_BYTES", 100)
    inputs = {"x": np.zeros(3)}
    large = [(inputs, np.full(50, number, np.uint8)) for number in range(5)]
    parts = [[label[0] for _, label in part] for part in paired_runs._parts(iter(large))]
    assert parts == [[0, 1], [2, 3], [4]]
    small = [(inputs, number) for number in range(500)]
    parts = [[label for _, label in part] for part in paired_runs._parts(iter(small))]
    assert parts == [list(range(500))]
    assert list(paired_runs._parts(iter(()))) == []
