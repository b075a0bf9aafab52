"""Normalizations of a float model, recognised by their values.

Keras, tf_keras, litert-torch and onnx2tf write the same normalization in different operators. The
operators between a tensor x and a tensor y are run on random numbers: they are a normalization if y
is `gamma * n + beta`, where n is x minus its mean (or x itself), divided by the square root of its
mean square plus an epsilon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeq.converters.rewrites.chains import is_closed, operators_between
from edgeq.converters.rewrites.editor import Editor
from edgeq.converters.rewrites.folding import REFUSALS
from edgeq.converters.rewrites.functions import (
    LAYOUT,
    REDUCTIONS,
    Array,
    evaluate,
    is_elementwise,
    rearrange,
    reduced_axes,
)

# Operators in normalizations.
_PARTS = frozenset({"ABS", "ADD", "DIV", "MAXIMUM", "MINIMUM", "MUL", "NEG", "POW", "RSQRT", "SQRT",
                    "SQUARE", "SQUARED_DIFFERENCE", "SUB", *REDUCTIONS, *LAYOUT})  # fmt: skip
ROOTS = ("RSQRT", "SQRT")
# Formulas multiply by 1 / N in float32, which is off by 6e-8.
_SAME = 1e-6
# At zero variance some formulas limit the factor instead of adding an epsilon.
_LEAST_EPSILON = 1e-12
# Small samples show the epsilon, large ones the rest.
_SCALES = (0.02, 1.0, 10.0)
# Larger tensors stay as they are: some 20 copies in float64 would need more than a gigabyte.
_MOST_VALUES = 1 << 22


@dataclass(frozen=True)
class Normalization:
    """A normalization of one tensor.

    Attributes:
        source, result: tensors.
        shape: of the source with as many axes as the groups need; its values in the same order.
        axes: over which the mean and the variance are computed.
        is_centred: whether the mean is subtracted.
        epsilon: added to the variance.
        gamma, beta: float64, in a shape that broadcasts to `shape`.
    """

    source: int
    result: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    is_centred: bool
    epsilon: float
    gamma: Array
    beta: Array


def recognise(editor: Editor, anchor: Any) -> Normalization | None:
    """The normalization whose square root is `anchor`."""
    try:
        return _search(editor, anchor)
    except REFUSALS:  # shapes do not fit each other: the interpreter will report the damage
        return None


def _search(editor: Editor, anchor: Any) -> Normalization | None:
    (variance,) = editor.inputs(anchor)
    parts = _parts_before(editor, variance)
    read = dict.fromkeys(index for operator in parts for index in editor.inputs(operator))
    for source in read:
        if source < 0 or editor.value(source) is not None or editor.dtype(source) != "float32":
            continue
        between = operators_between(editor, source, variance, parts)
        if between is None or not 1 < _size(editor, source) <= _MOST_VALUES:
            continue
        groups = _find_groups(editor, source, variance, between)
        if groups is None:
            continue
        probe = _Probe.measure(editor, source, variance, between, groups)
        found = None if probe is None else _find_result(editor, anchor, source, probe)
        if found is not None:
            return found
    return None


def _is_part(editor: Editor, operator: Any) -> bool:
    kind = editor.kind(operator)
    if kind not in _PARTS or editor.shape(editor.outputs(operator)[0]) is None:
        return False
    return kind in LAYOUT or kind in REDUCTIONS or is_elementwise(editor, operator)


def _parts_before(editor: Editor, variance: int) -> list[Any]:
    """Parts of a normalization from which a tensor is computed, in execution order."""
    found: dict[int, Any] = {}
    pending = [variance]
    while pending:
        operator = editor.producer(pending.pop())
        if operator is not None and id(operator) not in found and _is_part(editor, operator):
            found[id(operator)] = operator
            pending += [index for index in editor.inputs(operator) if index >= 0]
    return [operator for operator in editor.operators if id(operator) in found]


@dataclass(frozen=True)
class _Groups:
    """The values of a tensor that are normalized together.

    Attributes:
        numbers: the group of each value, in the tensor's order.
        shape, axes: as in `Normalization`.
    """

    numbers: Array
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Values in a group."""
        return len(self.numbers) // (int(self.numbers.max()) + 1)

    def mean(self, values: Array) -> Array:
        """The mean of each group."""
        return np.bincount(self.numbers, values) / self.size


def _find_groups(
    editor: Editor, source: int, variance: int, between: Sequence[Any]
) -> _Groups | None:
    """The groups over which the last reduction before a variance computes."""
    reductions = [operator for operator in between if editor.kind(operator) in REDUCTIONS]
    if not reductions:
        return None
    last = reductions[-1]
    axes, squares = reduced_axes(editor, last), editor.inputs(last)[0]
    order = _order(editor, source, squares)
    shape = editor.shape(squares) or ()
    if order is None or not axes:
        return None
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    count = int(np.prod(kept))
    if count == order.size or count * 1 != _size(editor, variance):
        return None
    numbers = np.empty(order.size, np.int64)
    numbers[order.reshape(-1)] = np.broadcast_to(np.arange(count).reshape(kept), shape).reshape(-1)
    own = editor.shape(source) or ()
    own_axes = _constant_axes(numbers.reshape(own))
    if np.prod([own[axis] for axis in own_axes]) * count == order.size:
        if len(own) <= 4:
            return _Groups(numbers, own, own_axes)
        shape, axes = own, own_axes
    elif (order.reshape(-1) != np.arange(order.size)).any():
        return None
    return _Groups(numbers, *_merge(shape, axes))


def _size(editor: Editor, index: int) -> int:
    return int(np.prod(editor.shape(index) or ()))


