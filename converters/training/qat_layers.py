"""Keras 3 layers for quantization-aware training: what TensorFlow Lite's INT8 kernels will compute.

Two kinds of rounding are imitated, each with the straight-through gradient of Jacob et al. 2018
("Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"):

- weights: symmetric, narrow range (-127..127), one scale per output channel or per tensor, taken
  from the largest magnitude at every step, as the quantizer takes it from the stored weights;
- activations: asymmetric 8 bit, the range an exponential moving average over training batches.

Lowered, `FakeQuantize` becomes a QUANTIZE and DEQUANTIZE pair that `learned_ranges.py` reads, and
everything that concerns weights is folded into constants.

**Batch normalization** is folded with frozen statistics: the kernel is multiplied by
gamma / sqrt(moving_variance + epsilon) before it is rounded, in training as at inference. Batch
statistics, as in section 3.2 of the paper, need a second convolution in every step and make
training and inference two functions, which matters for a network trained from scratch. Here a
trained network is fine-tuned for an epoch or two: its moving statistics would not improve, and the
trained function is exactly the exported one. gamma and beta stay trainable: one step on gamma
changes the range of a whole channel, which a scale shared by all channels needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

_MOMENTUM = 0.99  # a range forgets within a few hundred batches, as the weights settle
_TINY = 1e-6  # a range or a peak of zero has no scale
_STEPS = 127.0  # narrow range: -127..127, so that zero is in the middle

_mode: ContextVar[str] = ContextVar("edgeq_qat_mode", default="quantized")

_register = keras.saving.register_keras_serializable(package="edgeq")


@contextlib.contextmanager
def _computing(mode: str) -> Iterator[None]:
    token = _mode.set(mode)
    try:
        yield
    finally:
        _mode.reset(token)


def unquantized() -> contextlib.AbstractContextManager[None]:
    """Inside, the layers compute in float: the model with its batch normalization folded.

    It applies to direct calls, `model(x)`; `predict` keeps the function it has traced before.
    """
    return _computing("unquantized")


def observing() -> contextlib.AbstractContextManager[None]:
    """Inside, ranges follow the batches as in training, and Dropout is off as at inference."""
    return _computing("observing")


def round_weights(weights: Any, axes: tuple[int, ...]) -> Any:
    """Weights on the INT8 grid, with the gradient of the identity.

    Args:
        weights: float32.
        axes: those that share a scale.
    """
    if _mode.get() == "unquantized":
        return weights
    peak = tf.maximum(tf.reduce_max(tf.abs(weights), axes, keepdims=True), _TINY)
    scale = peak / _STEPS
    return weights + tf.stop_gradient(tf.round(weights / scale) * scale - weights)


def rectify(values: Any, relu: bool, relu_max: float | None) -> Any:
    """The ReLU that TensorFlow Lite fuses into the operator before it, if there is one."""
    if not relu:
        return values
    if relu_max is None:
        return tf.nn.relu(values)
    return tf.nn.relu6(values) if relu_max == 6 else tf.minimum(tf.nn.relu(values), relu_max)


@_register
class FakeQuantize(keras.layers.Layer):  # type: ignore[misc]
    """Rounds activations to 8 bit, in a range that it learns or that TensorFlow Lite prescribes.

    Tensors that an operator needs on one scale (those of a concatenation) share one such layer,
    each as a separate member: the range is the union of the members'.

    Args:
        members: tensors whose ranges are learned.
        fixed: (minimum, maximum) of an operator with a prescribed output scale.
        momentum: of the moving average; the first 1 / (1 - momentum) batches weigh the same.
    """

    def __init__(
        self,
        members: int = 1,
        fixed: tuple[float, float] | None = None,
        momentum: float = _MOMENTUM,
        **options: Any,
    ):
        super().__init__(**{**options, "dtype": "float32"})
        self.members, self.momentum = members, momentum
        self.fixed = None if fixed is None else (float(fixed[0]), float(fixed[1]))

    def build(self, input_shape: Any) -> None:
        """Create the range, unless it is prescribed."""
        if self.fixed is None:
            for name in ("minimum", "maximum", "seen"):
                made = self.add_weight(
                    shape=(self.members,), initializer="zeros", trainable=False, name=name
                )
                setattr(self, name, made)
        self.built = True

    def compute_output_shape(self, input_shape: Any, **_: Any) -> Any:
        """The input's."""
        return input_shape

    def call(self, inputs: Any, member: int | None = 0, training: bool = False) -> Any:
        """Quantize and dequantize; a range that has seen no batch yet lets values pass.

        Args:
            inputs: float32, any shape.
            member: whose range these values are; None takes the range without adding to it.
        """
        mode = _mode.get()
        if mode == "unquantized":
            return inputs
        if self.fixed is not None:
            return tf.quantization.fake_quant_with_min_max_vars(inputs, *self.fixed)
        if member is not None and (training or mode == "observing"):
            self._observe(tf.stop_gradient(inputs), member)
        low, high = self.range()
        return tf.cond(
            tf.reduce_all(self.seen > 0),
            lambda: tf.quantization.fake_quant_with_min_max_vars(inputs, low, high),
            lambda: tf.identity(inputs),
        )

    def range(self) -> tuple[Any, Any]:
        """Minimum and maximum, scalars; zero is inside, as padding and ReLU need it."""
        low = tf.minimum(tf.reduce_min(self.minimum), 0.0)
        return low, tf.maximum(tf.reduce_max(self.maximum), low + _TINY)

    def _observe(self, values: Any, member: int) -> None:
        mine = tf.one_hot(member, self.members)
        rate = mine * tf.maximum(1.0 - self.momentum, 1.0 / (self.seen + 1.0))
        self.minimum.assign(self.minimum + rate * (tf.reduce_min(values) - self.minimum))
        self.maximum.assign(self.maximum + rate * (tf.reduce_max(values) - self.maximum))
        self.seen.assign(self.seen + mine)

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration, as Keras saves it."""
        own = {"members": self.members, "fixed": self.fixed, "momentum": self.momentum}
        return {**super().get_config(), **own}


class _Folded:
    """A layer with a kernel: folds batch normalization in, rounds the kernel, ends in a ReLU.

    Args:
        granularity: "channel" or "tensor".
        batch_norm: whether a batch normalization is folded in.
        epsilon: of the batch normalization.
        relu: whether it ends in a ReLU.
        relu_max: upper bound of that ReLU.
        options: of the Keras layer, whose activation is linear.
    """

    # Axes of the kernel that one output channel spans.
    channel_axes: tuple[int, ...] = ()

    def __init__(
        self,
        *args: Any,
        granularity: str = "channel",
        batch_norm: bool = False,
        epsilon: float = 1e-3,
        relu: bool = False,
        relu_max: float | None = None,
        **options: Any,
    ):
        super().__init__(*args, **{**options, "dtype": "float32"})
        self.granularity, self.batch_norm, self.epsilon = granularity, batch_norm, epsilon
        self.relu, self.relu_max = relu, relu_max

    def build(self, input_shape: Any) -> None:
        """Create the kernel and what is folded into it."""
        super().build(input_shape)  # type: ignore[misc]
        if self.batch_norm:
            shape = tuple(
                size for axis, size in enumerate(self.kernel.shape)  # type: ignore[attr-defined]
                if axis not in self.channel_axes
            )  # fmt: skip
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                made = self.add_weight(  # type: ignore[attr-defined]
                    shape=shape,
                    initializer="ones" if name in ("gamma", "moving_variance") else "zeros",
                    trainable=name in ("gamma", "beta"),
                    name=name,
                )
                setattr(self, name, made)

    def parameters(self) -> tuple[Any, Any]:
        """The kernel as it will be stored, and the bias [channels] or None."""
        kernel, bias = self.kernel, self.bias  # type: ignore[attr-defined]
        if self.batch_norm:
            factor = self.gamma / tf.sqrt(self.moving_variance + self.epsilon)  # type: ignore[attr-defined]
            kernel = kernel * factor
            shift = -self.moving_mean if bias is None else self._shaped(bias) - self.moving_mean  # type: ignore[attr-defined]
            bias = tf.reshape(self.beta + shift * factor, [-1])  # type: ignore[attr-defined]
        axes = self.channel_axes
        if self.granularity == "tensor":
            axes = tuple(range(len(kernel.shape)))
        return round_weights(tf.convert_to_tensor(kernel), axes), bias

    def call(self, inputs: Any) -> Any:
        """The product with the rounded kernel, bias and ReLU."""
        kernel, bias = self.parameters()
        values = self.product(inputs, kernel)
        if bias is not None:
            values = tf.nn.bias_add(values, bias)
        return rectify(values, self.relu, self.relu_max)

    def product(self, inputs: Any, kernel: Any) -> Any:
        """The layer's own operation."""
        raise NotImplementedError

    def save_own_variables(self, store: Any) -> None:
        """Store all variables; Keras's layers with kernels store kernel and bias alone."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """The counterpart of `save_own_variables`."""
        keras.layers.Layer.load_own_variables(self, store)

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration, as Keras saves it."""
        names = ("granularity", "batch_norm", "epsilon", "relu", "relu_max")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}  # type: ignore[misc]

    def _shaped(self, bias: Any) -> Any:
        return tf.reshape(bias, self.moving_mean.shape)  # type: ignore[attr-defined]


