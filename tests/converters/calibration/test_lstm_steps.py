from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeq.converters.calibration.lstm_steps import find_lstms
from edgeq.converters.rewrites.apply import rewrite
from edgeq.tflite import flatbuffer
from tests.tiny_models import fused_lstm


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 2, "time_major": True},
        {"coupled": True},
        {"cells": 5, "peepholes": True, "normalized": True},
        {"cells": 5, "projected": 3, "coupled": True, "normalized": True, "peepholes": True},
    ],
)
def test_the_last_cell_state_is_the_one_that_the_interpreter_keeps(
    options: Mapping[str, Any],
) -> None:
    content = rewrite(fused_lstm(**options)).content
    tree = flatbuffer.parse(content, "the model")
    (steps,) = find_lstms(tree)
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    values = np.random.default_rng(1).normal(size=given["shape"]).astype(np.float32)
    interpreter.set_tensor(given["index"], values)
    interpreter.invoke()
    cells, *others = steps.run(values)
    assert steps.inner[0] == steps.own.cell and len(cells) == 4
    kept = interpreter.get_tensor(steps.own.cell)
    np.testing.assert_allclose(cells[-1], kept, rtol=1e-5, atol=1e-6)
    if "projected" in options:  # the projection of its last tensor is the result
        matrix, bias = (
            flatbuffer.constant(tree, tree.subgraphs[0].tensors[index])
            for index in (steps.own.projection, steps.own.projection_bias)
        )
        made = interpreter.get_tensor(steps.own.result)
        np.testing.assert_allclose(
            np.swapaxes(others[-1] @ matrix.T + bias, 0, 1), made, rtol=1e-5, atol=1e-6
        )


def test_clipped_states_stay_within_the_limit() -> None:
    tree = flatbuffer.parse(fused_lstm(gain=4.0), "the model")
    tree.subgraphs[0].operators[0].builtinOptions.cellClip = 0.5
    (steps,) = find_lstms(tree)
    (cells,) = steps.run(np.ones((1, 4, 3), np.float32))
    assert np.abs(cells).max() == 0.5
