from __future__ import annotations

import numpy as np

from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.tflite import flatbuffer
from tests.converters.rewrites.tiny_graphs import Builder


def test_a_constant_without_values_is_not_fed() -> None:
    build = Builder()
    one = build.add("ABS", [build.input([1, 1])], [1, 1])
    scalar = build.add("RESHAPE", [one, build.constant([], "int32")], [])
    content = build.content(build.add("NEG", [scalar], []))
    values = np.array([-2.0, 3.0], np.float32).reshape(2, 1, 1)
    stepper = Stepper(flatbuffer.parse(content, "it"), {"x": values})
    stepper.run_to(3)
    (result,) = stepper.values.values()
    assert result.tolist() == [-2.0, -3.0]