@_register
class QuantizedConv2D(_Folded, keras.layers.Conv2D):  # type: ignore[misc]
    """Conv2D on the INT8 grid; kernel [height, width, in, out]."""

    channel_axes = (0, 1, 2)

    def product(self, inputs: Any, kernel: Any) -> Any:
        """The layer's operation with the rounded kernel."""
        return self.convolution_op(inputs, kernel)


@_register
class QuantizedDepthwiseConv2D(_Folded, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """DepthwiseConv2D on the INT8 grid; kernel [height, width, in, multiplier]."""

    channel_axes = (0, 1)

    def product(self, inputs: Any, kernel: Any) -> Any:
        """The layer's operation with the rounded kernel."""
        return keras.ops.depthwise_conv(
            inputs, kernel, strides=self.strides, padding=self.padding,
            dilation_rate=self.dilation_rate, data_format=self.data_format,
        )  # fmt: skip


@_register
class QuantizedDense(_Folded, keras.layers.Dense):  # type: ignore[misc]
    """Dense on the INT8 grid; kernel [in, out]."""

    channel_axes = (0,)

    def product(self, inputs: Any, kernel: Any) -> Any:
        """The layer's operation with the rounded kernel."""
        return keras.ops.matmul(inputs, kernel)


@_register
class QuantizedElementwise(keras.layers.Layer):  # type: ignore[misc]
    """Multiplies by constants or adds them: half of a normalization that no kernel can take in.

    Args:
        operation: "multiply" or "add".
        relu: whether it ends in a ReLU.
        relu_max: upper bound of that ReLU.
    """

    def __init__(
        self, operation: str, relu: bool = False, relu_max: float | None = None, **options: Any
    ):
        super().__init__(**{**options, "dtype": "float32"})
        self.operation, self.relu, self.relu_max = operation, relu, relu_max

    def build(self, input_shape: Any) -> None:
        """Create the constants, one per channel."""
        self.constants = self.add_weight(
            shape=(input_shape[-1],),
            initializer="ones" if self.operation == "multiply" else "zeros",
            name="constants",
        )
        self.built = True

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def call(self, inputs: Any) -> Any:
        """The element-wise operation, with its constants on an INT8 grid per tensor."""
        constants = round_weights(tf.convert_to_tensor(self.constants), (0,))
        values = inputs * constants if self.operation == "multiply" else inputs + constants
        return rectify(values, self.relu, self.relu_max)

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration, as Keras saves it."""
        own = {"operation": self.operation, "relu": self.relu, "relu_max": self.relu_max}
        return {**super().get_config(), **own}
