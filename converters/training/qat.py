"""Quantization-aware training for Keras 3: a trained model with INT8 rounding in it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from edgeq.converters.quantization.resolve_scheme import GRANULARITIES
from edgeq.converters.training.qat_graph import Graph, read_graph
from edgeq.converters.training.qat_layers import (
    FakeQuantize,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
    QuantizedElementwise,
)
from edgeq.converters.training.qat_plan import FIXED_RANGES, KEPT, LEARNED, Stage, plan_stages
from edgeq.errors import UnsupportedLayerError, UsageError, unknown_name


def quantization_aware(model: Any, granularity: str = "channel") -> Any:
    """A trainable copy of a Keras 3 model that rounds where TensorFlow Lite's INT8 tensors are.

    Compile and fit it as usual, at a tenth of the learning rate that trained the model, then
    `edgeq.convert(it, "model.tflite")` (or save it and `edgeq convert it.keras`): the ranges it
    has learned take the place of a representative dataset. It predicts in float until it has seen
    a training batch.

    Kernels are rounded symmetrically to -127..127, activations asymmetrically to 8 bit in ranges
    that follow the training batches. Bias, batch normalization and ReLU are fused into the layer
    before them as in the `.tflite`. Batch normalization is folded with its moving statistics
    frozen: a network that is only fine-tuned needs no new ones, and trains on exactly the function
    that is exported (see `qat_layers`, after Jacob et al. 2018). Layers that are not trainable in
    `model` are not trainable here.

    Args:
        model: functional or sequential, nested ones included; left as it is.
        granularity: of the kernels' scales, "channel" (per output channel) or "tensor".

    Returns:
        A `keras.Model` with the inputs and outputs of `model`, in float32, not compiled.

    Raises:
        UnsupportedLayerError: a layer it does not know, by name.
        UsageError: an unknown granularity, or Keras does not run on TensorFlow.
    """
    if granularity not in GRANULARITIES:
        raise unknown_name("granularity", granularity, GRANULARITIES)
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"Quantization-aware training needs Keras on TensorFlow, not on "
            f"{keras.backend.backend()}.",
            hint="Set KERAS_BACKEND=tensorflow before Keras is imported.",
        )
    if any(isinstance(layer, FakeQuantize) for layer in getattr(model, "layers", ())):
        raise UnsupportedLayerError(
            f"Model {model.name!r} is quantization-aware already.", hint="Train it as it is."
        )
    graph = read_graph(model)
    with _float32_layers():
        return _Builder(graph, plan_stages(graph), granularity).build()


@contextlib.contextmanager
def _float32_layers() -> Iterator[None]:
    """Give new layers float32, in which the integers of the `.tflite` are exact."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


