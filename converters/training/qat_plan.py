"""Plans the INT8 operators of a Keras model, and which of its tensors are INT8.

TensorFlow Lite fuses bias, batch normalization and ReLU into the operator before them; a tensor
inside such a group is never INT8 and must not be rounded in training either. Some operators want
their result on their operand's scale, softmax and its kin prescribe theirs. This module decides
all that on the graph; `qat.py` builds the model from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from edgeq.converters.training.qat_graph import Graph, Step
from edgeq.errors import UnsupportedLayerError
from edgeq.tflite import kernels

# Activation function to the range of its INT8 results, where that is prescribed.
_OPERATORS = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC", "tanh": "TANH"}
FIXED_RANGES = {name: kernels.fixed_range(kind, "int8") for name, kind in _OPERATORS.items()}

LEARNED, SAME, KEPT = "learned", "same", "kept"

_HINT = (
    "Replace it with supported layers, or quantize the trained model without training: "
    "edgeq.convert(model, ..., data=samples)."
)


@dataclass(frozen=True)
class Relu:
    """A ReLU with its upper bound, None without one."""

    maximum: float | None


@dataclass(frozen=True, eq=False)
class Stage:
    """One INT8 operator of the result.

    Attributes:
        kind: of the layer to build, see `qat._build`.
        source: the layer it comes from.
        name: to give to the built layer.
        inputs: tensor numbers.
        output: tensor number.
        rule: LEARNED, SAME (rounded again in its operand's range), KEPT (nothing is rounded), or
            a key of FIXED_RANGES.
        batch_norm: layer to fold in.
        relu: to end in.
    """

    kind: str
    source: Any
    name: str
    inputs: tuple[int, ...]
    output: int
    rule: str
    batch_norm: Any = None
    relu: Relu | None = None


@dataclass(eq=False)
class _Planner:
    """Walks over the steps; those that were fused into an earlier one are skipped."""

    graph: Graph
    stages: list[Stage] = field(default_factory=list)
    fused: set[int] = field(default_factory=set)
    extra: int = 10**9  # numbers of tensors that are not in the graph

    def add(self, kind: str, step: Step, rule: str, **more: Any) -> None:
        given = {"name": step.name, "inputs": step.inputs, "output": step.output, **more}
        self.stages.append(Stage(kind=kind, source=step.layer, rule=rule, **given))

    def number(self) -> int:
        self.extra += 1
        return self.extra

    def take_batch_norm(self, step: Step) -> tuple[Any, int]:
        """The batch normalization to fold into what gives `step.output`, and the new output."""
        after = self.graph.sole_consumer(step.output)
        if after is None or type(after.layer) is not layers.BatchNormalization:
            return None, step.output
        _check_axis(after)
        self.fused.add(after.output)
        return after.layer, after.output

    def take_relu(self, tensor: int) -> tuple[Relu | None, int]:
        """The ReLU that fuses into what gives `tensor`, and the new output."""
        after = self.graph.sole_consumer(tensor)
        found = None if after is None else _as_relu(after.layer)
        if after is None or found is None:
            return None, tensor
        self.fused.add(after.output)
        return found, after.output

    def add_activation(self, name: str, step: Step, tensor: int) -> None:
        """Add an activation function that is a separate operator."""
        if name not in FIXED_RANGES:
            raise _refuse(step, f"activation {name!r}")
        self.add(f"activation:{name}", step, name, name=f"{step.name}_{name}", inputs=(tensor,))


def plan_stages(graph: Graph) -> list[Stage]:
    """The stages of a graph, in its order.

    Raises:
        UnsupportedLayerError: a layer that has no place in an INT8 model here.
    """
    planner = _Planner(graph)
    for step in graph.steps:
        if step.output in planner.fused:
            continue
        handler = _HANDLERS.get(type(step.layer).__name__)
        if handler is None or type(step.layer).__module__.split(".")[0] != "keras":
            raise UnsupportedLayerError(
                f"Layer {step.name!r} ({type(step.layer).__name__}) is not supported in "
                "quantization-aware training.",
                hint=_HINT,
            )
        handler(planner, step)
    return planner.stages


def _refuse(step: Step, what: str) -> UnsupportedLayerError:
    kind = type(step.layer).__name__
    return UnsupportedLayerError(
        f"Layer {step.name!r} ({kind}) has {what}, which is not supported in quantization-aware "
        "training.",
        hint=_HINT,
    )


def _check_axis(step: Step) -> None:
    axis = step.layer.axis
    if axis not in (-1, step.rank - 1):
        raise _refuse(step, f"axis={axis}")


def _as_relu(layer: Any) -> Relu | None:
    """The ReLU that TensorFlow Lite fuses, if a layer is one, or None."""
    if type(layer) is layers.ReLU:
        is_plain = not layer.negative_slope and not layer.threshold
        return Relu(layer.max_value) if is_plain else None
    if type(layer) is layers.Activation:
        return _named_relu(_activation_name(layer))
    return None


def _named_relu(name: str) -> Relu | None:
    return {"relu": Relu(None), "relu6": Relu(6.0)}.get(name)


def _activation_name(layer: Any) -> str:
    found = keras.activations.serialize(layer.activation)
    return found if isinstance(found, str) else str(found.get("config", found))


# ---------------------------------------------------------------- a handler for each kind of layer


def _plan_product(planner: _Planner, step: Step) -> None:
    """A layer with a kernel, and what follows it: batch normalization, ReLU, an activation."""
    if getattr(step.layer, "data_format", "channels_last") != "channels_last":
        raise _refuse(step, "data_format='channels_first'")
    name = _activation_name(step.layer)
    batch_norm, relu, output = None, _named_relu(name), step.output
    if name == "linear":
        batch_norm, output = planner.take_batch_norm(step)
        relu, output = planner.take_relu(output)
    elif relu is None:
        output = planner.number()
    kind = type(step.layer).__name__
    fused = {"batch_norm": batch_norm, "relu": relu, "output": output}
    if kind == "SeparableConv2D":
        middle = planner.number()
        planner.add("depthwise half", step, LEARNED, name=f"{step.name}_depthwise", output=middle)
        planner.add("pointwise half", step, LEARNED, inputs=(middle,), **fused)
    else:
        planner.add(kind, step, LEARNED, **fused)
    if name != "linear" and relu is None:
        planner.add_activation(name, step, output)


def _plan_batch_norm(planner: _Planner, step: Step) -> None:
    """One that no kernel can take in: a multiplication and an addition."""
    _check_axis(step)
    middle = planner.number()
    relu, output = planner.take_relu(step.output)
    name = f"{step.name}_scale"
    planner.add("multiply", step, LEARNED, name=name, output=middle)
    planner.add("add", step, LEARNED, inputs=(middle,), output=output, relu=relu)


def _plan_rescaling(planner: _Planner, step: Step) -> None:
    """Scale, then offset."""
    has_offset = bool(keras.ops.convert_to_numpy(step.layer.offset).any())
    middle = planner.number() if has_offset else step.output
    planner.add("multiply", step, LEARNED, output=middle)
    if has_offset:
        planner.add("add", step, LEARNED, name=f"{step.name}_offset", inputs=(middle,))


def _plan_normalization(planner: _Planner, step: Step) -> None:
    """Subtract the mean first: scaled with it, values would lose what tells them apart."""
    if step.layer.invert or tuple(step.layer.axis) not in ((-1,), ()):
        raise _refuse(step, "invert=True or an axis other than the last")
    middle = planner.number()
    planner.add("add", step, LEARNED, name=f"{step.name}_mean", output=middle)
    planner.add("multiply", step, LEARNED, inputs=(middle,))


def _plan_activation(planner: _Planner, step: Step) -> None:
    name = _activation_name(step.layer)
    if name == "linear":
        planner.add("same", step, KEPT)
    elif _named_relu(name) is not None:
        planner.add("same", step, LEARNED)
    else:
        planner.add_activation(name, step, step.inputs[0])


def _plan_softmax(planner: _Planner, step: Step) -> None:
    _check_axis(step)
    planner.add_activation("softmax", step, step.inputs[0])


def _plan_relu(planner: _Planner, step: Step) -> None:
    if _as_relu(step.layer) is None:
        raise _refuse(step, "negative_slope or threshold")
    planner.add("same", step, LEARNED)


def _plan_merge(planner: _Planner, step: Step) -> None:
    """Element-wise on several tensors; more than two are taken two by two, as in TensorFlow."""
    if len(step.inputs) < 2:
        raise _refuse(step, "a constant operand")
    left = step.inputs[0]
    for number, right in enumerate(step.inputs[1:-1]):
        middle = planner.number()
        name = f"{step.name}_{number}"
        planner.add("merge", step, LEARNED, name=name, inputs=(left, right), output=middle)
        left = middle
    relu, output = planner.take_relu(step.output)
    inputs = (left, step.inputs[-1])
    planner.add("merge", step, LEARNED, inputs=inputs, output=output, relu=relu)


def _plan_as(rule: str) -> Callable[[_Planner, Step], None]:
    """A layer that stays what it is."""

    def plan(planner: _Planner, step: Step) -> None:
        if getattr(step.layer, "data_format", "channels_last") == "channels_first":
            raise _refuse(step, "data_format='channels_first'")
        planner.add("same", step, rule)

    return plan


_HANDLERS: dict[str, Callable[[_Planner, Step], None]] = {
    **dict.fromkeys(("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Dense"), _plan_product),
    **dict.fromkeys(("Add", "Multiply"), _plan_merge),
    **dict.fromkeys(
        ("Dropout", "SpatialDropout2D", "Flatten", "Reshape", "MaxPooling2D", "ZeroPadding2D",
         "GlobalMaxPooling2D", "Cropping2D", "Identity"), _plan_as(KEPT)
    ),
    "AveragePooling2D": _plan_as(SAME),
    "GlobalAveragePooling2D": _plan_as(LEARNED),
    "BatchNormalization": _plan_batch_norm,
    "Rescaling": _plan_rescaling,
    "Normalization": _plan_normalization,
    "Activation": _plan_activation,
    "ReLU": _plan_relu,
    "Softmax": _plan_softmax,
    "Concatenate": lambda planner, step: planner.add("concatenate", step, KEPT),
}  # fmt: skip
