"""What each operator of a quantized model costs: its own error, carried to the outputs alone.

The float model runs operator by operator. Beside each of them its quantized twin runs on the same
inputs, quantized; what it gives replaces the float result, and the rest of the float model shows
what becomes of that one error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq import flatbuffer, quantmath
from edgeq.converters.mixing import pair_operators
from edgeq.converters.squashing import unsquash
from edgeq.converters.stepping import Stepper, run_operators
from edgeq.values import LayerEffect

Array = NDArray[Any]

# Carrying an error to the outputs costs a run of the rest of the model; of models with more
# operators, those with the largest errors of their own are carried.
_MOST_CARRIED = 64


def measure_effects(
    real: bytes, made: bytes, inputs: Mapping[str, Array], threads: int = 1
) -> tuple[LayerEffect, ...]:
    """The operators of a quantized model by what they cost, worst first.

    Args:
        real: the float flatbuffer.
        made: the flatbuffer that a quantizer made of it.
        inputs: input name to [samples, ...] with the tensor's own shape, in real units.

    Raises:
        QuantizationError: the two models have different operators.
        RuntimeError, ValueError: the interpreter refused an operator.
    """
    tree = flatbuffer.parse(unsquash(real), "the float model")
    twins = _Twins(tree, flatbuffer.parse(unsquash(made), "the quantized model"), threads)
    own_errors = {}
    stepper = Stepper(tree, inputs, threads)
    while not stepper.is_finished:
        position = stepper.position
        replaced = twins.run(stepper)
        stepper.step()
        errors = [_error(stepper.values.get(index), values) for index, values in replaced.items()]
        if errors:
            own_errors[position] = max(errors)
    ends = {index: stepper.values[index] for index in flatbuffer.indices(stepper.graph.outputs)}
    worst = sorted(own_errors, key=lambda place: (-own_errors[place], place))[:_MOST_CARRIED]
    effects = [
        _describe(stepper, position, values, ends)
        for position, values in twins.carry(tree, inputs, frozenset(worst))
    ]
    return tuple(sorted(effects, key=lambda effect: effect.sqnr_db))


class _Twins:
    """The quantized operators of a model beside their float twins."""

    def __init__(self, tree: Any, made: Any, threads: int):
        self._tree, self._made, self._threads = tree, made, threads
        self._of = pair_operators(tree, made)

    def run(self, stepper: Stepper) -> dict[int, Array]:
        """What the twin of the next operator makes of its inputs.

        Returns:
            Index in the float model to [samples, ...] in real units; empty for an operator that
            is float in both, or that has no values to lose.
        """
        operator = stepper.graph.operators[stepper.position]
        twin = self._of.get(id(operator))
        if twin is None or not self._is_quantized(twin):
            return {}
        pairs = zip(
            flatbuffer.indices(operator.inputs), flatbuffer.indices(twin.inputs), strict=True
        )
        tensors = self._made.subgraphs[0].tensors
        given = {
            theirs: quantmath.quantize(
                stepper.values[ours], flatbuffer.tensor_spec(tensors[theirs], "")
            )
            for ours, theirs in pairs
            if ours in stepper.values
        }
        wanted = flatbuffer.indices(twin.outputs)
        results = run_operators(self._made, [twin], wanted, given, stepper.count, self._threads)
        return {
            ours: np.asarray(
                quantmath.dequantize(results[theirs], flatbuffer.tensor_spec(tensors[theirs], "")),
                np.float32,
            )
            for ours, theirs in zip(flatbuffer.indices(operator.outputs), wanted, strict=True)
        }

    def carry(
        self, tree: Any, inputs: Mapping[str, Array], positions: frozenset[int]
    ) -> list[tuple[int, dict[int, Array]]]:
        """The model's outputs with the error of one operator alone, for each of some operators."""
        stepper = Stepper(tree, inputs, self._threads)
        carried = []
        while not stepper.is_finished:
            position = stepper.position
            replaced = self.run(stepper) if position in positions else {}
            stepper.step()
            if replaced:
                values = {**stepper.values, **replaced}
                carried.append((position, _finish(stepper, values, self._threads)))
        return carried

    def _is_quantized(self, operator: Any) -> bool:
        tensors = self._made.subgraphs[0].tensors
        kind = tensors[flatbuffer.indices(operator.outputs)[0]].type
        return flatbuffer.dtype_names()[kind] in ("int8", "uint8", "int16")


def _finish(stepper: Stepper, values: Mapping[int, Array], threads: int) -> dict[int, Array]:
    """The outputs of a model whose operators before `stepper.position` gave these values."""
    rest = stepper.graph.operators[stepper.position :]
    outputs = flatbuffer.indices(stepper.graph.outputs)
    made = {index for operator in rest for index in flatbuffer.indices(operator.outputs)}
    wanted = [index for index in dict.fromkeys(outputs) if index in made]
    results = {index: values[index] for index in outputs if index not in made}
    if wanted:
        needed = _needed(rest, wanted)
        count = stepper.count
        results |= run_operators(stepper.tree, needed, wanted, values, count, threads)
    return results


def _needed(operators: list[Any], wanted: list[int]) -> list[Any]:
    """Those of some operators that the wanted tensors depend on."""
    read, kept = set(wanted), []
    for operator in reversed(operators):
        if read & set(flatbuffer.indices(operator.outputs)):
            read |= set(flatbuffer.indices(operator.inputs))
            kept.append(operator)
    return kept[::-1]


def _error(real: Array | None, given: Array) -> float:
    """Squared error relative to the energy; 0 for what nobody reads."""
    if real is None:
        return 0.0
    wanted = real.astype(np.float64)
    return float(np.sum((wanted - given) ** 2) / max(float(np.sum(wanted**2)), 1e-30))


def _describe(
    stepper: Stepper, position: int, values: Mapping[int, Array], ends: Mapping[int, Array]
) -> LayerEffect:
    operator = stepper.graph.operators[position]
    name = stepper.graph.tensors[flatbuffer.indices(operator.outputs)[0]].name
    worst = max(_error(ends[index], values[index]) for index in ends)
    decibel = -10 * float(np.log10(worst)) if worst > 0 else float("inf")
    kind = flatbuffer.operator_name(stepper.tree, operator)
    return LayerEffect(flatbuffer.text(name), kind, decibel)
