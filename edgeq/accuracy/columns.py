"""Find the columns of an output, and the head that each column comes from.

A column is one channel of one head: the third class of a softmax, or the width of all boxes of a
detector. Channels are followed from their operator through operators that only rearrange values
(RESHAPE, TRANSPOSE, CONCATENATION...) or compute each value separately (LOGISTIC, MUL).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.tflite import flatbuffer
from edgeq.tflite.flatbuffer import indices, operator_name
from edgeq.tflite.joined_outputs import join_outputs
from edgeq.tflite.operators import having
from edgeq.values import JoinedOutput

Labels = NDArray[np.int64]

_FIXED_RANGE, _ELEMENTWISE = having("fixed_range"), having("elementwise")

# Values of all tensors that are followed. A larger output gets columns along its last axis: a
# damaged file may state any shape.
_MOST_VALUES = 1 << 23
# Operators that are followed back from an output; a deeper one counts as a new head.
_DEEPEST = 200


@dataclass(frozen=True)
class Columns:
    """The columns of one output.

    Attributes:
        labels: the column of each value of one sample, int64 [...], the output's shape without the
            batch; numbers from 0.
        heads: of each column, the number of the head that it comes from.
        names: of the heads, each the tensor that went into the output.
        fixed: numbers of the heads all of whose values share one range.
    """

    labels: Labels
    heads: tuple[int, ...]
    names: tuple[str, ...]
    fixed: frozenset[int] = frozenset()


def plain_columns(name: str, shape: Sequence[int]) -> Columns:
    """Return columns along the last axis of one head, for an output with unknown heads.

    Args:
        name: name of the output.
        shape: its shape without the batch.
    """
    count = shape[-1] if shape else 1
    labels = np.arange(count) if shape else np.zeros((), np.int64)
    return Columns(np.broadcast_to(labels, tuple(shape)), (0,) * count, (name,))


def find_columns(tree: Any) -> dict[str, Columns]:
    """Return the columns of each output by its name, without outputs of dynamic shape.

    Args:
        tree: the float model, as `flatbuffer.parse` gives it.
    """
    graph = tree.subgraphs[0]
    _, outputs = flatbuffer.interface(tree)
    walk = _Walk(tree, graph)
    found = {}
    for spec, index in zip(outputs, indices(graph.outputs), strict=True):
        labels = walk.labels(index)
        if labels is not None and labels.ndim and labels.shape[0] == 1 and labels.size:
            found[spec.name] = walk.columns(labels[0])
    return found


def join_columns(
    columns: Mapping[str, Columns], joins: Sequence[JoinedOutput]
) -> dict[str, Columns]:
    """Add the columns of joined outputs, from those of their parts."""
    found = dict(columns)
    for join in joins:
        parts = [columns[name] for name in join.parts if name in columns]
        if len(parts) < len(join.parts):
            continue  # of dynamic shape
        labels: dict[str, Labels] = {}
        heads: list[int] = []
        names: list[str] = []
        fixed: set[int] = set()
        for name, own in zip(join.parts, parts, strict=True):
            labels[name] = own.labels[np.newaxis] + len(heads)
            fixed |= {len(names) + head for head in own.fixed}
            heads += [len(names) + head for head in own.heads]
            names += own.names
        joined = join_outputs(labels, [join])[join.name][0]
        found[join.name] = Columns(joined, tuple(heads), tuple(names), frozenset(fixed))
    return found


@dataclass
class _Walk:
    """Labels of tensors: numbers of the columns of all heads found so far."""

    tree: Any
    graph: Any
    makers: dict[int, Any] = field(init=False)
    names: list[str] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    heads: list[int] = field(default_factory=list)
    known: dict[int, Labels | None] = field(default_factory=dict)
    depth: int = 0
    count: int = 0

    def __post_init__(self) -> None:
        self.makers = {
            made: operator
            for operator in self.graph.operators
            for made in indices(operator.outputs)
        }

    def columns(self, labels: Labels) -> Columns:
        """Return the columns of one output, numbered from 0."""
        used, plain = np.unique(labels, return_inverse=True)
        own = [self.heads[label] for label in used]
        order = list(dict.fromkeys(self.heads[label] for label in labels.ravel()))
        return Columns(
            plain.reshape(labels.shape),
            tuple(order.index(head) for head in own),
            tuple(self.names[head] for head in order),
            frozenset(order.index(head) for head in order if head in self.fixed),
        )

    def labels(self, index: int) -> Labels | None:
        """Return the label of each value of a tensor; None for a dynamic shape."""
        if index not in self.known:
            self.known[index] = None  # until it is known: a damaged graph may be a ring
            self.depth += 1
            self.known[index] = self._follow(index)
            self.depth -= 1
        return self.known[index]

    def _follow(self, index: int) -> Labels | None:
        shape = indices(self.graph.tensors[index].shape)
        operator = self.makers.get(index)
        self.count += math.prod(shape)
        if any(size < 0 for size in shape) or self.count > _MOST_VALUES:
            return None
        if operator is not None and self.depth < _DEEPEST:
            name = operator_name(self.tree, operator)
            made = self._through(name, operator, index, shape)
            if made is not None and made.shape == shape:
                return self._shared(made, index) if name in _FIXED_RANGE else made
            if name in _FIXED_RANGE:
                return self._shared(self._fresh(index, shape), index)
        return self._fresh(index, shape)

    def _through(
        self, name: str, operator: Any, index: int, shape: tuple[int, ...]
    ) -> Labels | None:
        """Return the labels that an operator passes on; None if it computes new values."""
        inputs, lay_out = indices(operator.inputs), _LAYOUTS.get(name)
        try:
            if name in _ELEMENTWISE:
                made = self._of_operand(inputs, shape)
                return self._scaled(made, inputs) if name in ("MUL", "DIV") else made
            if lay_out is None:
                return None
            return lay_out(self, operator, inputs, index, shape)
        except (ValueError, IndexError, TypeError, AttributeError, ZeroDivisionError):
            return None  # its parameters are not constants, or malformed: a new head

    def _of_operand(self, inputs: Sequence[int], shape: tuple[int, ...]) -> Labels | None:
        for position in inputs:
            tensor = self.graph.tensors[position]
            if indices(tensor.shape) == shape and not flatbuffer.is_constant(self.tree, tensor):
                return self.labels(position)
        return None

    def _scaled(self, labels: Labels | None, inputs: Sequence[int]) -> Labels | None:
        """Split a channel that is multiplied by different constants into one column for each."""
        for position in inputs:
            tensor = self.graph.tensors[position]
            if labels is None or not flatbuffer.is_constant(self.tree, tensor):
                continue
            factors = np.abs(flatbuffer.constant(self.tree, tensor).astype(np.float64))
            _, kinds = np.unique(np.broadcast_to(factors, labels.shape), return_inverse=True)
            kinds = kinds.reshape(labels.shape)
            used, plain = np.unique(
                np.stack([labels, kinds], -1).reshape(-1, 2), axis=0, return_inverse=True
            )
            if len(used) > len(np.unique(labels)):
                first = len(self.heads)
                self.heads += [self.heads[label] for label in used[:, 0]]
                labels = first + plain.reshape(labels.shape)
        return labels

    def head(self, index: int) -> Labels | None:
        """Return the labels of a tensor that is joined with others; it names its head."""
        labels = self.labels(index)
        if labels is None:
            return None
        heads = {self.heads[label] for label in np.unique(labels)}
        if len(heads) == 1:
            self.names[heads.pop()] = self._name(index)
        return labels

    def _fresh(self, index: int, shape: tuple[int, ...]) -> Labels:
        count = shape[-1] if len(shape) > 1 else 1
        first = len(self.heads)
        self.heads += [len(self.names)] * count
        self.names.append(self._name(index))
        labels = first + np.arange(count)
        return np.broadcast_to(labels if shape else labels[0], shape)

    def _shared(self, labels: Labels, index: int) -> Labels:
        """Return the same columns as a new head whose values share one range."""
        used, plain = np.unique(labels, return_inverse=True)
        first, head = len(self.heads), len(self.names)
        self.heads += [head] * len(used)
        self.names.append(self._name(index))
        self.fixed.add(head)
        return first + plain.reshape(labels.shape)

    def _name(self, index: int) -> str:
        return flatbuffer.tensor_name(self.graph, index)

    def constant(self, index: int) -> NDArray[Any]:
        """Return a parameter's values.

        Raises:
            ValueError: the file does not contain them.
        """
        tensor = self.graph.tensors[index]
        if not flatbuffer.is_constant(self.tree, tensor):
            raise ValueError("not a constant")
        return flatbuffer.constant(self.tree, tensor)


# ---------------------------------------------------------------- operators that rearrange values

_LayOut = Callable[[_Walk, Any, Sequence[int], int, tuple[int, ...]], "Labels | None"]


def _reshape(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    labels = walk.labels(inputs[0])
    return labels.reshape(shape) if labels is not None and labels.size == math.prod(shape) else None


def _transpose(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    labels = walk.labels(inputs[0])
    return None if labels is None else labels.transpose(walk.constant(inputs[1]).tolist())


def _heads(walk: _Walk, inputs: Sequence[int], shape: tuple[int, ...]) -> list[Labels] | None:
    """Return the labels of all operands if they form a tensor of this shape."""
    sizes = [math.prod(indices(walk.graph.tensors[position].shape)) for position in inputs]
    if sum(sizes) != math.prod(shape):
        return None
    found = [walk.head(position) for position in inputs]
    whole = [labels for labels in found if labels is not None]
    return whole if len(whole) == len(found) else None


def _concatenate(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    whole = _heads(walk, inputs, shape)
    return None if whole is None else np.concatenate(whole, axis=operator.builtinOptions.axis)


def _pack(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    whole = _heads(walk, inputs, shape)
    return None if whole is None else np.stack(whole, axis=operator.builtinOptions.axis)


def _split(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    is_sized = operator_name(walk.tree, operator) == "SPLIT_V"
    labels = walk.labels(inputs[0 if is_sized else 1])
    if labels is None:
        return None
    axis = int(walk.constant(inputs[2 if is_sized else 0]).ravel()[0])
    made = indices(operator.outputs)
    sizes = [indices(walk.graph.tensors[one].shape)[axis] for one in made]
    place = made.index(index)
    return np.split(labels, np.cumsum(sizes)[:-1], axis=axis)[place]


def _unpack(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    labels = walk.labels(inputs[0])
    place = indices(operator.outputs).index(index)
    if labels is None:
        return None
    return np.asarray(labels.take(place, axis=operator.builtinOptions.axis))


def _slice(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    labels = walk.labels(inputs[0])
    begins = walk.constant(inputs[1]).tolist()
    if labels is None:
        return None
    return labels[
        tuple(slice(begin, begin + size) for begin, size in zip(begins, shape, strict=True))
    ]


def _strided_slice(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    labels = walk.labels(inputs[0])
    options = operator.builtinOptions
    if labels is None or options.ellipsisMask or options.newAxisMask:
        return None
    begins, ends, strides = (walk.constant(position).tolist() for position in inputs[1:4])
    places: list[Any] = []
    for axis, (begin, end, stride) in enumerate(zip(begins, ends, strides, strict=True)):
        if options.shrinkAxisMask >> axis & 1:
            places.append(begin)
        else:
            places.append(
                slice(
                    None if options.beginMask >> axis & 1 else begin,
                    None if options.endMask >> axis & 1 else end,
                    stride,
                )
            )
    return np.asarray(labels[tuple(places)])


def _gather(
    walk: _Walk, operator: Any, inputs: Sequence[int], index: int, shape: tuple[int, ...]
) -> Labels | None:
    labels = walk.labels(inputs[0])
    options = operator.builtinOptions
    places = walk.constant(inputs[1])
    if labels is None or options.batchDims:
        return None
    if labels.size // labels.shape[options.axis] * places.size != math.prod(shape):
        return None
    return labels.take(places, axis=options.axis)


_LAYOUTS: Mapping[str, _LayOut] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _reshape,
    "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenate,
    "PACK": _pack,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "UNPACK": _unpack,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "GATHER": _gather,
}
