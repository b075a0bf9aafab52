"""The differences between two quantized `.tflite` files of the same float model, in words.

Operators are paired by the flow of data, from the outputs back to the inputs, so the order in which
a file stores them makes no difference. Tensors are paired through their operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CONVERTING, WEIGHT_INPUT, release

BIAS_INPUT = {
    "CONV_2D": 2,
    "CONV_3D": 2,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 2,
    "TRANSPOSE_CONV": 3,
}
_MOST_NAME = 60  # characters of a tensor's name
_NO_TENSOR = -1


def differences(ours: bytes, theirs: bytes, *, same_versions: bool = True) -> list[str]:
    """Compare dtypes, constants, scales, zero points, operators and their versions.

    Args:
        ours: the file to check.
        theirs: the file that it must equal.
        same_versions: False if our operators may be newer, as theirs keep the float model's
            versions.

    Returns:
        One sentence for each difference, in the order in which `ours` executes.
    """
    one, other = (flatbuffer.parse(content, "a file to compare") for content in (ours, theirs))
    found = [*_interfaces(one, other)]
    if len(one.subgraphs) != len(other.subgraphs):
        return [*found, f"{len(one.subgraphs)} subgraphs instead of {len(other.subgraphs)}"]
    for number in range(len(one.subgraphs)):
        found += _Pairs(one, other, number, same_versions).differences()
    return [*found, *_operator_lists(one, other)]


def float_operators(content: bytes) -> tuple[str, ...]:
    """Names of the operators that compute in float, sorted; empty if the file is full integer."""
    tree = flatbuffer.parse(content, "the quantized file")
    found = {
        flatbuffer.operator_name(tree, operator)
        for graph in tree.subgraphs
        for operator in graph.operators
        for index in flatbuffer.indices(operator.outputs)
        if flatbuffer.dtype(graph.tensors[index]) == "float32"
    }
    return tuple(sorted(found - {"DEQUANTIZE"}))


def change_one_bias(content: bytes) -> tuple[bytes, str]:
    """Add 1 to the first value of the last bias.

    Returns:
        The file, and the operator and tensor as `differences` must name them.

    Raises:
        ValueError: the file has no integer bias.
    """
    tree = flatbuffer.parse(content, "the file to change")
    graph = tree.subgraphs[0]
    for operator in reversed(graph.operators):
        name = flatbuffer.operator_name(tree, operator)
        inputs = flatbuffer.indices(operator.inputs)
        place = BIAS_INPUT.get(name, len(inputs))
        if place >= len(inputs) or inputs[place] == _NO_TENSOR:
            continue
        tensor = graph.tensors[inputs[place]]
        if not flatbuffer.is_constant(tree, tensor) or flatbuffer.dtype(tensor) == "float32":
            continue
        values = flatbuffer.constant(tree, tensor).copy()
        values.reshape(-1)[0] += 1
        tensor.buffer = flatbuffer.add_buffer(tree, values)
        return flatbuffer.serialize(tree), f"{_shown(tree, graph, operator)}: bias[0] "
    raise ValueError("the file has no integer bias")


# ---------------------------------------------------------------- whole files


def _interfaces(one: Any, other: Any) -> Iterator[str]:
    for side, ours, theirs in zip(
        ("input", "output"), flatbuffer.interface(one), flatbuffer.interface(other), strict=True
    ):
        names = [[spec.name for spec in specs] for specs in (ours, theirs)]
        if names[0] != names[1]:
            yield f"{side}s {', '.join(names[0])} instead of {', '.join(names[1])}"
    own, wanted = (
        [flatbuffer.text(item.signatureKey) for item in tree.signatureDefs or ()]
        for tree in (one, other)
    )
    if own != wanted:
        yield f"signatures {own} instead of {wanted}"
    states, needs = map(flatbuffer.min_runtime_version, (one, other))
    if needs is not None and (states is None or release(states) < release(needs)):
        yield f"minimum runtime version {states} instead of {needs}"


def _operator_lists(one: Any, other: Any) -> Iterator[str]:
    """Compare how many operators of each kind there are: the pairs miss unread ones."""
    counts = [
        Counter(
            flatbuffer.operator_name(tree, item)
            for graph in tree.subgraphs
            for item in graph.operators
        )
        for tree in (one, other)
    ]
    for name in sorted(counts[0].keys() | counts[1].keys()):
        own, wanted = (count[name] for count in counts)
        if own != wanted:
            yield f"{own} operators {name} instead of {wanted}"


def _shown(tree: Any, graph: Any, operator: Any) -> str:
    """An operator as messages name it: its kind and the tensor that it computes."""
    outputs = flatbuffer.indices(operator.outputs)
    name = flatbuffer.tensor_name(graph, outputs[0]) if outputs else "without outputs"
    name = name.partition(";")[0]
    if len(name) > _MOST_NAME:
        name = f"...{name[-_MOST_NAME:]}"
    return f"{flatbuffer.operator_name(tree, operator)} {name}"


# ---------------------------------------------------------------- pairs of operators and tensors


class _Pairs:
    """The paired operators and tensors of one subgraph of two files."""

    def __init__(self, one: Any, other: Any, number: int, same_versions: bool):
        self.trees, self._same_versions = (one, other), same_versions
        self.graphs = one.subgraphs[number], other.subgraphs[number]
        self._makers = tuple(
            {
                index: (place, position)
                for place, operator in enumerate(graph.operators)
                for position, index in enumerate(flatbuffer.indices(operator.outputs))
            }
            for graph in self.graphs
        )
        self._waiting: list[tuple[int, int, str]] = []
        self._seen: set[tuple[int, int]] = set()
        self._found: list[tuple[int, str]] = []  # (place of our operator, sentence)

    def differences(self) -> list[str]:
        """Follow the data from the outputs back, and return the differences in our order."""
        for side in ("outputs", "inputs"):
            ours, theirs = (flatbuffer.indices(getattr(graph, side)) for graph in self.graphs)
            if len(ours) != len(theirs):
                return [f"{len(ours)} {side} instead of {len(theirs)}"]
            self._waiting += [
                (a, b, f"{side[:-1]} {flatbuffer.tensor_name(self.graphs[1], b)}")
                for a, b in zip(ours, theirs, strict=True)
            ]
        while self._waiting:
            a, b, shown = self._waiting.pop()
            if (a, b) not in self._seen:
                self._seen.add((a, b))
                self._pair_tensors(a, b, shown)
        return [sentence for _, sentence in sorted(self._found, key=lambda item: item[0])]

    def _say(self, place: int | None, sentence: str) -> None:
        self._found.append((len(self.graphs[0].operators) if place is None else place, sentence))

    def _pair_tensors(self, a: int, b: int, shown: str) -> None:
        """Compare what makes two tensors; `_pair_operators` compares the tensors themselves."""
        makers = [self._makers[0].get(a), self._makers[1].get(b)]
        if makers[0] is None or makers[1] is None:
            if makers != [None, None]:
                self._skip_conversion(makers, a, b, shown)
                return
            sides = [
                flatbuffer.indices(graph.inputs).index(index) if index in graph.inputs else None
                for graph, index in zip(self.graphs, (a, b), strict=True)
            ]
            if sides[0] != sides[1]:
                self._say(None, f"{shown} comes from another input of the model")
            for text in self._compare_tensors(a, b):
                self._say(0, f"{shown}: {text}")
            return
        own, wanted = (
            graph.operators[maker[0]] for graph, maker in zip(self.graphs, makers, strict=True)
        )
        names = [
            flatbuffer.operator_name(tree, item)
            for tree, item in zip(self.trees, (own, wanted), strict=True)
        ]
        if names[0] != names[1] and set(names) & CONVERTING:
            self._skip_conversion(makers, a, b, shown)
        elif makers[0][1] != makers[1][1]:
            self._say(makers[0][0], f"{shown} comes from another output of {names[1]}")
        else:
            self._pair_operators(makers[0][0], own, wanted)

    def _skip_conversion(self, makers: list[Any], a: int, b: int, shown: str) -> None:
        """Report a QUANTIZE or DEQUANTIZE that one file has, and continue behind it."""
        for side, says in ((0, "extra"), (1, "missing")):
            if makers[side] is None:
                continue
            tree, graph = self.trees[side], self.graphs[side]
            operator = graph.operators[makers[side][0]]
            if flatbuffer.operator_name(tree, operator) in CONVERTING:
                place = None if makers[0] is None else makers[0][0]
                self._say(place, f"{shown}: {says} {_shown(tree, graph, operator)}")
                source = flatbuffer.indices(operator.inputs)[0]
                self._waiting.append((source, b, shown) if side == 0 else (a, source, shown))
                return
        self._say(None, f"{shown} is computed in one file and constant in the other")

    def _pair_operators(self, place: int, own: Any, wanted: Any) -> None:
        """Compare two operators, their tensors and options, and queue what they read."""
        shown = _shown(self.trees[1], self.graphs[1], wanted)
        for text in self._compare_operators(own, wanted):
            self._say(place, f"{shown}: {text}")
        name = flatbuffer.operator_name(self.trees[1], wanted)
        for side in ("inputs", "outputs"):
            ours, theirs = (flatbuffer.indices(getattr(item, side)) for item in (own, wanted))
            if len(ours) != len(theirs):
                self._say(place, f"{shown}: {len(ours)} {side} instead of {len(theirs)}")
            for number, (a, b) in enumerate(zip(ours, theirs, strict=False)):
                role = _role(name, number) if side == "inputs" else f"output {number}"
                if _NO_TENSOR in (a, b):
                    if a != b:
                        self._say(place, f"{shown}: {role} is {'missing' if b >= 0 else 'extra'}")
                    continue
                # The output of one operator is the input of the next: it is reported once.
                if side == "outputs" or self._is_constant(0, a) or self._is_constant(1, b):
                    self._seen.add((a, b))
                    for text in self._compare_tensors(a, b):
                        self._say(place, f"{shown}: {_placed(role, text)}")
                else:
                    self._waiting.append((a, b, f"{role} of {shown}"))

    def _is_constant(self, side: int, index: int) -> bool:
        return flatbuffer.is_constant(self.trees[side], self.graphs[side].tensors[index])

    def _compare_operators(self, own: Any, wanted: Any) -> Iterator[str]:
        codes = [
            tree.operatorCodes[item.opcodeIndex]
            for tree, item in zip(self.trees, (own, wanted), strict=True)
        ]
        names = [
            flatbuffer.operator_name(tree, item)
            for tree, item in zip(self.trees, (own, wanted), strict=True)
        ]
        if names[0] != names[1]:
            yield f"{names[0]} instead of {names[1]}"
        elif codes[0].version < codes[1].version or (
            self._same_versions and codes[0].version != codes[1].version
        ):
            yield f"version {codes[0].version} instead of {codes[1].version}"
        options = [_plain(item.builtinOptions) for item in (own, wanted)]
        for field in sorted(options[0].keys() | options[1].keys()):
            values = [item.get(field) for item in options]
            if values[0] != values[1]:
                yield f"option {field} {values[0]} instead of {values[1]}"

    def _compare_tensors(self, a: int, b: int) -> Iterator[str]:
        own, wanted = self.graphs[0].tensors[a], self.graphs[1].tensors[b]
        kinds = flatbuffer.dtype(own), flatbuffer.dtype(wanted)
        if kinds[0] != kinds[1]:
            yield f"dtype {kinds[0]} instead of {kinds[1]}"
        shapes = flatbuffer.indices(own.shape), flatbuffer.indices(wanted.shape)
        if shapes[0] != shapes[1]:
            yield f"shape {shapes[0]} instead of {shapes[1]}"
        yield from _quantizations(own.quantization, wanted.quantization)
        constants = self._is_constant(0, a), self._is_constant(1, b)
        if constants[0] != constants[1]:
            yield "constant" if constants[0] else "not constant"
        elif constants[0] and kinds[0] == kinds[1] and shapes[0] == shapes[1]:
            values = [
                np.asarray(tree.buffers[tensor.buffer].data, np.uint8)
                if kinds[0] in ("string", "resource", "variant")
                else flatbuffer.constant(tree, tensor)
                for tree, tensor in zip(self.trees, (own, wanted), strict=True)
            ]
            yield from _vectors("", values[0], values[1])


def _role(operator: str, number: int) -> str:
    if number == BIAS_INPUT.get(operator):
        return "bias"
    if number == WEIGHT_INPUT.get(operator):
        return "weights"
    return f"input {number}"


def _placed(role: str, text: str) -> str:
    """A difference of a tensor with the tensor's role: "bias[3] 118 instead of 117"."""
    return f"{role}{text}" if text.startswith("[") else f"{text} ({role})"


