"""Constants behind a layer become part of its weights.

A batch normalization that a tool left as MUL and ADD is such a case (B. Jacob et al., "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section
3.2), or a bias as a separate ADD.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.masks import MASK
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CHANNEL_AXIS

_FUSABLE = (0, 1, 2, 3)  # none, RELU, RELU_N1_TO_1, RELU6
_SAME = 0  # code of Padding


def absorb_constants(editor: Editor) -> int:
    """Multiply and shift weights by the constants that are applied to their layer's result.

    The results differ by the rounding of float32 only.
    """
    done = 0
    for layer in editor.of_kind(*CHANNEL_AXIS):
        while _absorb(editor, layer):
            done += 1
    return done


def _absorb(editor: Editor, layer: Any) -> bool:
    inputs, result = editor.inputs(layer), editor.outputs(layer)[0]
    reader, weights = editor.only_reader(result), editor.value(inputs[1])
    if reader is None or weights is None or layer.builtinOptions is None:
        return False
    kind, fused = editor.kind(reader), editor.activation(reader)
    if kind not in ("ADD", "SUB", "MUL", "DIV") or fused not in _FUSABLE:
        return False
    if weights.dtype != np.float32 or editor.activation(layer):
        return False
    axis = CHANNEL_AXIS[editor.kind(layer)]
    channels = weights.shape[axis]
    constant = _find_constant(editor, reader, result, channels)
    has_bias = len(inputs) > 2 and inputs[2] >= 0
    bias = editor.value(inputs[2]) if has_bias else np.zeros(channels, np.float32)
    if constant is None or bias is None or bias.shape != (channels,):
        return False
    if kind in ("ADD", "SUB"):
        if np.abs(constant).max(initial=0.0) >= MASK / 2:
            return False  # a mask: in a bias, it would widen the steps of the weights
        bias = bias + (constant if kind == "ADD" else -constant)
    else:
        factor = constant if kind == "MUL" else 1 / constant
        shape = [channels if place == axis else 1 for place in range(weights.ndim)]
        bias, weights = bias * factor, weights * factor.reshape(shape)
        stored = editor.new_constant(editor.tensor_name(inputs[1]), weights)
        inputs = (inputs[0], stored, *inputs[2:])
    stem = editor.tensor_name(inputs[2]) if has_bias else f"{editor.tensor_name(result)}/bias"
    editor.set_inputs(layer, (*inputs[:2], editor.new_constant(stem, bias)))
    layer.builtinOptions.fusedActivationFunction = fused
    return editor.replace(editor.outputs(reader)[0], result)


def _find_constant(
    editor: Editor, reader: Any, result: int, channels: int
) -> NDArray[np.float32] | None:
    """The operand with one value, or one for each channel, as a value for each channel."""
    one, other = editor.inputs(reader)
    if one != result:
        one, other = other, one
        if editor.kind(reader) in ("SUB", "DIV"):
            return None
    values, shape = editor.value(other), flatbuffer.indices(editor.tensor(result).shape)
    if values is None or values.dtype != np.float32 or values.ndim > len(shape):
        return None
    by_channel = values.size == channels and (channels == 1 or values.shape[-1:] == (channels,))
    is_usable = values.size == 1 or by_channel
    if not is_usable or not np.isfinite(values).all():
        return None
    if editor.kind(reader) == "DIV" and not values.all():
        return None
    return np.broadcast_to(values.reshape(-1), channels).astype(np.float32)


def absorb_scalings(editor: Editor) -> int:
    """Make pointwise depthwise convolutions part of the convolution behind.

    Such a one multiplies and shifts each channel, like a batch normalization that was left between
    an activation and a convolution. INT8 then rounds one result less. Where the convolution pads
    with zeros, a shift stays: the border would be shifted, too.
    """
    return sum(_absorb_scaling(editor, own) for own in editor.of_kind("DEPTHWISE_CONV_2D"))


def _absorb_scaling(editor: Editor, operator: Any) -> bool:
    source, index, *rest = editor.inputs(operator)
    (result,), factor = editor.outputs(operator), editor.value(index)
    reader = editor.only_reader(result)
    if reader is None or editor.kind(reader) != "CONV_2D" or editor.activation(operator):
        return False
    data, place, *behind = editor.inputs(reader)
    weights, shift, bias = editor.value(place), _bias(editor, rest), _bias(editor, behind)
    if factor is None or weights is None or shift is None or bias is None or data != result:
        return False
    is_pointwise = factor.shape == (1, 1, 1, weights.shape[-1])
    if not is_pointwise or editor.shape(source) != editor.shape(result):
        return False
    if weights.dtype != np.float32 or (shift.any() and _pads(editor, reader, weights.shape[1:3])):
        return False
    stem, sums = editor.tensor_name(place), weights.astype(np.float64).sum(axis=(1, 2))
    scaled = editor.new_constant(stem, weights * factor)
    shifted = (sums @ np.broadcast_to(shift, factor.size) + bias).astype(np.float32)
    editor.set_inputs(reader, [source, scaled, editor.new_constant(f"{stem}/bias", shifted)])
    return True


def _bias(editor: Editor, inputs: Sequence[int]) -> NDArray[Any] | None:
    """The values of an optional bias; None if they are computed."""
    return editor.value(inputs[0]) if inputs and inputs[0] >= 0 else np.zeros(1, np.float32)


def _pads(editor: Editor, convolution: Any, size: tuple[int, ...]) -> bool:
    """Whether a convolution reads values beyond the border, for a kernel of [height, width]."""
    options, shape = convolution.builtinOptions, editor.shape(editor.inputs(convolution)[0])
    if shape is None:
        return True
    steps = zip(
        size,
        shape[1:3],
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        strict=True,
    )
    return options.padding == _SAME and any(
        (-(-there // stride) - 1) * stride + (taps - 1) * dilation + 1 > there
        for taps, there, stride, dilation in steps
    )
