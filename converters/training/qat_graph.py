"""A Keras model as a list of steps: nested models opened, one step per call of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from edgeq.errors import UnsupportedLayerError


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a layer.

    Attributes:
        layer: a Keras layer, or the operation behind a call of `keras.ops`.
        name: the layer's, with the names of the nested models around it.
        inputs: numbers of the tensors it takes.
        output: number of the tensor it gives.
        rank: dimensions of that tensor.
    """

    layer: Any
    name: str
    inputs: tuple[int, ...]
    output: int
    rank: int


@dataclass(frozen=True, eq=False)
class Graph:
    """All steps in an order in which they can be taken.

    Attributes:
        model: the functional model it was read from.
        inputs: tensor numbers of its inputs, in the order of `model.inputs`.
        outputs: tensor numbers of its outputs, in the order of `model.outputs`.
        consumers: tensor number to the steps that take it; an output also has None in it.
    """

    model: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    steps: tuple[Step, ...]
    consumers: dict[int, tuple[Step | None, ...]]

    def sole_consumer(self, tensor: int) -> Step | None:
        """The only step that takes a tensor; None when there are others or it is an output."""
        found = self.consumers.get(tensor, ())
        return found[0] if len(found) == 1 else None


def read_graph(model: Any) -> Graph:
    """Flatten a functional or sequential model.

    Raises:
        UnsupportedLayerError: the model has no static graph, or a layer has several outputs.
    """
    reader = _Reader()
    functional = _functional(model)
    inputs = tuple(reader.number() for _ in functional.inputs)
    outputs = reader.read(functional, inputs, "")
    consumers: dict[int, tuple[Step | None, ...]] = {}
    for step in reader.steps:
        for tensor in step.inputs:
            consumers[tensor] = (*consumers.get(tensor, ()), step)
    for tensor in outputs:
        consumers[tensor] = (*consumers.get(tensor, ()), None)
    return Graph(functional, inputs, outputs, tuple(reader.steps), consumers)


def _functional(model: Any) -> Any:
    found = getattr(model, "_functional", model)
    if not isinstance(found, keras.Model) or not hasattr(found, "_nodes_by_depth"):
        raise UnsupportedLayerError(
            f"Model {getattr(model, 'name', model)!r} is a {type(model).__name__} without a graph "
            "of layers.",
            hint="Build it as a functional or sequential Keras 3 model with known input shapes.",
        )
    return found


class _Reader:
    """Numbers tensors and collects steps, through all levels of nesting."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._count = 0

    def number(self) -> int:
        self._count += 1
        return self._count - 1

    def read(self, functional: Any, inputs: Sequence[int], prefix: str) -> tuple[int, ...]:
        """Add the steps of one model called on `inputs`; returns its outputs."""
        known = {id(t): n for t, n in zip(functional.inputs, inputs, strict=True)}
        by_depth = functional._nodes_by_depth
        for node in (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]):
            if node.is_input or all(id(tensor) in known for tensor in node.outputs):
                continue
            taken = tuple(known[id(tensor)] for tensor in node.input_tensors)
            layer = node.operation
            name = f"{prefix}{layer.name}"
            if isinstance(layer, keras.Model):
                given = self.read(_functional(layer), taken, f"{name}_")
            elif len(node.outputs) == 1:
                given = (self.number(),)
                self.steps.append(Step(layer, name, taken, *given, len(node.outputs[0].shape)))
            else:
                raise UnsupportedLayerError(
                    f"Layer {name!r} ({type(layer).__name__}) has {len(node.outputs)} outputs.",
                    hint="Quantization-aware training supports layers with one output.",
                )
            known |= {id(t): n for t, n in zip(node.outputs, given, strict=True)}
        return tuple(known[id(tensor)] for tensor in functional.outputs)
