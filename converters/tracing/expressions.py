"""Write TensorFlow's operators that TensorFlow Lite lacks as expressions of those that it has.

This is done when the converter has refused a model for them: it recognises some, such as the Erf of
an exact GELU, and has a better form. The source model is the reference of the result, as always.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import tensorflow as tf


def _erf(x: Any) -> Any:
    """Abramowitz and Stegun 1964, 7.1.26; the error is below 1.5e-7."""
    size = tf.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    terms = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    total = tf.zeros_like(t)
    for term in terms:
        total = (total + term) * t
    return tf.sign(x) * (1 - total * tf.exp(-size * size))


def _asinh(x: Any) -> Any:
    return tf.sign(x) * tf.math.log(tf.abs(x) + tf.sqrt(x * x + 1))


# Functions of one tensor; the rewrites before quantization make a table of each.
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "Acos": lambda x: tf.atan2(tf.sqrt(1 - x * x), x),
    "Acosh": lambda x: tf.math.log(x + tf.sqrt(x * x - 1)),
    "Asin": lambda x: tf.atan2(x, tf.sqrt(1 - x * x)),
    "Asinh": _asinh,
    "Atan": lambda x: tf.atan2(x, tf.ones_like(x)),
    "Atanh": lambda x: 0.5 * tf.math.log((1 + x) / (1 - x)),
    "Cosh": lambda x: 0.5 * (tf.exp(x) + tf.exp(-x)),
    "Erf": _erf,
    "Erfc": lambda x: 1 - _erf(x),
    "Sinh": lambda x: 0.5 * (tf.exp(x) - tf.exp(-x)),
    "Tan": lambda x: tf.sin(x) / tf.cos(x),
}
# Resizing is a linear function of an image's rows, then of its columns.
_RESIZES = ("ResizeBicubic", "ScaleAndTranslate")

_BOUNDS = {"LowerBound": tf.less, "UpperBound": tf.less_equal}

KNOWN = frozenset((*_FUNCTIONS, *_RESIZES, *_BOUNDS, "Cross", "Cumprod"))


def express(names: Collection[str]) -> Callable[[Any], None]:
    """Return a change of a GraphDef that replaces these operators, where shapes allow it."""

    def change(graph: Any) -> None:
        with tf.Graph().as_default() as known:  # infers the shapes
            tf.graph_util.import_graph_def(graph, name="")
        for node in [node for node in graph.node if node.op in names]:
            operation = known.get_operation_by_name(node.name)
            count, function = _find_expression(operation)
            if function is not None:
                _replace(graph, node, operation.inputs[:count], function)

    return change


def _find_expression(operation: Any) -> tuple[int, Callable[..., Any] | None]:
    """The number of inputs, and the function of them; None where shapes do not allow one."""
    if operation.type in _FUNCTIONS:
        return 1, _FUNCTIONS[operation.type]
    if operation.type in ("Cross", *_BOUNDS):
        return 2, _of_two(operation)
    if operation.type == "Cumprod":
        return 1, _multiply_up(operation)
    is_known = all(operation.inputs[0].shape[1:]) and all(operation.outputs[0].shape[1:])
    return 1, _resize(operation) if is_known else None


def _of_two(operation: Any) -> Callable[[Any, Any], Any]:
    """A product of vectors, or for each value the number of sorted ones in front of it."""
    if operation.type == "Cross":
        return _cross
    compare, dtype = _BOUNDS[operation.type], operation.outputs[0].dtype

    def count(rows: Any, values: Any) -> Any:
        is_before = compare(rows[:, tf.newaxis, :], values[:, :, tf.newaxis])
        return tf.reduce_sum(tf.cast(is_before, dtype), axis=-1)

    return count


def _cross(one: Any, other: Any) -> Any:
    (a, b, c), (x, y, z) = tf.unstack(one, axis=-1), tf.unstack(other, axis=-1)
    return tf.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def _multiply_up(operation: Any) -> Callable[[Any], Any] | None:
    """Cumulative products in log2(n) steps; None if the number n of values is unknown."""
    axis = tf.get_static_value(operation.inputs[1])
    size = None if axis is None else operation.inputs[0].shape[int(axis)]
    if size is None:
        return None
    is_reverse, is_exclusive = map(operation.get_attr, ("reverse", "exclusive"))

    def shifted(values: Any, by: int) -> Any:
        return tf.split(values, [size - by, by], axis)[0]

    def multiply(values: Any) -> Any:
        values = tf.reverse(values, [axis]) if is_reverse else values
        if is_exclusive:
            one = tf.ones_like(tf.split(values, [1, size - 1], axis)[0])
            values = tf.concat([one, shifted(values, 1)], axis)
        by = 1
        while by < size:
            head, tail = tf.split(values, [by, size - by], axis)
            values = tf.concat([head, tail * shifted(values, by)], axis)
            by *= 2
        return tf.reverse(values, [axis]) if is_reverse else values

    return multiply


def _replace(graph: Any, node: Any, tensors: Sequence[Any], function: Callable[..., Any]) -> None:
    """Put the operators of a function of a node's first inputs in the node's place."""
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors]
    made = tf.function(function).get_concrete_function(*specs)
    (result,) = made.outputs
    prefix = f"{node.name}/expressed/"
    arguments = {
        argument.op.name: str(name) for argument, name in zip(made.inputs, node.input, strict=False)
    }

    def rename(name: str) -> str:
        return arguments.get(name) or f"{prefix}{name}"

    for part in made.graph.as_graph_def().node:
        if part.name not in arguments:
            copy = graph.node.add()
            copy.CopyFrom(part)
            copy.name = rename(part.name)
            copy.input[:] = [
                f"^{prefix}{name[1:]}" if name.startswith("^") else rename(name)
                for name in part.input
            ]
    output = rename(result.name.removesuffix(":0"))
    node.op = "Identity"
    node.input[:] = [output]
    node.attr.clear()
    node.attr["T"].type = result.dtype.as_datatype_enum


def _resize(operation: Any) -> Callable[[Any], Any]:
    """The same resizing as products with two constant matrices."""
    rows, columns = (
        _matrix(operation, operation.inputs[0].shape[axis], operation.outputs[0].shape[axis])
        for axis in (1, 2)
    )

    def resize(image: Any) -> Any:
        narrow = tf.tensordot(tf.transpose(image, [0, 2, 3, 1]), rows, 1)  # N, W, C, new H
        whole = tf.tensordot(tf.transpose(narrow, [0, 3, 2, 1]), columns, 1)  # N, new H, C, new W
        return tf.transpose(whole, [0, 1, 3, 2])

    return resize


def _matrix(operation: Any, size: int, target: int) -> Any:
    """The matrix, [size, target], by which TensorFlow resizes a line of pixels."""
    with tf.init_scope():
        line = tf.reshape(tf.eye(size), [1, size, 1, size])  # a channel for each pixel
        if operation.type == "ResizeBicubic":
            names = ("align_corners", "half_pixel_centers")
            options = {name: operation.get_attr(name) for name in names}
            made = tf.raw_ops.ResizeBicubic(images=line, size=[target, 1], **options)
        else:
            made = tf.raw_ops.ScaleAndTranslate(
                images=line,
                size=[target, 1],
                scale=[target / size, 1.0],
                translation=[0.0, 0.0],
                kernel_type=operation.get_attr("kernel_type"),
                antialias=operation.get_attr("antialias"),
            )
        return tf.transpose(made[0, :, 0, :]).numpy()