class _Builder:
    """Builds the stages; called once.

    Attributes:
        owner: tensor number to the number of its range; negative for prescribed ranges.
        joined: of a range that was made one with another, the other.
    """

    def __init__(self, graph: Graph, stages: list[Stage], granularity: str):
        self._graph, self._stages, self._granularity = graph, stages, granularity
        self._fixed = [FakeQuantize(fixed=FIXED_RANGES[name], name=f"{name}_range")
                       for name in FIXED_RANGES]  # fmt: skip
        self._owner: dict[int, int] = {}
        self._joined: list[int] = []
        self._recast: dict[tuple[int, int], int] = {}  # (concatenation, operand) to a range
        self._built: dict[tuple[Any, ...], Any] = {}
        self._range_layers: dict[int, Any] = {}
        self._members: dict[int, int] = {}
        self._names: Counter[str] = Counter(self._graph.model.output_names)

    def build(self) -> Any:
        """The model."""
        self._assign_ranges()
        groups = Counter(self._root(number) for number in range(len(self._joined)))
        old = self._graph.model
        tensors: dict[int, Any] = {}
        made = [
            keras.Input(batch_shape=t.shape, dtype=_without_half(t.dtype), name=t.name)
            for t in old.inputs
        ]
        self._names.update(t.name for t in old.inputs)
        for number, tensor in zip(self._graph.inputs, made, strict=True):
            tensors[number] = self._round(tensor, self._owner[number], groups, tensor.name)
        for stage in self._stages:
            tensors[stage.output] = self._call(stage, tensors, groups)
        ends = [
            layers.Identity(name=name)(tensors[number])
            for name, number in zip(old.output_names, self._graph.outputs, strict=True)
        ]
        new = dict(zip(map(id, (*old.inputs, *old.outputs)), (*made, *ends), strict=True))
        inputs, outputs = (
            keras.tree.map_structure(lambda tensor: new[id(tensor)], structure)
            for structure in (old.input, old.output)
        )
        return keras.Model(inputs, outputs, name=old.name)

    # ------------------------------------------------------------ ranges

    def _assign_ranges(self) -> None:
        for number in self._graph.inputs:
            self._owner[number] = self._new_range()
        names = list(FIXED_RANGES)
        for stage in self._stages:
            if stage.kind == "concatenate":
                self._owner[stage.output] = self._join(stage)
            elif stage.rule == LEARNED:
                self._owner[stage.output] = self._new_range()
            elif stage.rule in FIXED_RANGES:
                self._owner[stage.output] = -1 - names.index(stage.rule)
            else:
                self._owner[stage.output] = self._owner[stage.inputs[0]]

    def _join(self, stage: Stage) -> int:
        """TensorFlow Lite concatenates on one scale: the range of all operands together.

        A prescribed range cannot be widened, so such an operand is rounded once more.
        """
        owners = [self._owner[number] for number in stage.inputs]
        if len(set(owners)) == 1:
            return owners[0]
        for position, owner in enumerate(owners):
            if owner < 0:
                owners[position] = self._recast[stage.output, position] = self._new_range()
        root = self._root(owners[0])
        for owner in owners[1:]:
            self._joined[self._root(owner)] = root
        return owners[0]

    def _new_range(self) -> int:
        self._joined.append(len(self._joined))
        return self._joined[-1]

    def _root(self, number: int) -> int:
        while self._joined[number] != number:
            number = self._joined[number]
        return number

    def _round(
        self, tensor: Any, owner: int, groups: Counter[int], name: str, is_new: bool = True
    ) -> Any:
        """`FakeQuantize` on a tensor; `is_new` adds its values to the range."""
        if owner < 0:
            return self._fixed[-1 - owner](tensor)
        root = self._root(owner)
        if root not in self._range_layers:
            layer = FakeQuantize(groups[root], name=self._unique(f"{name}_range"))
            self._range_layers[root] = layer
        member = None
        if is_new:
            member = self._members.get(root, 0)
            self._members[root] = member + 1
        return self._range_layers[root](tensor, member=member)

    # ------------------------------------------------------------ layers

    def _call(self, stage: Stage, tensors: dict[int, Any], groups: Counter[int]) -> Any:
        inputs = [tensors[number] for number in stage.inputs]
        for position, tensor in enumerate(inputs):
            if (recast := self._recast.get((stage.output, position))) is not None:
                inputs[position] = self._round(tensor, recast, groups, stage.name)
        key = (id(stage.source), stage.kind, id(stage.batch_norm), stage.relu, len(inputs))
        is_first = key not in self._built
        if is_first:
            self._built[key] = _build(stage, self._unique(stage.name), self._granularity)
        layer = self._built[key]
        result = layer(inputs if len(inputs) > 1 else inputs[0])
        if is_first:
            _load(layer, stage)
            layer.trainable = getattr(stage.source, "trainable", True)
        if stage.kind == "merge" and stage.relu is not None:
            name = self._unique(f"{stage.name}_relu")
            result = layers.ReLU(stage.relu.maximum, name=name)(result)
        if stage.rule == KEPT:
            return result
        is_new = stage.rule == LEARNED
        return self._round(result, self._owner[stage.output], groups, stage.name, is_new)

    def _unique(self, name: str) -> str:
        self._names[name] += 1
        return name if self._names[name] == 1 else self._unique(f"{name}_{self._names[name] - 1}")


