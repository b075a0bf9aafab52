"""keras.ops.argmax and signbit read sign bits, which TensorFlow Lite cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from edgeq.converters.calibration import calibrate
from edgeq.converters.lowering.live import LiveReader
from edgeq.converters.proof.certificate import certify
from edgeq.errors import LoweringError
from edgeq.values import ConvertOptions

VALUES = np.array([[-2.0, 3.0, 3.0, 0.5], [-1.0, -4.0, -0.5, -3.0], [0.0, 1e-3, -1.0, 1e-4]], "f4")


def outputs_of(model: Any, folder: Path) -> tuple[dict[str, Any], set[str]]:
    """Outputs of the float `.tflite`, and the names of its operators."""
    made = LiveReader(model).lower(ConvertOptions(), folder)
    rows = [{made.inputs[0].name: row} for row in VALUES]
    run = calibrate.run_float_model(made, iter(rows), folder, len(rows), "nothing")
    return run.outputs, {operator.name for operator in certify(Path(made.file.path)).operators}


def test_the_class_is_computed_from_the_values_themselves(tmp_path: Path) -> None:
    vector = keras.Input((4,), name="x")
    outputs = {
        "largest": ops.argmax(vector, axis=-1),
        "smallest": ops.argmin(vector, axis=-1, keepdims=True),
        "sign": ops.cast(ops.signbit(vector), "float32"),
    }
    found, operators = outputs_of(keras.Model(vector, outputs), tmp_path)
    assert found["largest"].ravel().tolist() == [1, 2, 1]
    assert found["smallest"].ravel().tolist() == [0, 1, 2]
    assert found["sign"].tolist() == (VALUES < 0).astype(float).tolist()
    assert not operators & {"SELECT", "SELECT_V2", "LOGICAL_AND", "EQUAL"}


def test_other_bits_stay(tmp_path: Path) -> None:
    """A mask of an integer is not a sign."""
    function = tf.function(lambda x: {"y": tf.bitwise.bitwise_and(tf.cast(x, tf.int32), 1)})
    concrete = function.get_concrete_function(tf.TensorSpec([None, 4], tf.float32, name="x"))
    with pytest.raises(LoweringError, match="has no operator for: BitwiseAnd"):
        outputs_of(concrete, tmp_path)
