"""The child process that corrects models.

On stdin, one line of JSON {"float", "quantized", "result", "report", "corrections", "threads",
"rows"} and then samples to the end. The float and the quantized model advance side by side in two
threads, operator by operator; each layer is corrected on the outputs of the corrected layers before
it, and then run.
"""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeq.children.framing import read_sample
from edgeq.converters.corrections import rounding
from edgeq.converters.corrections.correct import MOST_ROWS
from edgeq.converters.corrections.rounding import Moments, Real
from edgeq.converters.graph import layers
from edgeq.converters.graph.layers import Layer
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.tflite import flatbuffer, quantmath

_CHECKED = 4  # every fourth sample is kept apart to check
_LEAST_BY_TAPS = 2  # rows for each tap, or the moments say nothing
_MOST_PRODUCTS = 1 << 29  # of all moments of a layer
_MOST_VALUES = 1 << 24  # gathered for a layer, with MOST_ROWS rows; fewer rows may be fewer values
# A layer that float weights would improve by less keeps its integers: behind layers that cost more
# than its own rounding, nothing is left to correct. Refitted weights may gain more than that.
_LEAST_GAIN_DB = 0.05
_MOST_TAPS = 8192  # larger dense layers keep their rounding: [K, K] moments would not fit

# Correction to the weights that it rounds with feedback.
_TARGETS: dict[str, Callable[[Real, Moments], Real]] = {
    "rounding": lambda weights, _: weights,
    "refit": rounding.refit,
}


def correct_tree(
    real: Any,
    made: Any,
    inputs: dict[str, NDArray[Any]],
    corrections: Sequence[str],
    threads: int = 1,
    most_rows: int = MOST_ROWS,
) -> list[dict[str, Any]]:
    """Correct a quantized model in place, layer by layer in execution order.

    Args:
        real: the float model.
        made: the quantized model.
        inputs: input name to [samples, ...], real units.
        corrections: some of "bias", "rounding", "refit", "clip".
        most_rows: positions of a layer to fit and check on.

    Returns:
        Fields of a `LayerCorrection` for each layer that could be corrected.

    Raises:
        RuntimeError: the interpreter refused an operator.
        ValueError: the two models' layers are not the same.
    """
    theirs, ours = layers.find_layers(real), layers.find_layers(made)
    if [(a.name, a.filter_shape) for a in theirs] != [(b.name, b.filter_shape) for b in ours]:
        raise ValueError("the quantizer changed the order or the shape of the layers")
    steppers = Stepper(real, inputs, threads), Stepper(made, inputs, threads)
    operators = steppers[1].graph.operators
    prints = [_fingerprint(made, operators[layer.position]) for layer in ours]
    uses = Counter(prints)
    todo = [
        (theirs[number], layer, stored, uses[prints[number]] > 1)
        for number, layer in enumerate(ours)
        for stored in [_Stored(made, layer, operators[layer.position])]
        if stored.weights.dtype == np.int8 and stored.input.scales
    ]
    report = []
    with ThreadPoolExecutor(1) as ahead:  # the float model is one layer ahead
        waiting = [ahead.submit(_want, steppers[0], *item[:3], most_rows) for item in todo[:1]]
        for number, (_, layer, stored, is_shared) in enumerate(todo):
            wanted = waiting.pop().result()
            for item in todo[number + 1 : number + 2]:
                waiting.append(ahead.submit(_want, steppers[0], *item[:3], most_rows))
            steppers[1].run_to(layer.position)
            # Shared weights are stored once, so only the biases change.
            names = frozenset(corrections) & {"bias"} if is_shared else frozenset(corrections)
            found = _correct(steppers[1], wanted, layer, stored, names)
            report.append({"layer": wanted.output, "operator": layer.name, **found})
    return report