def _plain(options: Any) -> dict[str, Any]:
    """The options of an operator as comparable values."""
    if options is None:
        return {}
    found = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(options).items()
    }
    kinds = flatbuffer.schema().TensorType
    if found.get("quantizedBiasType") == kinds.FLOAT32:
        # Kernels take the default as INT64; stated, it needs a version that tflite-runtime refuses.
        found["quantizedBiasType"] = kinds.INT64
    return found


def _quantizations(own: Any, wanted: Any) -> Iterator[str]:
    scales = [_numbers(item, "scale", np.float32) for item in (own, wanted)]
    yield from _vectors("scale", *scales)
    points = [_numbers(item, "zeroPoint", np.int64) for item in (own, wanted)]
    yield from _vectors("zero point", *points)
    if min(map(len, scales)) > 1 and own.quantizedDimension != wanted.quantizedDimension:
        yield f"quantized dimension {own.quantizedDimension} instead of {wanted.quantizedDimension}"


def _numbers(quantization: Any, field: str, dtype: type) -> np.ndarray:
    values = None if quantization is None else getattr(quantization, field)
    return np.zeros(0, dtype) if values is None else np.asarray(values, dtype)


def _vectors(what: str, own: np.ndarray, wanted: np.ndarray) -> Iterator[str]:
    """The first difference between two arrays, and the number of differences."""
    if own.shape != wanted.shape:
        yield f"{own.size} numbers instead of {wanted.size} for the {what}"
        return
    unequal = np.flatnonzero((own != wanted).reshape(-1) & ~_both_nan(own, wanted))
    if not len(unequal):
        return
    first = int(unequal[0])
    form = ".9g" if own.dtype.kind == "f" else "d"
    values = [f"{array.reshape(-1)[first]:{form}}" for array in (own, wanted)]
    place = f"{what}[{first}]" if own.size > 1 or not what else what
    most = np.abs(own.astype(np.float64) - wanted.astype(np.float64)).max()
    counted = f" ({len(unequal)} of {own.size} differ, by {most:.3g} at most)"
    yield f"{place} {values[0]} instead of {values[1]}{counted if len(unequal) > 1 else ''}"


def _both_nan(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if own.dtype.kind != "f":
        return np.zeros(own.size, bool)
    return (np.isnan(own) & np.isnan(wanted)).reshape(-1)