def _order(editor: Editor, source: int, index: int) -> Array | None:
    """For each value of a tensor, the number of the value of `source` at its place."""
    path: list[Any] = []
    while index != source:
        operator = editor.producer(index)
        if operator is None or editor.kind(operator) in REDUCTIONS:
            return None
        path.append(operator)
        full = [
            i for i in editor.inputs(operator)
            if editor.value(i) is None and _size(editor, i) == _size(editor, index)
        ]  # fmt: skip
        if not full:
            return None
        index = full[0]
    order = np.arange(_size(editor, source)).reshape(editor.shape(source) or ())
    for operator in reversed(path):
        if editor.kind(operator) in LAYOUT:
            order = rearrange(editor, operator, order)
    return order


def _constant_axes(values: Array) -> tuple[int, ...]:
    """The axes along which an array does not change."""
    return tuple(
        axis
        for axis, size in enumerate(values.shape)
        if size > 1 and (values == values.take([0], axis)).all()
    )


def _merge(
    shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same with neighbouring axes of one kind as one axis: kernels take up to four."""
    sizes, merged = [shape[0]], [0 in axes]
    for axis, size in enumerate(shape[1:], 1):
        if (axis in axes) == merged[-1]:
            sizes[-1] *= size
        else:
            sizes.append(size)
            merged.append(axis in axes)
    return tuple(sizes), tuple(axis for axis, is_reduced in enumerate(merged) if is_reduced)


@dataclass(frozen=True)
class _Probe:
    """Random inputs of a normalization, and its expected results.

    Attributes:
        groups: of the source.
        samples: [samples, values].
        normalized: of each sample, without gamma and beta.
        is_centred, epsilon: as in `Normalization`.
    """

    groups: _Groups
    samples: Array
    normalized: Array
    is_centred: bool
    epsilon: float

    @classmethod
    def measure(
        cls, editor: Editor, source: int, variance: int, between: Sequence[Any], groups: _Groups
    ) -> _Probe | None:
        """Find out what a variance is: None if it is neither a variance nor a mean square."""
        shape, count = editor.shape(source) or (), len(groups.numbers)
        random = np.random.default_rng(0)
        scales = np.array(_SCALES)[:, None]
        means = random.normal(size=scales.shape)
        samples = scales * (random.standard_normal((len(scales), count)) + means)

        def run(values: Array) -> Array:
            found = evaluate(editor, between, {source: values.reshape(shape)})[0]
            return found[variance].reshape(-1)

        measured, at_zero = np.array([run(values) for values in samples]), run(np.zeros(count))
        if not np.isfinite(measured).all() or not np.isfinite(at_zero).all():
            return None
        least = float(at_zero.flat[0])
        for is_centred in (True, False):
            means = np.array([groups.mean(values) for values in samples]) * is_centred
            centred = samples - means[:, groups.numbers]
            squares = np.array([groups.mean(values**2) for values in centred])
            factor = float(np.median((measured - least) / squares))
            if factor > 0 and np.allclose(measured, factor * squares + least, _SAME, 0):
                epsilon = max(least / factor, _LEAST_EPSILON)
                normalized = centred / np.sqrt(squares + epsilon)[:, groups.numbers]
                return cls(groups, samples, normalized, is_centred, epsilon)
        return None


def _find_result(editor: Editor, anchor: Any, source: int, probe: _Probe) -> Normalization | None:
    """The last tensor that is a normalized one times gamma plus beta."""
    behind = _operators_behind(editor, source)
    shape = editor.shape(source) or ()
    count = len(probe.groups.numbers)
    runs = []
    for values in probe.samples:
        found = evaluate(editor, behind, {source: values.reshape(shape)})[1]
        runs.append({index: item for index, item in found.items() if item.size == count})
    for operator in reversed(behind):
        (result,) = editor.outputs(operator)
        own = operators_between(editor, source, result, behind) or []
        is_whole = any(anchor is item for item in own) and is_closed(editor, own, result)
        if not is_whole or result not in runs[0]:
            continue
        values = np.array([run[result].reshape(-1) for run in runs])
        fitted = _fit(values, probe.normalized)
        if fitted is not None:
            gamma, beta = (_shrink(item.reshape(probe.groups.shape)) for item in fitted)
            groups = probe.groups
            return Normalization(
                source,
                result,
                groups.shape,
                groups.axes,
                probe.is_centred,
                probe.epsilon,
                gamma,
                beta,
            )
    return None


def _operators_behind(editor: Editor, source: int) -> list[Any]:
    """Parts of normalizations that depend on one tensor only, in execution order."""
    known, found = {source}, []
    for operator in editor.operators:
        reads = [index for index in editor.inputs(operator) if editor.value(index) is None]
        if reads and known.issuperset(reads) and _is_part(editor, operator):
            known.update(editor.outputs(operator))
            found.append(operator)
    return found


def _fit(values: Array, normalized: Array) -> tuple[Array, Array] | None:
    """Gamma and beta with `values = gamma * normalized + beta`; None if there are none."""
    if not np.isfinite(values).all():
        return None
    centre = normalized.mean(axis=0)
    spread = normalized - centre
    gamma = (spread * values).sum(axis=0) / (spread**2).sum(axis=0)
    beta = values.mean(axis=0) - gamma * centre
    largest = np.abs(values).max()
    if np.abs(gamma * normalized + beta - values).max() > _SAME * largest or not gamma.any():
        return None
    return gamma, np.where(np.abs(beta) > _SAME * largest, beta, 0)


def _shrink(values: Array) -> Array:
    """The values without the axes along which they do not change."""
    near = _SAME * np.abs(values).max()
    for axis in range(values.ndim):
        first = values.take([0], axis)
        if (np.abs(values - first) <= near).all():
            values = first
    return values