class _Wanted(NamedTuple):
    """A result of the float model in a layer.

    Attributes:
        output: name of the result.
        rows: positions that the layer is corrected on.
        checks: which of them check the corrections; the others fit them.
        weights: [G, O, K].
        bias: [G, O].
        fitted: inputs at the positions to fit, [G, rows, K].
        target: outputs behind the activation at the positions to check, [G, rows, O].
        limits: of the activation.
    """

    output: str
    rows: layers.Rows
    checks: NDArray[np.bool_]
    weights: Real
    bias: Real
    fitted: NDArray[np.float32]
    target: Real
    limits: tuple[float, float]


def _want(real: Stepper, theirs: Layer, ours: Layer, stored: _Stored, most_rows: int) -> _Wanted:
    """Run the float model up to a layer."""
    real.run_to(theirs.position)
    original = real.graph.operators[theirs.position]
    weights = flatbuffer.constant(real.tree, real.graph.tensors[original.inputs[1]])
    target_weights = layers.group_weights(theirs, weights)
    taps = target_weights.shape[-1]
    # As many rows to fit and check on as time and memory allow.
    most_values = _MOST_VALUES * most_rows // MOST_ROWS
    affordable = min(_MOST_PRODUCTS // taps**2, most_values // (ours.groups * taps))
    most = max(_LEAST_BY_TAPS * taps, min(most_rows, affordable))
    rows = layers.choose_rows(ours, stored.operator, real.count, most)
    values = real.values[original.inputs[0]]
    seen = layers.gather(theirs, original, values, rows, 0).astype(np.float32, copy=False)
    inputs = flatbuffer.indices(original.inputs)
    has_bias = len(inputs) > 2 and inputs[2] >= 0
    bias = flatbuffer.constant(real.tree, real.graph.tensors[inputs[2]]) if has_bias else 0.0
    own = layers.group_channels(theirs, np.asarray(bias))
    checks = rows.sample % _CHECKED == _CHECKED - 1
    if not checks.any():
        checks = np.ones_like(checks)  # too few samples to keep any apart
    outputs = seen[:, checks] @ _turned(target_weights) + own[:, np.newaxis]
    limits = layers.clamp(original)
    fitted = seen[:, _others(checks)]
    target = np.clip(outputs, *limits)
    return _Wanted(theirs.output, rows, checks, target_weights, own, fitted, target, limits)


def _others(checks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The positions to fit: those that do not check, or all if all of them do."""
    return checks if checks.all() else ~checks


def _correct(
    made: Stepper, wanted: _Wanted, ours: Layer, stored: _Stored, names: frozenset[str]
) -> dict[str, Any]:
    """Correct one layer, before which the INT8 model stopped."""
    seen = stored.gather(made.values[stored.operator.inputs[0]], wanted.rows)
    fit = _Fit(wanted, seen)
    is_wide = wanted.weights.shape[-1] > _MOST_TAPS
    chosen, errors = fit.choose(stored, names & {"bias"} if is_wide else names)
    if chosen.name != "plain":
        stored.write(chosen)
    plain_db, corrected_db = (
        -10 * float(np.log10(max(errors[name], 1e-30))) for name in ("plain", chosen.name)
    )
    return {"chosen": chosen.name, "plain_db": plain_db, "corrected_db": corrected_db}


class _Stored:
    """A layer's parameters as the quantized file has them."""

    def __init__(self, tree: Any, layer: Layer, operator: Any):
        self._tree, self._layer, self.operator = tree, layer, operator
        graph = tree.subgraphs[0]
        inputs = flatbuffer.indices(operator.inputs)
        self.input = flatbuffer.tensor_spec(graph.tensors[inputs[0]], "")
        self._weights = graph.tensors[inputs[1]]
        self.weights = flatbuffer.constant(tree, self._weights)
        self.scales: Real = layers.group_channels(
            layer, np.array(flatbuffer.tensor_spec(self._weights, "").scales or (1.0,))
        )
        has_bias = len(inputs) > 2 and inputs[2] >= 0
        self._bias = graph.tensors[inputs[2]] if has_bias else None
        self.has_bias = self._bias is not None
        self.is_narrow = flatbuffer.dtype(self._weights) == "int4"
        self.most = 7 if self.is_narrow else 127
        self.is_per_channel = len(flatbuffer.tensor_spec(self._weights, "").scales) > 1

    @property
    def integers(self) -> Real:
        """The weights, [G, O, K]."""
        return layers.group_weights(self._layer, self.weights)

    @property
    def bias(self) -> Real:
        """The bias in steps of `bias_scales`, [G, O]."""
        values = 0 if self._bias is None else flatbuffer.constant(self._tree, self._bias)
        return layers.group_channels(self._layer, np.asarray(values))

    def bias_scales(self, scales: Real) -> Real:
        """Input scale times weight scale, by the TensorFlow Lite specification."""
        return scales * self.input.scales[0]

    def gather(self, values: NDArray[Any], rows: layers.Rows) -> NDArray[np.float32]:
        """The inputs as the quantized model has them, in real units, [G, rows, K]."""
        zero = self.input.zero_points[0]
        raw = layers.gather(self._layer, self.operator, values, rows, zero)
        return np.asarray(quantmath.dequantize(raw, self.input), np.float32)

    def write(self, chosen: _Candidate) -> None:
        """Store other integers in the file."""
        integers = layers.ungroup_weights(self._layer, chosen.weights)
        stored = integers.astype(np.int8)
        content = quantmath.pack_int4(stored) if self.is_narrow else stored
        self._weights.buffer = flatbuffer.add_buffer(self._tree, content)
        is_rescaled = not np.array_equal(chosen.scales, self.scales)
        if is_rescaled:
            self._weights.quantization.scale = chosen.scales.reshape(-1).astype(np.float32)
        if self._bias is None:
            return
        self._separate_bias()
        if is_rescaled:
            steps = self.bias_scales(chosen.scales.astype(np.float32))
            self._bias.quantization.scale = steps.reshape(-1).astype(np.float32)
        dtype = np.dtype(flatbuffer.dtype(self._bias))
        limits = np.iinfo(dtype)
        whole = np.clip(chosen.bias.reshape(-1), limits.min, limits.max).astype(dtype)
        self._bias.buffer = flatbuffer.add_buffer(self._tree, whole)

    def _separate_bias(self) -> None:
        """Give the operator a separate bias: the steps of a recurrent layer share theirs."""
        graph, inputs = self._tree.subgraphs[0], list(flatbuffer.indices(self.operator.inputs))
        read = [index for item in graph.operators for index in flatbuffer.indices(item.inputs)]
        if read.count(inputs[2]) > 1:
            own = copy.copy(graph.tensors[inputs[2]])
            own.quantization = copy.copy(own.quantization)
            graph.tensors.append(own)
            self._bias = own
            inputs[2] = len(graph.tensors) - 1
            self.operator.inputs = np.array(inputs, np.int32)


class _Candidate(NamedTuple):
    """Integers for a layer: weights [G, O, K], scales [G, O], bias [G, O]."""

    name: str
    weights: Real
    scales: Real
    bias: Real


class _Fit:
    """One layer's samples, and how well integers reproduce the float outputs on them.

    Args:
        seen: the INT8 model's inputs in real units, [G, rows, K].
    """

    def __init__(self, wanted: _Wanted, seen: NDArray[np.float32]):
        self._weights, self._bias = wanted.weights, wanted.bias
        self._target, self._limits = wanted.target, wanted.limits
        self._checked = seen[:, wanted.checks]
        self._fitted = wanted.fitted, seen[:, _others(wanted.checks)]

    def choose(self, stored: _Stored, names: frozenset[str]) -> tuple[_Candidate, dict[str, float]]:
        """The candidate with the least error on the samples kept apart, and the errors of all."""
        found = {item.name: item for item in self._candidates(stored, names)}
        errors = {name: self._error(item, stored) for name, item in found.items()}
        return found[min(errors, key=lambda name: errors[name])], errors

    def _candidates(self, stored: _Stored, names: frozenset[str]) -> list[_Candidate]:
        plain = _Candidate("plain", stored.integers, stored.scales, stored.bias)
        if not names or ("refit" not in names and self._gain_db(plain, stored) < _LEAST_GAIN_DB):
            return [plain]
        moments = rounding.measure_moments(*self._fitted, has_crossed="refit" in names)
        made, scales = [("", plain.weights, plain.scales)], stored.scales
        if "clip" in names and stored.is_per_channel:
            scales = rounding.clip_scales(self._weights, moments, scales, stored.most)
            clipped = rounding.round_plainly(self._weights, scales[..., np.newaxis], stored.most)
            made.append(("clip", clipped, scales))
        for name, target in _TARGETS.items():
            if name in names:
                real = target(self._weights, moments)
                whole = rounding.round_with_feedback(real, moments, scales, stored.most)
                made.append((name, whole, scales))
        results = [plain]
        fits_bias = "bias" in names and stored.has_bias
        for name, weights, scales in made:
            bias = stored.bias
            if fits_bias:
                bias = self._fit_bias(weights * scales[..., np.newaxis], moments)
                bias = np.rint(bias / stored.bias_scales(scales))
            elif not np.array_equal(scales, stored.scales):
                bias = np.rint(self._bias / stored.bias_scales(scales))
            parts = [part for part in (name, "bias" if fits_bias else "") if part]
            if parts:
                results.append(_Candidate("+".join(parts), weights, scales, bias))
        return results

    def _gain_db(self, plain: _Candidate, stored: _Stored) -> float:
        """What float weights and the best bias would gain."""
        means = [inputs.mean(axis=1).astype(np.float64) for inputs in self._fitted]
        shift = np.einsum("gok,gk->go", self._weights, means[0] - means[1])
        least = self._error_of(self._weights, self._bias + shift)
        return 10 * float(np.log10(max(self._error(plain, stored), 1e-30) / max(least, 1e-30)))

    def _fit_bias(self, weights: Real, moments: Moments) -> Real:
        """The bias with which the mean output is the float model's, channel by channel."""
        wanted = np.einsum("gok,gk->go", self._weights, moments.mean_float) + self._bias
        given = np.einsum("gok,gk->go", weights, moments.mean_quantized)
        return np.asarray(wanted - given)

    def _error(self, item: _Candidate, stored: _Stored) -> float:
        """Squared error of the outputs behind the activation, relative to their energy."""
        real = item.weights * item.scales[..., np.newaxis]
        return self._error_of(real, item.bias * stored.bias_scales(item.scales))

    def _error_of(self, weights: Real, bias: Real) -> float:
        """`_error` of weights and a bias in real units."""
        given = self._checked @ _turned(weights) + bias[:, np.newaxis]
        lost = np.clip(given, *self._limits) - self._target
        return float(np.sum(lost**2) / max(float(np.sum(self._target**2)), 1e-30))


def _turned(weights: Real) -> NDArray[np.float32]:
    turned: NDArray[np.float32] = weights.transpose(0, 2, 1).astype(np.float32)
    return turned


def _fingerprint(tree: Any, operator: Any) -> bytes:
    weights = tree.subgraphs[0].tensors[operator.inputs[1]]
    return hashlib.sha1(flatbuffer.constant(tree, weights).tobytes()).digest()


def main() -> None:
    """Read a job and its samples from stdin and do it; the status is a sentence if it fails."""
    try:
        job = json.loads(sys.stdin.buffer.readline())
        real, made = (flatbuffer.read(Path(job[name])) for name in ("float", "quantized"))
        samples = []
        while (sample := read_sample(sys.stdin.buffer)) is not None:
            samples.append(sample)
        specs, _ = flatbuffer.interface(real)
        columns = zip(specs, zip(*samples, strict=True), strict=True)
        inputs = {spec.name: np.stack(column) for spec, column in columns}
        report = correct_tree(real, made, inputs, job["corrections"], job["threads"], job["rows"])
        Path(job["result"]).write_bytes(flatbuffer.serialize(made))
        Path(job["report"]).write_text(json.dumps(report))
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))
