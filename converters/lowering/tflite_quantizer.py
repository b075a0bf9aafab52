"""TensorFlow Lite's own quantizer and calibrator; they run in the child process only.

These entry points of TensorFlow are semi-private, so `pyproject.toml` limits its version;
`--calibrator tflite` is the documented path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeq.children.serving import NO_MESSAGE
from edgeq.converters.lowering.tensorflow_lowering import run_converter
from edgeq.errors import QuantizationError


def quantize_int8(calibrated: bytes, io: str, *, per_channel: bool) -> bytes:
    """Quantize a float flatbuffer whose tensors have `min` and `max` to full-integer INT8.

    Args:
        calibrated: the flatbuffer.
        per_channel: scales of the weights per channel, not per tensor.
        io: "int8", "uint8" or "float32".

    Raises:
        QuantizationError: the quantizer refused the model.
    """
    from tensorflow.lite.python.convert import mlir_quantize

    kind = tf.as_dtype(io)
    try:
        return bytes(
            mlir_quantize(
                calibrated,
                disable_per_channel=not per_channel,
                disable_per_channel_for_dense_layers=not per_channel,
                input_data_type=kind,
                output_data_type=kind,
            )
        )
    except Exception as error:
        raise _explain_quantization(error) from error


def quantize_int16x8(calibrated: bytes, io: str, *, per_channel: bool) -> bytes:
    """Quantize a float flatbuffer that has `min` and `max` to INT16 activations, INT8 weights.

    Args:
        calibrated: the flatbuffer.
        per_channel: scales of the weights per channel, not per tensor.
        io: "int16" or "float32".

    Raises:
        QuantizationError: an operator has no 16x8 kernel, or the quantizer refused the model.
    """
    from tensorflow.lite.python.optimize import calibrator

    number = np.dtype(io).num
    try:
        keeper = calibrator.Calibrator(calibrated)
        return bytes(
            keeper._calibrator.QuantizeModel(
                number,
                number,
                False,  # refuse operators without a 16x8 kernel
                np.dtype("int16").num,
                np.dtype("int64").num,
                not per_channel,
                not per_channel,
            )
        )
    except Exception as error:
        explained = _explain_quantization(error)
        if not per_channel:
            explained.hint = "Its 16x8 mode knows few operators per tensor: --granularity channel."
        raise explained from error


def _explain_quantization(error: Exception) -> QuantizationError:
    text = str(error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), NO_MESSAGE)
    return QuantizationError(
        f"TensorFlow Lite's quantizer refused the model: {first[:300]}", details=text
    )


def stock_calibrate(content: bytes, samples: Iterator[list[NDArray[Any]]]) -> bytes:
    """Run the stock calibrator, for operators whose inner tensors edgeq's calibrator cannot read.

    Args:
        content: a float flatbuffer.
        samples: arrays with batch dimension, in the order of the model's inputs.

    Returns:
        The flatbuffer with `min` and `max` on every tensor it recorded.
    """
    from tensorflow.lite.python.optimize import calibrator

    # The native object reads the model from this one's memory, which must stay.
    keeper = calibrator.Calibrator(calibrator.add_intermediate_tensors(content))
    for arrays in samples:
        # Prepare allocates again, which resets the state a fused LSTM keeps between samples.
        keeper._calibrator.Prepare([list(array.shape) for array in arrays])
        keeper._calibrator.FeedTensor(arrays)
    return bytes(keeper._calibrator.Calibrate())


def stock_convert(
    traced: Any,
    samples: Callable[[], Iterator[list[NDArray[Any]]]],
    activations: str,
    io: str,
    *,
    per_channel: bool,
) -> bytes:
    """Convert with `TFLiteConverter` and a representative dataset, as its documentation shows.

    Raises:
        LoweringError: the converter refused.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    kinds = {
        "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        "int16": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    converter.target_spec.supported_ops = [kinds[activations]]
    converter.inference_input_type = tf.as_dtype(io)
    converter.inference_output_type = tf.as_dtype(io)
    converter._experimental_disable_per_channel = not per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not per_channel
    return run_converter(converter)
