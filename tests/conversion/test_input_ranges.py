"""A model whose first feature reaches a hundred times as far as the others, but rarely."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeq import api
from edgeq.converters.calibration.input_rounding import round_input
from edgeq.converters.graph import operator_stepper
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import Conversion, TensorSpec
from tests.tiny_models import Operator, graph, model, operator, tensor

WEIGHTS = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
WEIGHTS[:, 0] *= 0.002


def dense() -> bytes:
    """`y = x W`, float [1, 4] to [1, 6]."""
    tensors = [tensor("x", [1, 4]), tensor("w", [6, 4], buffer=1), tensor("b", [6], buffer=2),
               tensor("y", [1, 6])]  # fmt: skip
    main = graph(tensors, [0], [3], [operator(0, [0, 1, 2], [3], schema.FullyConnectedOptionsT())])
    constants = [WEIGHTS, np.zeros(6, np.float32)]
    return model([main], [(Operator.FULLY_CONNECTED, 1)], constants, ({"x": 0}, {"y": 3}))


def samples(first: float) -> np.ndarray:
    """[200, 4], the first feature of every tenth one up to `first` away from 0."""
    random = np.random.default_rng(0)
    values = random.normal(size=(200, 4))
    values[::10, 0] *= first / 3
    return values.astype(np.float32)


def convert(folder: Path, data: np.ndarray, **options: Any) -> Conversion:
    source = folder / "dense.tflite"
    source.write_bytes(dense())
    return api.convert(source, folder / "int8.tflite", data=data, samples=150, **options)


def notes(result: Conversion) -> list[str]:
    return [item.message for item in result.issues if item.code == "convert.input_narrowed"]


def test_an_input_is_cut_where_the_outputs_gain(tmp_path: Path) -> None:
    data = samples(300.0)
    made, plain = (convert(tmp_path, data, statistic=name) for name in ("auto", "minmax"))
    (note,) = notes(made)
    assert note.startswith("input 'x' has values from -") and note.endswith(
        "separately would gain more"
    )
    assert notes(plain) == []
    assert made.certificate.inputs[0].scales[0] < 0.7 * plain.certificate.inputs[0].scales[0]
    assert made.quality is not None and plain.quality is not None
    gained = made.quality.outputs[0].sqnr_db - plain.quality.outputs[0].sqnr_db
    assert gained > 2  # on samples that are held out


def test_an_even_input_keeps_its_range(tmp_path: Path) -> None:
    assert notes(convert(tmp_path, samples(3.0))) == []


def test_a_handful_of_samples_has_no_rare_values(tmp_path: Path) -> None:
    source = tmp_path / "dense.tflite"
    source.write_bytes(dense())
    result = api.convert(source, tmp_path / "o.tflite", data=samples(300.0)[:12])
    assert notes(result) == []


def test_a_rounded_input_is_what_the_integers_stand_for() -> None:
    given = samples(300.0)[:, np.newaxis]
    tree = flatbuffer.parse(round_input(dense(), 0, (-50.0, 77.0)), "it")
    stepper = operator_stepper.Stepper(tree, {"x": given})
    stepper.run_to(len(tree.subgraphs[0].operators))
    scale, zero_point = quantmath.range_to_scale(-50.0, 77.0)
    spec = TensorSpec("x", (1, 4), "int8", (scale,), (zero_point,))
    rounded = quantmath.dequantize(quantmath.quantize(given, spec), spec)
    assert rounded.min() == pytest.approx(-50, abs=scale)
    np.testing.assert_allclose(stepper.real(3), rounded @ WEIGHTS.T, rtol=1e-5, atol=1e-5)
