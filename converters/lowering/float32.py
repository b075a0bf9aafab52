"""Read a model of half or double precision in float32, which TensorFlow Lite computes.

Models trained under `mixed_float16`, `mixed_bfloat16`, `float16`, `bfloat16` or `float64` hold
these dtypes in their graph, at any depth, whether Keras wrote the file or TensorFlow. The traced
graph is the one place where all of them are seen, so its dtypes are replaced there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeq.converters.lowering.rebuilding import rebuild
from edgeq.errors import LoweringError

_DTYPES = {dtype.as_datatype_enum: dtype.name for dtype in (tf.half, tf.bfloat16, tf.double)}
_SUFFIX = "_in_float32"
_FLOAT = tf.float32.as_datatype_enum
# Roundings of bfloat16 add up to some percent in a deep net; another function differs by far more.
_MOST_DIFFERENCE = 0.25


def find_other_dtypes(concrete: Any) -> tuple[str, ...]:
    """Return the names of the float dtypes other than float32 in a traced function, sorted."""
    attributes = _attributes(concrete.graph.as_graph_def())
    found = {_DTYPES[kind] for item in attributes for kind in _types(item) if kind in _DTYPES}
    return tuple(sorted(found))


def _attributes(graph: Any) -> Iterator[Any]:
    """Yield the attributes of all operators, those of functions included."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            yield from _nested(node.attr.values())


def _nested(attributes: Iterable[Any]) -> Iterator[Any]:
    for attribute in attributes:
        yield attribute
        for function in (attribute.func, *attribute.list.func):
            yield from _nested(function.attr.values())


def _types(attribute: Any) -> Iterator[int]:
    yield attribute.type
    yield from attribute.list.type


def read_in_float32(concrete: Any) -> Any:
    """Return the function with float32 in the place of the other float dtypes.

    Args:
        concrete: the traced function.

    Raises:
        LoweringError: an operator is defined for another dtype only.
    """
    found = ", ".join(find_other_dtypes(concrete))
    try:
        return rebuild(concrete, _replace_dtypes)
    except ValueError as error:
        raise LoweringError(
            f"The model computes in {found}, and cannot be read in float32: "
            f"{' '.join(str(error).split())[:200]}.",
            hint="Build the model under keras.config.set_dtype_policy('float32'), load its weights "
            "into it, and save it.",
        ) from error


def _replace_dtypes(graph: Any) -> None:
    # TensorFlow knows the functions, such as the bodies of loops, with their old dtypes.
    names = {function.signature.name for function in graph.library.function}
    for function in graph.library.function:
        function.signature.name += _SUFFIX
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = _float32(argument.type)
    for attribute in _attributes(graph):
        if attribute.HasField("type"):
            attribute.type = _float32(attribute.type)
        for called in (attribute.func, *attribute.list.func):
            if called.name in names:
                called.name += _SUFFIX
        if attribute.list.type:
            attribute.list.type[:] = [_float32(kind) for kind in attribute.list.type]
        if attribute.HasField("tensor") and attribute.tensor.dtype in _DTYPES:
            values = tf.make_ndarray(attribute.tensor)
            attribute.tensor.CopyFrom(tf.make_tensor_proto(_narrowed(values), tf.float32))


def _float32(kind: int) -> int:
    return _FLOAT if kind in _DTYPES else kind


def _narrowed(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the values; numbers of float64 that float32 cannot hold become its largest."""
    wide = values.astype(np.float64)
    most = np.finfo(np.float32).max
    return np.where(np.isinf(wide), wide, np.clip(wide, -most, most)).astype(np.float32)


def require_same(original: Mapping[str, NDArray[Any]], widened: Mapping[str, NDArray[Any]]) -> None:
    """Check that a model computes in float32 what it computes in its own precision.

    Args:
        original: output name to values, [samples, ...].
        widened: the same from the model in float32.

    Raises:
        LoweringError: an output is another function.
    """
    for name, values in original.items():
        own, new = (np.asarray(part).astype(np.float64) for part in (values, widened[name]))
        known = np.isfinite(own)  # half precision overflows where float32 does not
        size = float(np.linalg.norm(own[known])) or 1.0
        difference = float(np.linalg.norm((own - new)[known])) / size
        if not difference <= _MOST_DIFFERENCE:
            raise LoweringError(
                f"Output {name!r} in float32 differs by {difference:.0%} from the model's own in "
                f"{values.dtype} (limit {_MOST_DIFFERENCE:.0%}).",
                hint="Train the model under the policy float32, or under mixed_bfloat16.",
            )
