"""Operators that TensorFlow Lite lacks are expressions in the float model, and INT8 tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import edgeq
from edgeq.converters.calibration import calibrate
from edgeq.converters.lowering.live import LiveReader
from edgeq.converters.tracing import expressions
from edgeq.values import ConvertOptions

# Where each function is defined and not steep.
DOMAINS = {"Acos": (-0.95, 0.95), "Acosh": (1.1, 4), "Asin": (-0.95, 0.95), "Atanh": (-0.9, 0.9)}
FUNCTIONS = sorted(expressions._FUNCTIONS)


def run(model: Any, samples: Any, folder: Path) -> dict[str, Any]:
    """Outputs of the float `.tflite`."""
    made = LiveReader(model).lower(ConvertOptions(), folder)
    rows = [{made.inputs[0].name: row} for row in samples]
    outputs = calibrate.run_float_model(made, iter(rows), folder, len(rows), "nothing").outputs
    return dict(outputs)


def test_functions_have_their_values(tmp_path: Path) -> None:
    """All in one model: what the converter lacks is found operator by operator."""

    @tf.function(input_signature=[tf.TensorSpec([None, 9], tf.float32, name="x")])
    def model(x: Any) -> Any:
        return {
            name: getattr(tf.raw_ops, name)(x=low + (high - low) * x)
            for name in FUNCTIONS
            for low, high in (DOMAINS.get(name, (-1.4, 1.4)),)
        }

    samples = np.random.default_rng(0).uniform(0, 1, (3, 9)).astype(np.float32)
    found = run(model.get_concrete_function(), samples, tmp_path)
    for name, expected in model(samples).items():
        assert found[name] == pytest.approx(expected.numpy(), abs=5e-6), name


def test_resizing_is_a_product_with_matrices(tmp_path: Path) -> None:
    image = keras.Input((6, 8, 3), name="x")
    outputs = {
        "larger": ops.image.resize(image, (13, 9), interpolation="bicubic"),
        "smaller": ops.image.resize(image, (3, 5), antialias=True),
    }
    model = keras.Model(image, outputs)
    samples = np.random.default_rng(0).normal(0, 1, (2, 6, 8, 3)).astype(np.float32)
    found = run(model, samples, tmp_path)
    for name, expected in model(samples).items():
        assert found[name] == pytest.approx(expected.numpy(), abs=5e-6), name


def test_products_and_places_among_sorted_values(tmp_path: Path) -> None:
    vectors = keras.Input((4, 3), name="x")
    keys = ops.convert_to_tensor(np.float32([-0.5, 0.0, 0.25, 0.25, 0.5]))
    outputs = {
        "cumprod": ops.cumprod(vectors, axis=1),
        "cross": ops.cross(vectors, ops.flip(vectors, axis=1)),
        "left": ops.searchsorted(keys, vectors[:, 0], side="left"),
        "right": ops.searchsorted(keys, vectors[:, 0], side="right"),
    }
    model = keras.Model(vectors, outputs)
    samples = np.random.default_rng(0).uniform(-1, 1, (3, 4, 3)).astype(np.float32)
    samples[0, 0] = 0.25, 0.5, -0.5  # equal to keys
    found = run(model, samples, tmp_path)
    for number in range(len(samples)):  # one by one: Keras' searchsorted takes no batch of 3
        for name, expected in model(samples[number : number + 1]).items():
            own = found[name][number : number + 1]
            assert own == pytest.approx(np.asarray(expected), abs=5e-6), name


@pytest.mark.parametrize("how", [{"reverse": True}, {"exclusive": True}])
def test_cumulative_products_in_both_directions(tmp_path: Path, how: dict[str, bool]) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.float32, name="x")])
    def model(x: Any) -> Any:
        return {"y": tf.math.cumprod(x, axis=1, **how)}

    samples = np.random.default_rng(0).uniform(0.5, 2, (3, 5)).astype(np.float32)
    found = run(model.get_concrete_function(), samples, tmp_path)
    assert found["y"] == pytest.approx(model(samples)["y"].numpy(), abs=5e-6)


def test_a_function_becomes_one_table_in_int8(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    vector = keras.Input((8,), name="x")
    model = keras.Model(vector, layers.Dense(4)(ops.erf(layers.Dense(8)(vector))))
    samples = np.random.default_rng(0).normal(0, 1, (60, 8)).astype(np.float32)
    made = edgeq.convert(
        model, tmp_path / "erf.tflite", data={"x": samples}, effort="fast", min_sqnr_db=30
    )
    operators = [operator.name for operator in made.certificate.operators]
    assert operators.count("GATHER") == 1
    assert not {"EXP", "MUL", "DIV", "SUB"} & {*operators}


def test_an_exact_gelu_stays_one_operator(tmp_path: Path) -> None:
    """The converter recognises it, and no expression takes that away."""
    vector = keras.Input((8,), name="x")
    model = keras.Model(vector, layers.Activation("gelu")(vector))
    made = LiveReader(model).lower(ConvertOptions(), tmp_path)
    operators = edgeq.inspect_model(Path(made.file.path)).certificate.operators
    assert [operator.name for operator in operators] == ["GELU"]
