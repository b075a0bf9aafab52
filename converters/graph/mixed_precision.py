"""Mixed precision: some operators of an INT8 model with INT16 activations, or in float.

TensorFlow Lite's quantizer makes a whole model INT8, or a whole model 16x8; it can
leave operators of some kinds in float, but not of others. Every quantization of a model keeps the
operators of the float model in their order, so an operator can take the place of its INT8 twin,
with QUANTIZE and DEQUANTIZE where two precisions meet.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np

from edgeq.errors import QuantizationError
from edgeq.tflite import flatbuffer
from edgeq.tflite.operators import CONVERTING, reading_version

_OLDEST_RUNTIME = "2.6.0"  # of INT16, see `schemes`


def mix_in(
    base: bytes, twin: bytes, precision: str, source: bytes, names: Collection[str]
) -> bytes:
    """Replace operators of a quantized model by those of the same model in another precision.

    Args:
        base: the flatbuffer to change, INT8 except for earlier replacements.
        twin: the flatbuffer with the operators to put in.
        precision: of those operators' activations, "int16" or "float32".
        source: the float model that both come from.
        names: of the first outputs of the operators in the float model.

    Raises:
        QuantizationError: an operator has no kernel of that precision, or the two models do not
            have the same operators.
    """
    if not names:
        return base
    tree, real = (
        flatbuffer.parse(base, "the quantized model"),
        flatbuffer.parse(source, "its source"),
    )
    chosen = frozenset(
        number
        for number, operator in enumerate(_computing(real))
        if flatbuffer.tensor_name(real.subgraphs[0], operator.outputs[0]) in names
    )
    _Splice(tree, flatbuffer.parse(twin, "its twin"), precision).run(chosen)
    if precision == "int16":
        flatbuffer.require_runtime(tree, _OLDEST_RUNTIME)
    return flatbuffer.serialize(tree)


class _Splice:
    """The base on its way to a mixed model.

    Operators are paired by their order, and through them the tensors.
    """

    def __init__(self, tree: Any, twin: Any, precision: str):
        self._tree, self._twin, self._precision = tree, twin, precision
        self._graph, self._twin_graph = tree.subgraphs[0], twin.subgraphs[0]
        self._twin_of = pair_operators(tree, twin)
        self._ends = set(flatbuffer.indices(self._graph.outputs))
        # A tensor of the twin to the base's.
        self._own = dict(
            zip(flatbuffer.indices(self._twin_graph.inputs), _entries(tree), strict=True)
        )
        for operator in self._graph.operators:
            if (theirs := self._twin_of.get(id(operator))) is not None:
                pair = (flatbuffer.indices(op.outputs) for op in (theirs, operator))
                self._own.update(zip(*pair, strict=True))
        self._makers = {
            index: op
            for op in self._twin_graph.operators
            for index in flatbuffer.indices(op.outputs)
        }
        self._ready: dict[int, int] = {}  # tensor of the base to the same one in our precision
        self._original: dict[int, int] = {}  # copy of a replaced operator's result to that result
        self._operators: list[Any] = []

    def run(self, chosen: Collection[int]) -> None:
        """Do it.

        Args:
            chosen: numbers of operators, counted over those that compute.
        """
        number = 0
        for operator in self._graph.operators:
            if _converts(self._tree, operator):
                self._rewire(operator)
                continue
            if number in chosen:
                self._replace(operator, self._twin_of[id(operator)])
            else:
                self._operators.append(self._resolve(operator))
            number += 1
        read = set(self._ends)
        kept = []
        for operator in reversed(self._operators):
            is_read = read & set(flatbuffer.indices(operator.outputs))
            if is_read or not _converts(self._tree, operator):  # nobody reads some conversions
                read |= set(flatbuffer.indices(operator.inputs))
                kept.append(operator)
        self._graph.operators = kept[::-1]

    def _name(self, index: int) -> str:
        """The name of a tensor of the twin, which keeps the float model's names."""
        return flatbuffer.tensor_name(self._twin_graph, index)

    def _replace(self, ours: Any, theirs: Any) -> None:
        """Put the twin's operator in, and behind it copies in the precision of ours."""
        kind = flatbuffer.operator_name(self._twin, theirs)
        touched = (*flatbuffer.indices(theirs.inputs), *flatbuffer.indices(theirs.outputs))
        kinds = {
            flatbuffer.dtype(self._twin_graph.tensors[index]) for index in touched if index >= 0
        }
        if self._precision == "int16" and "float32" in kinds:
            raise QuantizationError(
                f"TensorFlow Lite has no 16x8 kernel for {kind} ({self._name(theirs.outputs[0])}).",
                hint="Remove it from --int16, or keep it in float with --keep-float.",
            )
        code = self._twin.operatorCodes[theirs.opcodeIndex]
        made = copy.copy(theirs)
        made.opcodeIndex = flatbuffer.add_opcode(self._tree, kind, code.version)
        made.inputs = np.array([self._input(i) for i in flatbuffer.indices(theirs.inputs)], "i4")
        pairs = list(
            zip(flatbuffer.indices(ours.outputs), flatbuffer.indices(theirs.outputs), strict=True)
        )
        end_names = {flatbuffer.tensor_name(self._graph, index) for index in self._ends}
        results = []
        for own, other in pairs:
            if self._is_same(own, other):
                results.append(own)
                continue
            name = self._name(other)
            is_taken = own in self._ends or name in end_names
            results.append(self._adopt(other, f"{name}_{self._precision}" if is_taken else name))
            if not is_taken:
                self._graph.tensors[own].name = f"{name}_{self._dtype(own)}".encode()
        made.outputs = np.array(results, "i4")
        self._operators.append(made)
        for (own, _), result in zip(pairs, results, strict=True):
            if result != own:
                self._convert(result, own)
                self._ready[own] = self._original[own] = result

    def _input(self, index: int) -> int:
        """The tensor of the base that an operator of the twin reads, converted if necessary."""
        if index < 0:
            return index
        tensor = self._twin_graph.tensors[index]
        if flatbuffer.is_constant(self._twin, tensor):
            return self._adopt(index, self._name(index))
        # Through any number of conversions, the tensor that this one was made of.
        origin, maker = index, self._makers.get(index)
        while maker is not None and _converts(self._twin, maker):
            origin = flatbuffer.indices(maker.inputs)[0]
            maker = self._makers.get(origin)
        own = self._own[origin]
        for candidate in (own, self._ready.get(own, own)):
            if self._is_same(candidate, index):
                return candidate
        made = self._adopt(index, f"{self._name(index)}_{self._precision}")
        self._convert(self._ready.get(own, own), made)
        self._ready.setdefault(own, made)
        return made

    def _is_same(self, own: int, other: int) -> bool:
        """Whether a tensor of the base holds the same values as one of the twin."""
        ours = flatbuffer.tensor_spec(self._graph.tensors[own], "")
        theirs = flatbuffer.tensor_spec(self._twin_graph.tensors[other], "")
        if ours.dtype != theirs.dtype:
            return False
        is_plain = ours.dtype not in ("int8", "int16", "uint8")
        return is_plain or (ours.scales, ours.zero_points) == (theirs.scales, theirs.zero_points)

    def _rewire(self, operator: Any) -> None:
        """A conversion reads the original where it can: each rounding loses."""
        (source,) = flatbuffer.indices(operator.inputs)
        (target,) = flatbuffer.indices(operator.outputs)
        original = self._original.get(source)
        if original is None or self._dtype(target) == "uint8":
            self._operators.append(operator)  # to UINT8 there is a kernel from INT8 only
        elif self._dtype(original) != "float32" or self._dtype(target) != "float32":
            self._convert(original, target)
        elif target in self._ends and original not in self._ends:
            self._rename(original, target)
        else:
            self._original[target] = original
            self._operators.append(operator)

    def _rename(self, index: int, other: int) -> None:
        """Let the operator that makes one tensor make the other, which is a model's output."""
        for operator in self._operators:
            for side in ("inputs", "outputs"):
                old = flatbuffer.indices(getattr(operator, side))
                if index in old:
                    changed = [other if item == index else item for item in old]
                    setattr(operator, side, np.array(changed, "i4"))
        for known in (self._ready, self._original):
            known.update({key: other for key, value in known.items() if value == index})

    def _resolve(self, operator: Any) -> Any:
        """An operator that stays; a float one reads a float result itself, not its copy."""
        operator.inputs = np.array(
            [
                self._original.get(index, index)
                if index >= 0 and self._dtype(index) == self._precision
                else index
                for index in flatbuffer.indices(operator.inputs)
            ],
            "i4",
        )
        return operator

    def _convert(self, source: int, target: int) -> None:
        name = "DEQUANTIZE" if self._dtype(target) == "float32" else "QUANTIZE"
        version = reading_version(name, self._dtype(source))
        self._operators.append(
            flatbuffer.make_operator(self._tree, name, [source], [target], version=version)
        )

    def _dtype(self, index: int) -> str:
        return flatbuffer.dtype(self._graph.tensors[index])

    def _adopt(self, index: int, name: str) -> int:
        """A tensor of the twin in the base."""
        tensor = copy.copy(self._twin_graph.tensors[index])
        tensor.name = name.encode()
        tensor.buffer = 0
        if flatbuffer.is_constant(self._twin, self._twin_graph.tensors[index]):
            values = flatbuffer.constant(self._twin, self._twin_graph.tensors[index])
            tensor.buffer = flatbuffer.add_buffer(self._tree, values)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1


