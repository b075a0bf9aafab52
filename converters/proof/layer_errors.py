"""The cost of each operator of a quantized model: its own error, and its effect on the outputs.

The float model runs operator by operator. Beside each of them its quantized twin runs on the same
inputs, quantized; its result replaces the float result, and the rest of the float model shows the
effect of that one error. The whole quantized model runs beside them as well: there the
errors of all operators before have accumulated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.columns import find_columns
from edgeq.accuracy.parts import PartMeter
from edgeq.converters.calibration.logits import expose_logits
from edgeq.converters.calibration.norm_scales import open_norms
from edgeq.converters.calibration.saturation import Limit, find_limits, needed_rows, read_by_softmax
from edgeq.converters.graph.dequantized import float_twin
from edgeq.converters.graph.matching import match_operators
from edgeq.converters.graph.operator_stepper import Stepper, run_operators
from edgeq.converters.proof.equalized_channels import find_equalized
from edgeq.tflite import flatbuffer, quantmath
from edgeq.values import LayerEffect

Array = NDArray[Any]
Values = dict[int, Array]

# Carrying an error to the outputs costs a run of the rest of the model; of models with more
# operators, those with the largest own errors are carried.
MOST_CARRIED = 64


@dataclass(frozen=True)
class Step:
    """One matched operator; all arrays are [samples, ...] in real units.

    Results are clipped to the range in which the operators behind them can tell values apart.

    Attributes:
        position: in the float model.
        twin: in the quantized model.
        inputs: float tensor index to its values, of what is computed.
        expected: float tensor index to the float result.
        alone: the same, from the twin on these inputs.
        accumulated: the same, from the twin in the quantized model.
    """

    position: int
    twin: int
    inputs: Values
    expected: Values
    alone: Values
    accumulated: Values

    @property
    def own_error(self) -> float:
        """Squared error of the twin alone, relative to the energy; of the worst result."""
        return max(relative_error(real, self.alone[i]) for i, real in self.expected.items())

    @property
    def accumulated_error(self) -> float:
        """The same in the quantized model."""
        return max(relative_error(real, self.accumulated[i]) for i, real in self.expected.items())


class Pair:
    """A float model and a quantized model made from it.

    Args:
        real: the float flatbuffer.
        made: the quantized one.
        inputs: input name to [samples, ...] with the tensor's own shape, in real units.
        names: input name of the quantized model to the float model's, where they differ.

    Attributes:
        tree: the float model, its outputs taken before their final activation.
        ends: its outputs by tensor index as their final activations see them, after `walk`.
        columns: of its outputs by tensor index, see `columns.find_columns`.

    Raises:
        DataError: these are two different models.
    """

    def __init__(
        self,
        real: bytes,
        made: bytes,
        inputs: Mapping[str, Array],
        names: Mapping[str, str] | None = None,
        threads: int = 1,
    ):
        real = _with_norm_scales(real, made)
        self.tree = flatbuffer.parse(expose_logits(real), "the float model")
        # In FP16 and weight-only files, weights are the results of DEQUANTIZE operators.
        self.made = flatbuffer.parse(expose_logits(float_twin(made)), "the quantized model")
        before = flatbuffer.parse(made, "the quantized model")
        sides = (before.subgraphs[0].tensors, self.made.subgraphs[0].tensors)
        # Computed from constants alone in the file, constants here.
        self._widened = frozenset(
            index
            for index, (old, new) in enumerate(zip(*sides, strict=True))
            if flatbuffer.is_constant(self.made, new) and not flatbuffer.is_constant(before, old)
        )
        self._whole = flatbuffer.parse(real, "the float model")  # the same tensors, all outputs
        self.matches = match_operators(self.tree, self.made)
        self._inputs, self._threads = inputs, threads
        self._made_inputs = {own: inputs[name] for own, name in (names or {}).items()} or inputs
        self.ends: Values = {}
        by_name, (_, outputs) = find_columns(self.tree), flatbuffer.interface(self.tree)
        ends = zip(outputs, flatbuffer.indices(self.tree.subgraphs[0].outputs), strict=True)
        self.columns = {index: by_name[spec.name] for spec, index in ends if spec.name in by_name}
        # An equalized tensor has other units in the quantized model: by channel, over ours.
        self._units: Values = find_equalized(self.tree, self.made, self.matches)
        self._limits: dict[int, Limit] = find_limits(self._whole, {})
        self._by_softmax = read_by_softmax(self._whole)

    def walk(self) -> Iterator[Step]:
        """Every matched operator that is quantized, in execution order.

        Raises:
            RuntimeError, ValueError: the interpreter refused an operator.
        """
        real = Stepper(self.tree, self._inputs, self._threads)
        made = Stepper(self.made, self._made_inputs, self._threads)
        while not real.is_finished:
            twin = self.matches.get(real.position)
            if twin is None or not self._is_quantized(twin):
                real.step()
                continue
            position, before = real.position, dict(real.values)
            read = set(flatbuffer.indices(real.graph.operators[position].inputs))
            inputs = {index: before[index] for index in read if index in before}
            real.step()
            made.run_to(twin + 1)
            pairs = self._result_pairs(position, twin)
            seen = [(a, b) for a, b in pairs if a in real.values and b in made.values]
            if seen:
                accumulated = {a: self._in_real_units(a, made.real(b)) for a, b in seen}
                alone = self._run_twin(before, position, real.count)
                wanted = {ours: real.values[ours] for ours, _ in seen}
                sides = (wanted, {ours: alone[ours] for ours, _ in seen}, accumulated)
                yield Step(position, twin, inputs, *(self.clip(side, wanted) for side in sides))
        ends = {index: real.values[index] for index in flatbuffer.indices(real.graph.outputs)}
        self.ends = self.clip(ends, ends)

    def carry(self, positions: Collection[int]) -> Iterator[tuple[int, Values]]:
        """The model's outputs with the error of one operator alone, for each of some operators."""
        stepper = Stepper(self.tree, self._inputs, self._threads)
        while not stepper.is_finished:
            position = stepper.position
            chosen = position in positions
            values = stepper.values
            replaced = self._run_twin(values, position, stepper.count) if chosen else {}
            stepper.step()
            if chosen:
                values = {**stepper.values, **replaced}
                yield position, self.clip(_finish(stepper, values, self._threads), self.ends)

    def named(self, ends: Values) -> dict[str, Array]:
        """The model's outputs by name, [samples, ...], behind their final activations.

        Args:
            ends: as `ends` and `carry` have them, before these.
        """
        operators, needed = self._whole.subgraphs[0].operators, []
        _, outputs = flatbuffer.interface(self._whole)
        wanted = flatbuffer.indices(self._whole.subgraphs[0].outputs)
        missing = {index for index in wanted if index not in ends}
        for operator in reversed(operators):
            if missing & set(flatbuffer.indices(operator.outputs)):
                missing |= set(flatbuffer.indices(operator.inputs)) - set(ends)
                needed.append(operator)
        count = len(next(iter(ends.values())))
        left = [index for index in wanted if index not in ends]
        made = run_operators(self._whole, needed[::-1], left, ends, count, self._threads)
        values = {**ends, **made}
        # [samples, batch, ...] as [samples * batch, ...].
        return {
            spec.name: values[index].reshape(-1, *values[index].shape[2:])
            for spec, index in zip(outputs, wanted, strict=True)
        }

    def clip(self, results: Values, real: Values) -> Values:
        """Results clipped to the range in which the operators behind them can tell values apart.

        Args:
            results: tensor index to values.
            real: the float model's values of the same tensors, which decide of a softmax's input
                how much of each row is seen.
        """
        clipped = {}
        for index, values in results.items():
            if index in self._by_softmax:
                clipped[index] = np.clip(values, *needed_rows(real[index]))
            elif index in self._limits:
                clipped[index] = np.clip(values, *self._limits[index])
            else:
                clipped[index] = values
        return clipped

    def describe(self, position: int) -> tuple[str, str]:
        """Name of an operator's first result, and its type."""
        operator = self.tree.subgraphs[0].operators[position]
        tensor = self.tree.subgraphs[0].tensors[flatbuffer.indices(operator.outputs)[0]]
        return flatbuffer.text(tensor.name), flatbuffer.operator_name(self.tree, operator)

    def _result_pairs(self, position: int, twin: int) -> list[tuple[int, int]]:
        ours = self.tree.subgraphs[0].operators[position]
        theirs = self.made.subgraphs[0].operators[twin]
        pair = (flatbuffer.indices(operator.outputs) for operator in (ours, theirs))
        return list(zip(*pair, strict=True))

    def _run_twin(self, values: Mapping[int, Array], position: int, count: int) -> Values:
        """The results of an operator's twin on the float model's values, and in its units."""
        twin = self.matches[position]
        operator = self.tree.subgraphs[0].operators[position]
        other = self.made.subgraphs[0].operators[twin]
        tensors = self.made.subgraphs[0].tensors
        pairs = zip(
            flatbuffer.indices(operator.inputs), flatbuffer.indices(other.inputs), strict=False
        )
        given = {
            theirs: quantmath.quantize(
                self._in_made_units(ours, values[ours]), flatbuffer.tensor_spec(tensors[theirs], "")
            )
            for ours, theirs in pairs
            if ours in values
        }
        wanted = flatbuffer.indices(other.outputs)
        results = run_operators(self.made, [other], wanted, given, count, self._threads)
        return {
            ours: self._in_real_units(
                ours,
                quantmath.dequantize(results[theirs], flatbuffer.tensor_spec(tensors[theirs], "")),
            )
            for ours, theirs in self._result_pairs(position, twin)
        }

    def _in_made_units(self, index: int, values: Array) -> Array:
        return values * self._factors(index, values) if index in self._units else values

    def _in_real_units(self, index: int, values: Array) -> Array:
        values = np.asarray(values, np.float32)
        return values / self._factors(index, values) if index in self._units else values

    def _factors(self, index: int, values: Array) -> Array:
        """The factor of each entry of the last axis: the channels, perhaps once per position."""
        factors = self._units[index]
        if factors.ndim > 1:
            return factors
        return np.tile(factors, values.shape[-1] // len(factors))

    def _is_quantized(self, twin: int) -> bool:
        operator = self.made.subgraphs[0].operators[twin]
        touched = (*flatbuffer.indices(operator.inputs), *flatbuffer.indices(operator.outputs))
        tensors = self.made.subgraphs[0].tensors
        return any(
            i in self._widened or flatbuffer.tensor_spec(tensors[i], "").scales
            for i in touched
            if i >= 0
        )


def _with_norm_scales(real: bytes, made: bytes) -> bytes:
    """The float model with the operators around normalizations that a quantized one has."""
    tree, other = (flatbuffer.parse(item, "the model") for item in (real, made))
    names = {flatbuffer.text(tensor.name) for tensor in other.subgraphs[0].tensors}
    return flatbuffer.serialize(tree) if open_norms(tree, names) else real


def measure_effects(
    real: bytes, made: bytes, inputs: Mapping[str, Array], threads: int = 1
) -> tuple[LayerEffect, ...]:
    """The effect of each operator of a quantized model, the worst first; arguments as of `Pair`."""
    pair = Pair(real, made, inputs, threads=threads)
    own = {step.position: step.own_error for step in pair.walk()}
    effects = []
    for position, outputs in pair.carry(worst(own)):
        name, kind = pair.describe(position)
        effects.append(LayerEffect(name, kind, carried_db(pair, outputs)))
    return tuple(sorted(effects, key=lambda effect: effect.sqnr_db))


def worst(errors: Mapping[int, float]) -> frozenset[int]:
    """The positions of the largest errors, as many as are carried."""
    ranked = sorted(errors, key=lambda position: (-errors[position], position))
    return frozenset(ranked[:MOST_CARRIED])


def carried_db(pair: Pair, outputs: Values) -> float:
    """SQNR of the outputs' worst part in dB; of whole outputs where none varies."""
    found = []
    for index, values in pair.ends.items():
        meter = PartMeter("", pair.columns.get(index))
        # [samples, batch, ...] as [samples * batch, ...].
        meter.add(*(item.reshape(-1, *item.shape[2:]) for item in (values, outputs[index])))
        found += [part.sqnr_db for part in meter.result() if part.sqnr_db is not None]
    if found:
        return min(found)
    return decibel(max(relative_error(pair.ends[index], outputs[index]) for index in pair.ends))


def decibel(error: float) -> float:
    """SQNR of a relative squared error; inf without one."""
    return -10 * float(np.log10(error)) if error > 0 else float("inf")


def relative_error(real: Array, given: Array) -> float:
    """Squared error relative to the energy; infinite where one is a number and the other is not."""
    wanted = real.astype(np.float64)
    with np.errstate(invalid="ignore"):
        lost = wanted - given
    if not np.isfinite(lost).all():
        lost, wanted = quantmath.difference(real, given), wanted[np.isfinite(wanted)]
    return float(np.sum(lost**2) / max(float(np.sum(wanted**2)), 1e-30))


def _finish(stepper: Stepper, values: Mapping[int, Array], threads: int) -> Values:
    """The outputs of a model whose operators before `stepper.position` gave these values."""
    rest = stepper.graph.operators[stepper.position :]
    outputs = flatbuffer.indices(stepper.graph.outputs)
    made = {index for operator in rest for index in flatbuffer.indices(operator.outputs)}
    wanted = [index for index in dict.fromkeys(outputs) if index in made]
    results = {index: values[index] for index in outputs if index not in made}
    if not wanted:
        return results
    read, needed = set(wanted), []
    for operator in reversed(rest):
        if read & set(flatbuffer.indices(operator.outputs)):
            read |= set(flatbuffer.indices(operator.inputs))
            needed.append(operator)
    computed = run_operators(stepper.tree, needed[::-1], wanted, values, stepper.count, threads)
    return results | computed
