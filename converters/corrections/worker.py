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
from edgeq.converters.corrections.reference import Reference, Wanted
from edgeq.converters.corrections.rounding import Moments, Real
from edgeq.converters.graph import layers
from edgeq.converters.graph.layers import Layer
from edgeq.converters.graph.operator_stepper import Stepper
from edgeq.tflite import flatbuffer, quantmath

# A layer that float weights would improve by less keeps its integers: behind layers that cost more
# than its own rounding, nothing is left to correct. Refitted weights may gain more than that.
_LEAST_GAIN_DB = 0.02
_MOST_TAPS = 8192  # larger dense layers keep their rounding: [K, K] moments would not fit

# Correction to the weights that it rounds with feedback.
_TARGETS: dict[str, Callable[[Real, Moments], Real]] = {
    "rounding": lambda weights, _: weights,
    "refit": rounding.refit,
}


def correct_tree(
    reference: Reference, made: Any, corrections: Sequence[str]
) -> list[dict[str, Any]]:
    """Correct a quantized model in place, layer by layer in execution order.

    Args:
        reference: the float model, and the samples.
        made: the quantized model.
        corrections: some of "bias", "rounding", "refit", "clip".

    Returns:
        Fields of a `LayerCorrection` for each layer that could be corrected.

    Raises:
        RuntimeError: the interpreter refused an operator.
        ValueError: the two models' layers are not the same.
    """
    theirs, ours = reference.layers, layers.find_layers(made)
    if [(a.name, a.filter_shape) for a in theirs] != [(b.name, b.filter_shape) for b in ours]:
        raise ValueError("the quantizer changed the order or the shape of the layers")
    stepper = Stepper(made, reference.inputs, reference.threads)
    operators = stepper.graph.operators
    prints = [_fingerprint(made, operators[layer.position]) for layer in ours]
    uses = Counter(prints)
    todo = [
        (number, layer, stored)
        for number, layer in enumerate(ours)
        for stored in [_Stored(made, layer, operators[layer.position])]
        if stored.weights.dtype == np.int8 and stored.input.scales
    ]
    report = []
    with ThreadPoolExecutor(1) as ahead:  # the float model is one layer ahead
        waiting = [ahead.submit(reference.want, number) for number, _, _ in todo[:1]]
        for place, (number, layer, stored) in enumerate(todo):
            wanted = waiting.pop().result()
            for following, _, _ in todo[place + 1 : place + 2]:
                waiting.append(ahead.submit(reference.want, following))
            stepper.run_to(layer.position)
            # Shared weights are stored once, so only the biases change.
            is_shared = uses[prints[number]] > 1
            names = frozenset(corrections) & {"bias"} if is_shared else frozenset(corrections)
            found = _correct(stepper, wanted, layer, stored, names)
            report.append({"layer": wanted.output, "operator": layer.name, **found})
    return report


def _correct(
    made: Stepper, wanted: Wanted, ours: Layer, stored: _Stored, names: frozenset[str]
) -> dict[str, Any]:
    """Correct one layer, before which the INT8 model stopped."""
    fit = _Fit(wanted, stored, made.values[stored.operator.inputs[0]])
    is_wide = wanted.weights.shape[-1] > _MOST_TAPS
    chosen, errors = fit.choose(names & {"bias"} if is_wide else names)
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

    def gather(self, values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float32]:
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
        values: the INT8 model's input of the layer, [samples, ...].
    """

    def __init__(self, wanted: Wanted, stored: _Stored, values: NDArray[Any]):
        self._wanted, self._stored = wanted, stored
        self._checked = stored.gather(values, wanted.checks)
        self._fitted = stored.gather(values, wanted.fits)

    def choose(self, names: frozenset[str]) -> tuple[_Candidate, dict[str, float]]:
        """The candidate with the least error on the samples kept apart, and the errors of all."""
        stored = self._stored
        plain = _Candidate("plain", stored.integers, stored.scales, stored.bias)
        found, errors = {plain.name: plain}, {plain.name: self._error(plain)}
        for item in self._candidates(plain, errors[plain.name], names):
            found[item.name], errors[item.name] = item, self._error(item)
        return found[min(errors, key=lambda name: errors[name])], errors

    def _candidates(
        self, plain: _Candidate, error: float, names: frozenset[str]
    ) -> list[_Candidate]:
        """Corrected integers, if corrections can gain something.

        Args:
            error: of `plain`.
        """
        stored, weights, mean = self._stored, self._wanted.weights, rounding.mean_row(self._fitted)
        if not names or ("refit" not in names and self._gain_db(error, mean) < _LEAST_GAIN_DB):
            return []
        results, made, scales = [], [("", plain.weights, plain.scales)], stored.scales
        if names - {"bias"}:
            spread = self._wanted.spread if "refit" in names else None
            self._fitted -= mean[:, np.newaxis]
            moments = rounding.measure_moments(self._fitted, spread)
            if "clip" in names and stored.is_per_channel:
                scales = rounding.clip_scales(weights, moments, scales, stored.most)
                clipped = rounding.round_plainly(weights, scales[..., np.newaxis], stored.most)
                made.append(("clip", clipped, scales))
            for name, target in _TARGETS.items():
                if name in names:
                    real = target(weights, moments)
                    whole = rounding.round_with_feedback(real, moments, scales, stored.most)
                    made.append((name, whole, scales))
        fits_bias = "bias" in names and stored.has_bias
        for name, integers, own in made:
            bias = stored.bias
            if fits_bias:
                # The mean output is the float model's then, channel by channel.
                given = np.einsum("gok,gk->go", integers * own[..., np.newaxis], mean)
                bias = np.rint((self._wanted.mean - given) / stored.bias_scales(own))
            elif not np.array_equal(own, stored.scales):
                bias = np.rint(self._wanted.bias / stored.bias_scales(own))
            parts = [part for part in (name, "bias" if fits_bias else "") if part]
            if parts:
                results.append(_Candidate("+".join(parts), integers, own, bias))
        return results

    def _gain_db(self, error: float, mean: NDArray[np.float32]) -> float:
        """Return what float weights and the best bias would gain, in dB.

        Args:
            error: of the integers as they are.
            mean: of the INT8 model's inputs, [G, K].
        """
        weights = self._wanted.weights
        bias = self._wanted.mean - np.einsum("gok,gk->go", weights, mean)
        least = max(self._error_of(weights, bias), 1e-30)
        return 10 * float(np.log10(max(error, 1e-30) / least))

    def _error(self, item: _Candidate) -> float:
        """Squared error of the outputs behind the activation, relative to their energy."""
        real = item.weights * item.scales[..., np.newaxis]
        return self._error_of(real, item.bias * self._stored.bias_scales(item.scales))

    def _error_of(self, weights: Real, bias: Real) -> float:
        """`_error` of weights and a bias in real units."""
        turned = weights.transpose(0, 2, 1).astype(np.float32)
        lost = self._checked @ turned + bias[:, np.newaxis]
        if np.isfinite(self._wanted.limits).any():
            np.clip(lost, *self._wanted.limits, out=lost)
        lost -= self._wanted.target
        return float(np.sum(np.square(lost, out=lost))) / self._wanted.energy


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
        reference = Reference(
            real, inputs, job["threads"], job["rows"], has_spread="refit" in job["corrections"]
        )
        report = correct_tree(reference, made, job["corrections"])
        Path(job["result"]).write_bytes(flatbuffer.serialize(made))
        Path(job["report"]).write_bytes(json.dumps(report).encode())
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error).splitlines()[-1] if str(error) else repr(error))
