"""Operators whose inputs are all constants are computed once, in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.rewrites.editor import Editor
from edgeq.tflite import flatbuffer

Array = NDArray[Any]
_Function = Callable[[Any, Sequence[Any]], Any]

# Limit in bytes, because results of FILL and TILE make the file larger.
_MOST_GROWTH = 1 << 22
# An operator that cannot be computed, such as a RESHAPE to another number of values, stays.
REFUSALS = (ValueError, IndexError, TypeError, OverflowError, ZeroDivisionError, AttributeError)


def fold_constants(editor: Editor) -> int:
    """Replace the results of operators on constants by constants, as the float kernels compute.

    The results of EXP, LOG, POW, TANH and of roots may differ from a kernel's in the last bit.
    """
    done = 0
    for operator in list(editor.operators):
        kind, outputs = editor.kind(operator), editor.outputs(operator)
        if kind == "SHAPE":
            shape, dtype = editor.shape(editor.inputs(operator)[0]), editor.dtype(outputs[0])
            is_known = shape is not None and dtype in ("int32", "int64")
            results = [np.array(shape, dtype)] if is_known else None
        elif kind in FUNCTIONS:
            results = _compute(editor, operator, FUNCTIONS[kind])
        else:
            continue
        if results is None or len(results) != len(outputs):
            continue
        for index, values in zip(outputs, results, strict=True):
            is_inner = index not in editor.model_outputs and editor.readers(index)
            if is_inner and _fits(editor, index, values):
                editor.replace(index, editor.new_constant(editor.tensor_name(index), values))
                done += 1
    return done


def _compute(editor: Editor, operator: Any, function: _Function) -> list[Array] | None:
    inputs = editor.inputs(operator)
    values = [editor.value(index) for index in inputs]
    if any(value is None and index >= 0 for index, value in zip(inputs, values, strict=True)):
        return None
    known = sum(value.nbytes for value in values if value is not None)
    sizes = [editor.shape(index) for index in editor.outputs(operator)]
    if any(shape is not None and 8 * math.prod(shape) > 8 * known + _MOST_GROWTH
           for shape in sizes):  # fmt: skip
        return None
    try:
        with np.errstate(all="ignore"):
            made = function(operator.builtinOptions, values)
    except REFUSALS:
        return None
    return list(made) if isinstance(made, list) else [made]


def _fits(editor: Editor, index: int, values: Any) -> bool:
    shape = editor.shape(index)
    is_right = isinstance(values, (np.ndarray, np.generic)) and (shape in (None, values.shape))
    return bool(is_right and values.dtype.name == editor.dtype(index))


# ---------------------------------------------------------------- arithmetic


def _fused(options: Any, values: Array) -> Array:
    """The fused activation: none, RELU, RELU_N1_TO_1 or RELU6."""
    code = int(getattr(options, "fusedActivationFunction", 0) or 0)
    low, high = {0: (None, None), 1: (0, None), 2: (-1, 1), 3: (0, 6)}[code]
    if code:
        values = np.clip(values, low, high).astype(values.dtype)
    return values


def _binary(function: Callable[[Array, Array], Array]) -> _Function:
    def compute(options: Any, values: Sequence[Array]) -> Array:
        one, other = values
        shape = np.broadcast_shapes(one.shape, other.shape)
        if one.dtype != other.dtype or math.prod(shape) > one.size + other.size + _MOST_GROWTH:
            raise ValueError
        return np.asarray(_fused(options, np.asarray(function(one, other))))

    return compute


def _divide(one: Array, other: Array) -> Array:
    if one.dtype.kind == "f":
        return one / other
    if not other.all():
        raise ZeroDivisionError
    return np.asarray(np.trunc(one.astype(np.longdouble) / other), one.dtype)  # as in C


def _whole(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """A division whose kernel refuses zeros."""

    def compute(one: Array, other: Array) -> Array:
        if not other.all():
            raise ZeroDivisionError
        return np.asarray(function(one, other))

    return compute


def _power(one: Array, other: Array) -> Array:
    if one.dtype.kind != "f" and (other < 0).any():
        raise ValueError
    return np.power(one, other)


def _unary(function: Callable[[Array], Array]) -> _Function:
    return lambda options, values: np.asarray(function(values[0]), values[0].dtype)


def _cast(options: Any, values: Sequence[Array]) -> Array:
    dtype = np.dtype(flatbuffer.dtype_names()[options.outDataType])
    source = values[0]
    if source.dtype.kind == "f" and dtype.kind in "iu":  # C leaves other values undefined
        limits = np.iinfo(dtype)
        if not ((source > float(limits.min) - 1) & (source < float(limits.max) + 1)).all():
            raise ValueError
    return source.astype(dtype)


# ---------------------------------------------------------------- layout


def _axis(value: Any, rank: int) -> int:
    axis = int(value)
    if not -rank <= axis < rank:
        raise ValueError
    return axis % rank


def _reshape(options: Any, values: Sequence[Any]) -> Array:
    shape = values[1] if len(values) > 1 and values[1] is not None else options.newShape
    return np.reshape(values[0], tuple(int(size) for size in np.ravel(shape)))


def _squeeze(options: Any, values: Sequence[Array]) -> Array:
    dims = options.squeezeDims
    if dims is None or not len(dims):
        return np.squeeze(values[0])
    return np.squeeze(values[0], tuple(int(axis) for axis in dims))


def _expand(options: Any, values: Sequence[Array]) -> Array:
    return np.expand_dims(values[0], int(values[1].item()))


def _slice(options: Any, values: Sequence[Array]) -> Array:
    source, begins, sizes = values
    found = []
    for begin, size, whole in zip(begins.tolist(), sizes.tolist(), source.shape, strict=True):
        end = whole if size == -1 else begin + size
        if not 0 <= begin <= end <= whole:
            raise ValueError
        found.append(slice(begin, end))
    return source[tuple(found)]


def strided_slices(options: Any, values: Sequence[Array], rank: int) -> tuple[Any, ...]:
    """The numpy index of a STRIDED_SLICE.

    Args:
        values: begins, ends, strides.

    Raises:
        ValueError: it uses an ellipsis or new axes, or is out of range.
    """
    begins, ends, strides = (value.tolist() for value in values)
    if options.ellipsisMask or options.newAxisMask or options.offset or len(begins) > rank:
        raise ValueError
    found: list[Any] = []
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        bit = 1 << axis
        if options.shrinkAxisMask & bit:
            found.append(begin)
        else:
            first = None if options.beginMask & bit else begin
            found.append(slice(first, None if options.endMask & bit else end, stride))
    return tuple(found)


def _strided_slice(options: Any, values: Sequence[Array]) -> Array:
    return np.asarray(values[0][strided_slices(options, values[1:], values[0].ndim)])


def _split(options: Any, values: Sequence[Array]) -> list[Array]:
    axis = _axis(values[0].item(), values[1].ndim)
    return np.split(values[1], options.numSplits, axis)


def _split_v(options: Any, values: Sequence[Array]) -> list[Array]:
    source, sizes = values[0], values[1].tolist()
    axis = _axis(values[2].item(), source.ndim)
    if -1 in sizes:
        sizes[sizes.index(-1)] = source.shape[axis] - sum(sizes) - 1
    if min(sizes) < 0 or sum(sizes) != source.shape[axis]:
        raise ValueError
    return np.split(source, np.cumsum(sizes)[:-1], axis)


def _unpack(options: Any, values: Sequence[Array]) -> list[Array]:
    axis = _axis(options.axis, values[0].ndim)
    return [np.take(values[0], step, axis) for step in range(values[0].shape[axis])]


def _gather(options: Any, values: Sequence[Array]) -> Array:
    source, places = values
    if options.batchDims or (places.size and places.min() < 0):
        raise ValueError
    return np.take(source, places, _axis(options.axis, source.ndim))


def _broadcast(options: Any, values: Sequence[Array]) -> Array:
    return np.broadcast_to(values[0], _small(values[1], values[0]))


def _fill(options: Any, values: Sequence[Array]) -> Array:
    return np.full(_small(values[0], values[1]), values[1].item(), values[1].dtype)


def _tile(options: Any, values: Sequence[Array]) -> Array:
    source, times = values
    if len(times) != source.ndim:
        raise ValueError
    _small(times * np.array(source.shape), source)
    return np.tile(source, times.tolist())


def _small(shape: Array, source: Array) -> tuple[int, ...]:
    """A shape that holds few more values than a tensor does."""
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0 or math.prod(sizes) > source.size + _MOST_GROWTH:
        raise ValueError
    return sizes


def _range(options: Any, values: Sequence[Array]) -> Array:
    begin, end, step = (value.item() for value in values)
    if abs((end - begin) / step) > _MOST_GROWTH:
        raise ValueError
    return np.arange(begin, end, step).astype(values[0].dtype)


def _pad(options: Any, values: Sequence[Array]) -> Array:
    source, widths = values[0], values[1]
    filler = values[2].item() if len(values) > 2 else 0
    _small(widths.sum(1) + source.shape, source)
    return np.pad(source, widths.tolist(), constant_values=filler)


def _reduce(function: Callable[..., Any]) -> _Function:
    def compute(options: Any, values: Sequence[Array]) -> Array:
        source = values[0]
        axes = tuple({_axis(axis, source.ndim) for axis in np.ravel(values[1])})
        return np.asarray(function(source, axes, keepdims=bool(options.keepDims)), source.dtype)

    return compute


def _float_mean(source: Array, axes: tuple[int, ...], keepdims: bool) -> Any:
    if source.dtype.kind != "f":
        raise TypeError
    return source.mean(axes, keepdims=keepdims)


def _select(options: Any, values: Sequence[Array]) -> Array:
    condition, one, other = values
    if one.shape != other.shape:
        raise ValueError
    by_row = condition.reshape(condition.shape + (1,) * (one.ndim - condition.ndim))
    return np.where(by_row, one, other)


def _plain(function: Callable[..., Any]) -> _Function:
    return lambda options, values: np.asarray(function(*values))


FUNCTIONS: dict[str, _Function] = {
    "ADD": _binary(np.add),
    "SUB": _binary(np.subtract),
    "MUL": _binary(np.multiply),
    "DIV": _binary(_divide),
    "FLOOR_DIV": _binary(_whole(np.floor_divide)),
    "FLOOR_MOD": _binary(_whole(np.mod)),
    "POW": _binary(_power),
    "MAXIMUM": _binary(np.maximum),
    "MINIMUM": _binary(np.minimum),
    "SQUARED_DIFFERENCE": _binary(lambda one, other: np.square(one - other)),
    "EQUAL": _binary(np.equal),
    "NOT_EQUAL": _binary(np.not_equal),
    "LESS": _binary(np.less),
    "LESS_EQUAL": _binary(np.less_equal),
    "GREATER": _binary(np.greater),
    "GREATER_EQUAL": _binary(np.greater_equal),
    "LOGICAL_AND": _binary(np.logical_and),
    "LOGICAL_OR": _binary(np.logical_or),
    "LOGICAL_NOT": _unary(np.logical_not),
    "NEG": _unary(np.negative),
    "ABS": _unary(np.abs),
    "SIGN": _unary(np.sign),
    "SQUARE": _unary(np.square),
    "SQRT": _unary(np.sqrt),
    "RSQRT": _unary(lambda values: 1 / np.sqrt(values)),
    "EXP": _unary(np.exp),
    "LOG": _unary(np.log),
    "SIN": _unary(np.sin),
    "COS": _unary(np.cos),
    "TANH": _unary(np.tanh),
    "FLOOR": _unary(np.floor),
    "CEIL": _unary(np.ceil),
    "ROUND": _unary(np.rint),
    "RELU": _unary(lambda values: np.maximum(values, 0)),
    "ZEROS_LIKE": _unary(np.zeros_like),
    "CAST": _cast,
    "SELECT": _select,
    "SELECT_V2": _plain(np.where),
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand,
    "TRANSPOSE": _plain(lambda values, order: np.transpose(values, order.tolist())),
    "CONCATENATION": lambda options, values: _fused(
        options, np.concatenate(values, _axis(options.axis, values[0].ndim))
    ),
    "PACK": lambda options, values: np.stack(values, options.axis),
    "UNPACK": _unpack,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
    "BROADCAST_TO": _broadcast,
    "FILL": _fill,
    "TILE": _tile,
    "RANGE": _range,
    "RANK": lambda options, values: np.array(values[0].ndim, np.int32),
    "PAD": _pad,
    "PADV2": _pad,
    "REVERSE_V2": _plain(lambda values, axes: np.flip(values, tuple(axes.tolist()))),
    "BROADCAST_ARGS": _plain(
        lambda one, other: np.array(np.broadcast_shapes(tuple(one), tuple(other)), one.dtype)
    ),
    "SUM": _reduce(np.sum),
    "MEAN": _reduce(_float_mean),
    "REDUCE_PROD": _reduce(np.prod),
    "REDUCE_MAX": _reduce(np.max),
    "REDUCE_MIN": _reduce(np.min),
    "REDUCE_ANY": _reduce(np.any),
    "REDUCE_ALL": _reduce(np.all),
}