def _computing(tree: Any) -> list[Any]:
    return [op for op in tree.subgraphs[0].operators if not _converts(tree, op)]


def pair_operators(tree: Any, twin: Any) -> dict[int, Any]:
    """`id` of each operator of a model that computes, to that of its twin.

    Raises:
        QuantizationError: the two do not have the same operators.
    """
    ours, theirs = _computing(tree), _computing(twin)
    names = [flatbuffer.operator_name(tree, op) for op in ours]
    if names != [flatbuffer.operator_name(twin, op) for op in theirs]:
        raise QuantizationError(
            "TensorFlow Lite's quantizer changed the operators, so precisions cannot be mixed.",
            hint="Remove --keep-float and --int16, or use --scheme int16x8.",
        )
    return {id(own): other for own, other in zip(ours, theirs, strict=True)}


def _converts(tree: Any, operator: Any) -> bool:
    return flatbuffer.operator_name(tree, operator) in CONVERTING


def _entries(tree: Any) -> list[int]:
    """The model's inputs; a UINT8 one is known by the INT8 tensor made from it."""
    graph = tree.subgraphs[0]
    made = {
        flatbuffer.indices(op.inputs)[0]: flatbuffer.indices(op.outputs)[0]
        for op in graph.operators
        if flatbuffer.operator_name(tree, op) == "QUANTIZE"
    }
    uint8 = flatbuffer.dtype_code("uint8")
    return [
        made.get(index, index) if graph.tensors[index].type == uint8 else index
        for index in flatbuffer.indices(graph.inputs)
    ]
