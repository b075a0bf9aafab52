from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeq.converters.graph.marked_lstm import replace_markers
from edgeq.errors import LoweringError
from tests.tiny_models import mystery

# Name to the numbers of layers that are one operator, and that are unrolled.
EXPECTED = {
    "last": (1, 0),
    "two-way": (3, 0),
    "backwards": (1, 0),
    "relu": (0, 1),
    "masked": (0, 1),
    "after a GRU": (1, 1),
    "given state": (0, 2),
}


@pytest.fixture(scope="module")
def lowered() -> Any:
    """In a separate process, which imports TensorFlow, as the user's has."""
    script = Path(__file__).with_name("lower_lstms.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("framework", ["keras", "tf_keras"])
def test_lstms_that_can_be_one_operator_are(lowered: Any, framework: str) -> None:
    found = lowered[framework]
    numbers = {name: (item["fused"], item["unrolled"]) for name, item in found.items()}
    assert numbers == EXPECTED
    for name, item in found.items():
        assert item["lstms"] == item["fused"], name
        assert item["loops"] == 0, name
        assert item["deviation"] < 1e-6, name


def test_another_custom_operator_is_refused() -> None:
    with pytest.raises(LoweringError, match="TensorFlow Lite has no operator for: Mystery"):
        replace_markers(mystery())