def _without_half(dtype: str) -> str:
    return "float32" if "float" in dtype else dtype


# ---------------------------------------------------------------- the layers of the stages

_PRODUCTS: dict[str, Any] = {
    "Conv2D": QuantizedConv2D,
    "DepthwiseConv2D": QuantizedDepthwiseConv2D,
    "Dense": QuantizedDense,
    "depthwise half": QuantizedDepthwiseConv2D,
    "pointwise half": QuantizedConv2D,
}


def _build(stage: Stage, name: str, granularity: str) -> Any:
    """The layer of a stage, without weights."""
    source, relu, batch_norm = stage.source, stage.relu, stage.batch_norm
    limit = None if relu is None else relu.maximum
    ends: dict[str, Any] = {"relu": relu is not None, "relu_max": limit}
    if stage.kind in _PRODUCTS:
        config = {**source.get_config(), "activation": "linear", "dtype": "float32"}
        if stage.kind == "depthwise half":
            names = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
            config = {**{key: config[key] for key in names}, "use_bias": False}
        elif stage.kind == "pointwise half":
            kept = {key: config[key] for key in ("filters", "use_bias")}
            config = {**kept, "kernel_size": 1}
        folded = {
            "batch_norm": batch_norm is not None,
            "epsilon": 0.0 if batch_norm is None else batch_norm.epsilon,
        }
        fused = {"name": name, "granularity": granularity, **folded, **ends}
        return _PRODUCTS[stage.kind].from_config({**config, **fused})
    if stage.kind in ("multiply", "add"):
        return QuantizedElementwise(stage.kind, name=name, **ends)
    if stage.kind == "merge":
        return getattr(layers, type(source).__name__)(name=name)
    if stage.kind == "concatenate":
        return layers.Concatenate(axis=source.axis, name=name)
    if stage.kind.startswith("activation:"):
        return layers.Activation(stage.kind.split(":")[1], name=name)
    return type(source).from_config({**source.get_config(), "name": name, "dtype": "float32"})


def _load(layer: Any, stage: Stage) -> None:
    """Copy the weights of a stage's source into its layer."""
    source = stage.source
    if isinstance(layer, QuantizedElementwise):
        layer.constants.assign(np.broadcast_to(_constants(stage), layer.constants.shape))
        layer.constants.trainable = type(source) is layers.BatchNormalization
    elif stage.kind in _PRODUCTS:
        halves = {"depthwise half": "depthwise_kernel", "pointwise half": "pointwise_kernel"}
        layer.kernel.assign(getattr(source, halves.get(stage.kind, "kernel")))
        if layer.bias is not None:
            layer.bias.assign(source.bias)
        if stage.batch_norm is not None:
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                value = getattr(stage.batch_norm, name)
                if value is not None:
                    variable = getattr(layer, name)
                    variable.assign(np.reshape(value, variable.shape))


def _constants(stage: Stage) -> Any:
    """The factors to multiply by, or the terms to add."""
    source, is_factor = stage.source, stage.kind == "multiply"
    if type(source) is layers.Rescaling:
        return np.asarray(source.scale if is_factor else source.offset, np.float32)
    if type(source) is layers.Normalization:
        mean, variance = np.ravel(source.mean), np.ravel(source.variance)
        return 1 / np.maximum(np.sqrt(variance), keras.backend.epsilon()) if is_factor else -mean
    factor = 1 / np.sqrt(np.asarray(source.moving_variance) + source.epsilon)
    factor = factor if source.gamma is None else factor * np.asarray(source.gamma)
    if is_factor:
        return factor
    beta = 0.0 if source.beta is None else np.asarray(source.beta)
    return beta - np.asarray(source.moving_mean) * factor
