"""The float model's side of corrections: what each layer should give, for one file or many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.corrections.correct import MOST_ROWS
from edgeq.converters.corrections.rounding import Real, mean_row
from edgeq.converters.graph import layers
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.tflite import flatbuffer

_CHECKED = 4  # every fourth sample is kept apart to check
_LEAST_BY_TAPS = 2  # rows for each tap, or the moments say nothing
_MOST_PRODUCTS = 1 << 29  # of all moments of a layer
_MOST_VALUES = 1 << 24  # gathered for a layer, with MOST_ROWS rows; fewer rows may be fewer values


class Wanted(NamedTuple):
    """A result of the float model in a layer.

    Attributes:
        output: name of the result.
        fits, checks: positions that corrections are fitted on, and that check them.
        weights: [G, O, K].
        bias: [G, O].
        mean: of the outputs before the activation at the positions to fit, [G, O].
        spread: inputs at the positions to fit without their mean, [G, rows, K]; None without
            `has_spread`.
        target: outputs behind the activation at the positions to check, [G, rows, O].
        energy: sum of the squares of `target`.
        limits: of the activation.
    """

    output: str
    fits: NDArray[np.int64]
    checks: NDArray[np.int64]
    weights: Real
    bias: Real
    mean: Real
    spread: NDArray[np.float32] | None
    target: Real
    energy: float
    limits: tuple[float, float]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(part.nbytes for part in self if isinstance(part, np.ndarray))


class Reference:
    """A float model that advances from layer to layer.

    Args:
        tree: the float model.
        inputs: input name to [samples, ...], real units.
        threads: of the interpreter.
        most_rows: positions of a layer to fit and check on.
        has_spread: measure what `rounding.refit` needs.
        keep_bytes: of results to keep for the next file; the layers beyond run again.
    """

    def __init__(
        self,
        tree: Any,
        inputs: Mapping[str, NDArray[Any]],
        threads: int = 1,
        most_rows: int = MOST_ROWS,
        *,
        has_spread: bool = True,
        keep_bytes: int = 0,
    ):
        self.tree, self.inputs, self.threads = tree, inputs, threads
        self.layers = layers.find_layers(tree)
        self._most_rows, self._has_spread = most_rows, has_spread
        self._stepper: Stepper | None = None
        self._kept: dict[int, Wanted] = {}
        self._room = keep_bytes

    def want(self, number: int) -> Wanted:
        """Run the float model up to a layer, and measure there.

        Raises:
            RuntimeError, ValueError: the interpreter refused an operator.
        """
        if number in self._kept:
            return self._kept[number]
        position = self.layers[number].position
        if self._stepper is None or self._stepper.position > position:
            self._stepper = Stepper(self.tree, self.inputs, self.threads)
        self._stepper.run_to(position)
        found = self._measure(self._stepper, self.layers[number])
        if found.nbytes <= self._room:
            self._room -= found.nbytes
            self._kept[number] = found
        return found

    def _measure(self, real: Stepper, layer: layers.Layer) -> Wanted:
        operator, tensors = real.graph.operators[layer.position], real.graph.tensors
        inputs = flatbuffer.indices(operator.inputs)
        weights = layers.group_weights(layer, flatbuffer.constant(self.tree, tensors[inputs[1]]))
        has_bias = len(inputs) > 2 and inputs[2] >= 0
        bias = flatbuffer.constant(self.tree, tensors[inputs[2]]) if has_bias else 0.0
        own = layers.group_channels(layer, np.asarray(bias))
        taps = weights.shape[-1]
        # As many rows to fit and check on as time and memory allow.
        most_values = _MOST_VALUES * self._most_rows // MOST_ROWS
        affordable = min(_MOST_PRODUCTS // taps**2, most_values // (layer.groups * taps))
        most = max(_LEAST_BY_TAPS * taps, min(self._most_rows, affordable))
        rows = layers.choose_rows(layer, operator, real.count, most)
        is_check = rows.sample % _CHECKED == _CHECKED - 1
        fits, checks = rows.chosen[~is_check], rows.chosen[is_check]
        if not checks.size:
            checks = fits  # too few samples to keep any apart
        turned = weights.transpose(0, 2, 1).astype(np.float32)
        limits = layers.clamp(operator)
        checked, fitted = (
            layers.gather(layer, operator, real.values[inputs[0]], places, 0).astype(
                np.float32, copy=False
            )
            for places in (checks, fits)
        )
        target = np.clip(checked @ turned + own[:, np.newaxis], *limits)
        mean = mean_row(fitted)
        fitted -= mean[:, np.newaxis]
        return Wanted(
            layer.output,
            fits,
            checks,
            weights,
            own,
            np.einsum("gok,gk->go", weights, mean.astype(np.float64)) + own,
            fitted if self._has_spread else None,
            target,
            max(float(np.sum(target**2)), 1e-30),
            limits,
        )
