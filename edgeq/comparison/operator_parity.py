"""Compare single operators: do other kernels compute the same from the same inputs?

The model's outputs cannot show it: a difference of one step grows from layer to layer. So every
operator gets the inputs that the reference kernels computed, and only its own result is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.calibration.calibrate import batch_size
from edgeq.converters.graph.layers import fed_tensors
from edgeq.tflite import flatbuffer
from edgeq.tflite.quantmath import difference
from edgeq.values.showing import bounded

Arrays = Mapping[str, NDArray[Any]]
Runner = Callable[[bytes, Arrays], Arrays]

# Relative to the largest value: a different order of summation; and, for integer weights with float
# activations, a different scale for rounding these (1.2 % at most was measured).
_FLOAT_TOLERANCE, _HYBRID_TOLERANCE = 1e-5, 4 / 127
_NUMBERS = frozenset(
    {"float16", "float32", "float64", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32",
     "int64", "uint64"}
)  # fmt: skip
_MOST_AT_A_TIME = 200  # results; the operators before each of them go into separate files


@bounded
@dataclass(frozen=True)
class OperatorDifference:
    """An operator whose result differs, though its inputs are the same.

    Attributes:
        name: name of its result.
        operator: e.g. "CONV_2D".
        largest: largest difference, in steps of an integer result, or in the unit of a float one.
    """

    name: str
    operator: str
    largest: float


@bounded
@dataclass(frozen=True)
class Walk:
    """The result of comparing all operators one by one.

    Attributes:
        first: first operator whose result differs, in execution order; None if none does.
        wrong: first one whose result differs by more than rounding; None if none does.
    """

    first: OperatorDifference | None = None
    wrong: OperatorDifference | None = None


@bounded
@dataclass(frozen=True)
class Result:
    """A tensor that an operator computes from the model's inputs.

    Attributes:
        position: the operator's place in execution order.
        index: index of the tensor.
        name: name of the tensor.
        operator: e.g. "CONV_2D".
        is_quantized: integers with a scale.
        is_hybrid: float, computed with integer weights.
    """

    position: int
    index: int
    name: str
    operator: str
    is_quantized: bool
    is_hybrid: bool

    @property
    def output(self) -> str:
        """Its name as an output of the model."""
        return f"result-{self.index}"


def rounding(wanted: NDArray[Any], is_quantized: bool, is_hybrid: bool = False) -> float:
    """Return how much a result may differ by rounding only.

    Args:
        is_quantized: integers with a scale. Other integers are classes, counts or flags, which must
            be equal.
        is_hybrid: float, computed with integer weights.
    """
    if wanted.dtype.kind == "f":
        finite = np.abs(wanted[np.isfinite(wanted)])
        tolerance = _HYBRID_TOLERANCE if is_hybrid else _FLOAT_TOLERANCE
        return tolerance * float(finite.max(initial=0))
    return float(is_quantized)


def walk(content: bytes, inputs: Arrays, here: Runner, there: Runner) -> Walk:
    """Compare the operators of the main subgraph.

    Args:
        content: bytes of the `.tflite`.
        inputs: name to [samples, ...].
        here: runs a model on the reference kernels.
        there: runs a model on the other kernels.

    Raises:
        EdgeqError: from `here` and `there`; some runtimes reject such models.
    """
    results = find_results(flatbuffer.parse(content, "the model"))
    expected = here(open_results(content, results), inputs)
    values = {result.index: expected[result.output] for result in results}
    first = None
    for start in range(0, len(results), _MOST_AT_A_TIME):
        some = results[start : start + _MOST_AT_A_TIME]
        cut, known = _cut(content, some, values)
        found = there(cut, {**inputs, **known})
        for result in some:
            wanted = expected[result.output]
            largest = float(difference(wanted, found[result.output]).max(initial=0))
            if largest > 0:
                own = OperatorDifference(result.name, result.operator, largest)
                first = first or own
                if largest > rounding(wanted, result.is_quantized, result.is_hybrid):
                    return Walk(first, own)
    return Walk(first)


def find_results(tree: Any) -> tuple[Result, ...]:
    """Return the results of the operators, in execution order.

    Results of constants only are left out: they cannot differ, and XNNPACK, which unpacks such
    weights itself, never writes them.
    """
    graph = tree.subgraphs[0]
    fed, found = fed_tensors(graph), []
    for position, operator in enumerate(graph.operators):
        outputs = [index for index in flatbuffer.indices(operator.outputs) if index in fed]
        kind, has_integers = flatbuffer.operator_name(tree, operator), _has_integers(tree, operator)
        for index in outputs:
            tensor = graph.tensors[index]
            spec = flatbuffer.tensor_spec(tensor, flatbuffer.text(tensor.name))
            is_hybrid = has_integers and spec.dtype == "float32"
            if spec.dtype in _NUMBERS:
                own = Result(position, index, spec.name, kind, bool(spec.scales), is_hybrid)
                found.append(own)
    return tuple(found)


def _has_integers(tree: Any, operator: Any) -> bool:
    """Whether stored inputs are in steps of a scale."""
    tensors = [tree.subgraphs[0].tensors[i] for i in flatbuffer.indices(operator.inputs) if i >= 0]
    return any(
        flatbuffer.is_constant(tree, tensor) and bool(flatbuffer.tensor_spec(tensor, "").scales)
        for tensor in tensors
    )


def open_results(content: bytes, results: Sequence[Result]) -> bytes:
    """The model with these results as its outputs."""
    tree = flatbuffer.parse(content, "the model")
    _set_interface(tree, results, {})
    return flatbuffer.serialize(tree)


def _cut(
    content: bytes, results: Sequence[Result], values: Mapping[int, NDArray[Any]]
) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """The model in which the operators of some results take given inputs; and these, by name.

    Args:
        values: of all results by tensor index, [samples, ...].
    """
    tree = flatbuffer.parse(content, "the model")
    graph = tree.subgraphs[0]
    batch = batch_size(flatbuffer.interface(tree)[0])
    feeds: dict[int, tuple[int, int]] = {}  # a result to its copy, and to the input for that
    operators = [
        graph.operators[position] for position in sorted({item.position for item in results})
    ]
    for operator in operators:
        wanted = flatbuffer.indices(operator.inputs)
        for index in wanted:
            if index not in feeds and index in values and values[index].size:
                feeds[index] = _feed(graph, index, batch, values[index])
        operator.inputs = np.array([feeds.get(index, (index,))[0] for index in wanted], np.int32)
    names = {own: f"known-{index}" for index, (_, own) in feeds.items()}
    graph.operators = [_reshape(tree, graph, *feed) for feed in feeds.values()] + graph.operators
    _set_interface(tree, results, names)
    known = {
        names[own]: values[index].reshape(len(values[index]), -1)
        for index, (_, own) in feeds.items()
    }
    return flatbuffer.serialize(tree), known


def _feed(graph: Any, index: int, batch: int, values: NDArray[Any]) -> tuple[int, int]:
    """A copy of a tensor, and an input of the model with a row for each sample.

    Inferences are fed with samples, and a tensor inside a model need not begin with its batch.
    """
    one = copy(graph.tensors[index])
    rank = len(flatbuffer.indices(one.shape))
    shape = (batch, *values.shape[1:]) if rank == values.ndim else values.shape[1:]
    one.shape, one.shapeSignature = np.array(shape, np.int32), None
    row = copy(one)
    row.shape = np.array([batch, values.size // len(values)], np.int32)
    graph.tensors += [one, row]
    return len(graph.tensors) - 2, len(graph.tensors) - 1


def _reshape(tree: Any, graph: Any, whole: int, row: int) -> Any:
    kit = flatbuffer.schema()
    shape = np.array(flatbuffer.indices(graph.tensors[whole].shape), np.int32)
    operator = kit.OperatorT()
    operator.opcodeIndex = flatbuffer.add_opcode(tree, "RESHAPE")
    shape_index = flatbuffer.add_constant(tree, graph, f"known-{row}/shape", shape)
    operator.inputs = np.array([row, shape_index], np.int32)
    operator.outputs = np.array([whole], np.int32)
    operator.builtinOptionsType = kit.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = kit.ReshapeOptionsT()
    operator.builtinOptions.newShape = shape
    return operator


def _set_interface(tree: Any, results: Sequence[Result], added: Mapping[int, str]) -> None:
    """Name the results as outputs, and more tensors as inputs beside those that there are."""
    graph = tree.subgraphs[0]
    specs, _ = flatbuffer.interface(tree)
    graph.inputs = np.array([*flatbuffer.indices(graph.inputs), *added], np.int32)
    graph.outputs = np.array([result.index for result in results], np.int32)
    inputs = [*(spec.name for spec in specs), *added.values()]
    flatbuffer.set_interface(tree, inputs, [result.output for result in results])
