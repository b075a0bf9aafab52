"""Weights that are NaN or infinite, as after diverged training: refused before anything is made.

Otherwise a user sees, depending on the scheme, a crash in native code, a model that "differs by
nan%", or a file with random answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import SourceError
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import having

_LAYERS = having("product") | having("recurrent")  # their constants are weights
_COMPUTING = _LAYERS | having("masks")
_STATISTICS = ("moving_mean", "moving_variance")  # not trained, and yet computed with


def require_finite_variables(variables: Iterable[Any], layers: Sequence[Any]) -> None:
    """Refuse a traced function with variables that are NaN or infinite.

    Args:
        variables: TensorFlow's, of the function.
        layers: Keras layers that own them, in the model's order; empty where they are not known.

    Raises:
        SourceError: names the first layer.
    """
    found = []
    for variable in variables:
        name = str(variable.name).partition(":")[0]
        is_weight = variable.trainable or name.endswith(_STATISTICS)
        if variable.dtype.is_floating:
            flaw = _find_flaw(np.asarray(variable), even_infinite=is_weight)
            if flaw is not None:
                found.append((*_owner(variable, name, layers), flaw))
    _refuse([(layer, flaw) for _, layer, flaw in sorted(found)])


def _owner(variable: Any, name: str, layers: Sequence[Any]) -> tuple[int, str]:
    """Place and name of the layer that owns a variable; models around it do not count."""
    for place, layer in enumerate(layers):
        own = [getattr(weight, "value", weight) for weight in layer.weights] + list(layer.weights)
        if not hasattr(layer, "layers") and any(item is variable for item in own):
            return place, str(layer.name)
    return len(layers), name.rpartition("/")[0] or name


def require_finite_constants(tree: Any) -> None:
    """Refuse a float flatbuffer with weights that are NaN or infinite.

    Raises:
        SourceError: names the result of the first operator that computes with them.
    """
    found = []
    for graph in tree.subgraphs:
        for operator in graph.operators:
            kind = flatbuffer.operator_name(tree, operator)
            if kind not in _COMPUTING:
                continue
            tensors = [graph.tensors[i] for i in flatbuffer.indices(operator.inputs) if i >= 0]
            flaws = (
                _find_flaw(_stored(tree, tensor), even_infinite=kind in _LAYERS)
                for tensor in tensors
            )
            results = [graph.tensors[i] for i in flatbuffer.indices(operator.outputs)]
            name = flatbuffer.text(results[0].name).split(";")[0] if results else kind
            found += [(name, flaw) for flaw in flaws if flaw is not None]
    _refuse(found)


def _stored(tree: Any, tensor: Any) -> NDArray[Any]:
    """A tensor's stored floats in a row, without an incomplete last one; none of other types."""
    dtype = flatbuffer.dtype(tensor)
    data = tree.buffers[tensor.buffer].data
    if data is None or dtype not in ("float16", "float32", "float64"):
        return np.zeros(0, np.float32)
    raw = np.asarray(data, np.uint8)
    return raw[: len(raw) - len(raw) % np.dtype(dtype).itemsize].view(dtype)


def _find_flaw(values: NDArray[Any], *, even_infinite: bool) -> str | None:
    if values.dtype.kind not in "fV":  # bfloat16 is a type that numpy does not know
        return None
    numbers = values.astype(np.float32)
    if np.isnan(numbers).any():
        return "NaN"
    return "infinity" if even_infinite and np.isinf(numbers).any() else None


def _refuse(found: Sequence[tuple[str, str]]) -> None:
    """Raise for the first of some layers.

    Args:
        found: a layer's name and what it holds, for each tensor of weights.
    """
    if not found:
        return
    layer, flaw = found[0]
    others = len({name for name, _ in found}) - 1
    more = f", and so do those of {others} more" if others else ""
    raise SourceError(
        f"The weights of layer {layer!r} hold {flaw}{more}.",
        hint="Its training has diverged: take an earlier checkpoint, or train it again with a "
        "smaller learning rate or clipped gradients.",
    )
