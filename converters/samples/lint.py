"""Checks of the calibration samples as they are fed to the model: one pass, bounded memory.

Samples that are broken, repeated, too few, or on another scale than the training data cost
accuracy that no quantizer can restore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np

from edgeq.converters.samples.input_shapes import Array, image_shape, sample_dtype
from edgeq.converters.samples.open_samples import Sample
from edgeq.issues import make_issue
from edgeq.values import Issue, TensorSpec

FEW_SAMPLES = 32

# A smaller share of identical samples (silent clips, blank frames) is normal.
_DUPLICATE_SHARE = 0.05

# Near duplicates are searched among the first samples only, by means over equal parts of each
# input: 2,000 x 64 values, compared in blocks.
_SKETCH_SAMPLES = 2_000
_SKETCH_SIZE = 64
_SKETCH_BLOCK = 256
# Squared distance of two samples relative to the sum of their squared distances from the mean
# sample: about 1 for unrelated samples; this limit is 3 % in amplitude.
_NEAR = 1e-3

# Data this many times narrower or wider than expected is on another scale, not only dark.
_SCALE_FACTOR = 16.0
# Measured on a keyword spotter and a Fashion-MNIST network with 32 and 500 test samples: spread
# 0.94 to 1.02 times the learned one, shift below 0.05; x/255 against x/127.5-1 is exactly 2 times.
_STD_FACTOR = 1.8
_MEAN_SHIFT = 1.0

_STANDARDIZED = 3.0  # standard deviations, within which nearly all values are

# A tensor disagrees when its two ranges share less than this part of their union.
_SHARED_RANGE = 2 / 3
_DISAGREEING_SHARE = 0.1


@dataclass(frozen=True)
class InputHints:
    """Facts from the model about the data that one input was trained with.

    Attributes:
        name: of the input; an input without hints was not examined.
        rescaling: (scale, offset) when the model begins with `x * scale + offset`, or None.
        expects: (low, high) of the raw data; by default what `rescaling` maps to 0..1 or -1..1,
            or to a mean of 0 and a standard deviation of 1.
        why: how this is known, e.g. "the model begins with Rescaling(1/255)".
        observed_over_expected_std: spread of these samples as the first normalization layer
            sees them, over the spread it learned; median over channels. None when not measured.
        mean_shift_in_std: distance of their means in learned standard deviations, or None.
    """

    name: str
    rescaling: tuple[float, float] | None = None
    expects: tuple[float, float] | None = None
    why: str = ""
    observed_over_expected_std: float | None = None
    mean_shift_in_std: float | None = None


@dataclass
class _Tally:
    """The statistics of one input over a pass."""

    low: float = np.inf
    high: float = -np.inf
    is_integral: bool = True
    not_finite: list[int] = field(default_factory=list)
    constant: list[int] = field(default_factory=list)

    @property
    def holds_bytes(self) -> bool:
        """Whether the values are those of raw images."""
        return self.is_integral and self.low >= 0 and 64 <= self.high <= 255

    def add(self, index: int, array: Array) -> bool:
        """Take in one array; False when it holds NaN or infinity."""
        values = array.reshape(-1)
        if values.size == 0:
            return True
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low + high):  # NaN is in both
            self.not_finite.append(index)
            return False
        if low == high and array.size > 1:
            self.constant.append(index)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.is_integral and array.dtype.kind == "f":
            self.is_integral = _is_integral(values[:64]) and _is_integral(values)
        return True


def _is_integral(values: Array) -> bool:
    return bool((values == np.rint(values)).all())


# ---------------------------------------------------------------- the samples


class Linter:
    """Examines every sample once, on its way to the float model.

    Args:
        inputs: the model's.
    """

    def __init__(self, inputs: Sequence[TensorSpec]):
        self._inputs = inputs
        self._tallies = {spec.name: _Tally() for spec in inputs}
        self._first_seen: dict[int, int] = {}
        self._repeats: list[tuple[int, int]] = []
        self._sketches: dict[int, list[Array]] = {}
        self._count = 0

    def look(self, sample: Sample) -> bool:
        """Take in a preprocessed sample; False when it holds NaN or infinity."""
        self._count += 1
        clean = [
            tally.add(sample.index, sample.inputs[name]) for name, tally in self._tallies.items()
        ]
        earlier = self._first_seen.setdefault(_fingerprint(sample), sample.index)
        if earlier != sample.index:
            self._repeats.append((sample.index, earlier))
        elif len(self._sketches) < _SKETCH_SAMPLES and _can_sketch(sample):
            sketch = [_sketch(array) for _, array in sorted(sample.inputs.items())]
            self._sketches[sample.index] = sketch
        return all(clean)

    def issues(self, hints: Sequence[InputHints] = ()) -> tuple[Issue, ...]:
        """The issues found in the samples so far.

        Args:
            hints: at most one per input.

        Returns:
            Issues with codes `data.*`.
        """
        count = self._count
        if count == 0:
            return (make_issue("data.empty", "There are no calibration samples."),)
        tallies = self._tallies.values()
        # One of several inputs may be constant, as a mask is.
        if all(len(tally.constant) == count and tally.low == tally.high for tally in tallies):
            value = self._tallies[self._inputs[0].name].low
            message = f"All {count} calibration samples hold only the value {value:g}."
            return (make_issue("data.one_value", message),)
        found = []
        if count == 1:
            message = (
                "Calibration rests on a single sample: every range is that sample's, and anything "
                "beyond it will be cut off."
            )
            found.append(make_issue("data.one_sample", message))
        elif count < FEW_SAMPLES:
            message = f"Calibration rests on {count} samples; {FEW_SAMPLES} or more are advised."
            found.append(make_issue("data.too_few", message))
        if self._repeats:
            again, first = self._repeats[0]
            message = (
                f"{len(self._repeats)} of {count} samples repeat an earlier one exactly, "
                f"e.g. sample {again} is sample {first}."
            )
            is_many = len(self._repeats) >= _DUPLICATE_SHARE * count
            found.append(
                make_issue("data.duplicates" if is_many else "data.few_duplicates", message)
            )
        found += _lint_near(self._sketches)
        by_name = {hint.name: hint for hint in hints}
        for spec in self._inputs:
            tally = self._tallies[spec.name]
            for code, what, indices in (
                ("data.not_finite", "NaN or infinity", tally.not_finite),
                ("data.constant_samples", "one repeated value", tally.constant),
            ):
                if indices:
                    message = (
                        f"Input {spec.name!r} holds {what} in {len(indices)} of {count} samples, "
                        f"first in sample {indices[0]}."
                    )
                    found.append(make_issue(code, message))
            if spec.name in by_name and tally.low <= tally.high:
                found += _lint_scale(by_name[spec.name], spec, tally)
        return tuple(found)


# ---------------------------------------------------------------- repeated samples


def _fingerprint(sample: Sample) -> int:
    """A checksum; one pair of different samples in 4 billion has the same."""
    value = 0
    for name in sorted(sample.inputs):
        value = crc32(np.ascontiguousarray(sample.inputs[name]).data, value)
    return value


def _can_sketch(sample: Sample) -> bool:
    """Whether distances mean something: every input has many finite float values."""
    return all(
        array.dtype.kind == "f" and array.size >= _SKETCH_SIZE and np.isfinite(array).all()
        for array in sample.inputs.values()
    )


def _sketch(array: Array) -> Array:
    starts = np.arange(_SKETCH_SIZE) * array.size // _SKETCH_SIZE
    widths = np.diff(np.append(starts, array.size))
    sums = np.add.reduceat(array.reshape(-1).astype(np.float64), starts)
    means: Array = (sums / widths).astype(np.float32)
    return means


def _lint_near(sketches: dict[int, list[Array]]) -> list[Issue]:
    if len(sketches) < 2:
        return []
    indices = list(sketches)
    columns = [np.stack(column) for column in zip(*sketches.values(), strict=True)]
    near = _find_near([column - column.mean(axis=0) for column in columns])
    if not near:
        return []
    again, first = (indices[place] for place in near[0])
    message = (
        f"{len(near)} of {len(indices)} samples nearly repeat an earlier one, "
        f"e.g. sample {again} is close to sample {first}."
    )
    return [make_issue("data.near_duplicates", message)]


def _find_near(columns: Sequence[Array]) -> list[tuple[int, int]]:
    """Each row that is close to an earlier row in every input, with that earlier row."""
    found = []
    for start in range(0, len(columns[0]), _SKETCH_BLOCK):
        stop = min(start + _SKETCH_BLOCK, len(columns[0]))
        is_near = np.tri(stop - start, stop, start - 1, dtype=bool)  # earlier rows only
        for column in columns:
            block, earlier = column[start:stop], column[:stop]
            squares = (block**2).sum(axis=1)[:, None] + (earlier**2).sum(axis=1)[None, :]
            is_near &= squares - 2 * block @ earlier.T < _NEAR * squares
        for row in np.flatnonzero(is_near.any(axis=1)):
            found.append((start + int(row), int(is_near[row].argmax())))
    return found


# ---------------------------------------------------------------- scale


def _lint_scale(hint: InputHints, spec: TensorSpec, tally: _Tally) -> list[Issue]:
    """Compare the samples' scale with what the model's first layers expect.

    Learned statistics count more than ranges: where they fit, nothing else is checked; where they
    do not, the range may show the reason.
    """
    issues = _lint_statistics(hint)
    statistics = (hint.observed_over_expected_std, hint.mean_shift_in_std)
    if not issues and statistics != (None, None):
        return []
    expects = hint.expects
    if expects is None and hint.rescaling is not None and hint.rescaling[0] != 0:
        expects = _find_ends(*hint.rescaling, spec)
    if expects is not None:
        return issues + _lint_range(hint, expects, tally)
    is_image = sample_dtype(spec).kind == "f" and image_shape(spec) is not None
    if is_image and tally.holds_bytes:
        message = (
            f"Input {hint.name!r} is fed raw integers from {tally.low:g} to {tally.high:g}, and "
            "the model does not begin by rescaling them. If it was trained with others, declare "
            "its preprocessing, such as --preprocess scale=1/255."
        )
        issues.append(make_issue("data.not_normalized", message))
    return issues


def _find_ends(scale: float, offset: float, spec: TensorSpec) -> tuple[float, float] | None:
    """The range of the raw data for a first layer `x * scale + offset`.

    A standardization aims at a mean of 0 and a standard deviation of 1. If it only subtracts the
    mean, raw values that begin at 0 reach about as far above the mean as below. Sound, and other
    data than images, has values on both sides of 0. A model may also multiply it by sqrt(d), so
    for such data a large factor alone says nothing about the range.
    """
    image = image_shape(spec)
    is_image = image is not None and 1 not in image[:2]
    if round(offset, 3) in (-1.0, -0.5):
        targets = offset, -offset
    elif not 0.0 <= offset <= 1.0:
        reach = max(_STANDARDIZED, abs(offset))
        targets = -reach, reach
    elif is_image or offset:
        targets = 0.0, 1.0
    elif abs(scale) < 1 / _SCALE_FACTOR:
        targets = -1.0, 1.0
    else:
        return None
    ends = [(target - offset) / scale for target in targets]
    return min(ends), max(ends)


def _lint_range(hint: InputHints, expects: tuple[float, float], tally: _Tally) -> list[Issue]:
    low, high = expects
    ratio = (tally.high - tally.low) / (high - low)
    code, sentence = "data.range_mismatch", "check the preprocessing"
    if ratio < 1 / _SCALE_FACTOR:
        code = "data.normalized_twice"
        sentence = (
            "it looks normalized before the model does it; leave scale, offset, mean and std of "
            "--preprocess out, or give raw samples"
        )
    elif ratio > _SCALE_FACTOR:
        code = "data.not_normalized"
        sentence = f"it looks not normalized; {_declare(low, high, tally)}"
    elif min(tally.low - low, high - tally.high) >= -0.25 * (high - low):
        return []
    why = f" ({hint.why})" if hint.why else ""
    message = (
        f"Input {hint.name!r} is fed {tally.low:g} to {tally.high:g}, but the model expects "
        f"{low:g} to {high:g}{why}: {sentence}."
    )
    return [make_issue(code, message)]


def _declare(low: float, high: float, tally: _Tally) -> str:
    """Say what to type, with an example where samples are raw bytes."""
    if not tally.holds_bytes:
        return "declare its preprocessing with --preprocess"
    way = "scale=1/127.5,offset=-1" if low == -high else "scale=1/255"
    return f"declare its preprocessing, such as --preprocess {way}"


def _lint_statistics(hint: InputHints) -> list[Issue]:
    ratio, shift = hint.observed_over_expected_std, hint.mean_shift_in_std
    parts = []
    if ratio is not None and not 1 / _STD_FACTOR <= ratio <= _STD_FACTOR:
        parts.append(f"have {ratio:.3g} times the standard deviation")
    if shift is not None and abs(shift) > _MEAN_SHIFT:
        parts.append(f"are shifted by {shift:.3g} standard deviations")
    if not parts:
        return []
    message = (
        f"At the model's first batch normalization, the samples of input {hint.name!r} "
        f"{' and '.join(parts)}, compared with the training data; check the preprocessing."
    )
    return [make_issue("data.statistics_shifted", message)]


# ---------------------------------------------------------------- ranges


def lint_half_ranges(ranges_a: Array, ranges_b: Array, names: Sequence[str]) -> Issue | None:
    """Check that two disjoint halves of the calibration samples give the same ranges.

    Two ranges disagree when they share less than two thirds of their union; this is allowed for
    fewer than one tensor in ten.

    Args:
        ranges_a: [2, tensors]: minimum and maximum of each tensor over one half.
        ranges_b: over the other half.
        names: names of the tensors.

    Returns:
        An issue with the share of tensors that disagree and the worst of them, or None.
    """
    a, b = np.asarray(ranges_a, np.float64), np.asarray(ranges_b, np.float64)
    assert a.shape == b.shape == (2, len(names)), "not the same tensors"
    union = np.maximum(a[1], b[1]) - np.minimum(a[0], b[0])
    overlap = np.maximum(0.0, np.minimum(a[1], b[1]) - np.maximum(a[0], b[0]))
    shared = np.divide(overlap, union, out=np.ones_like(union), where=union > 0)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None  # one sample makes one half; `data.one_sample` reports it
    count = int((shared < _SHARED_RANGE).sum())
    if count == 0 or count < _DISAGREEING_SHARE * len(names):
        return None
    worst = int(shared.argmin())
    message = (
        f"Two halves of the calibration samples disagree on the ranges of {count} of "
        f"{len(names)} tensors ({100 * count / len(names):.0f} %), most on {names[worst]!r}: "
        f"{a[0, worst]:g} to {a[1, worst]:g} against {b[0, worst]:g} to {b[1, worst]:g}; "
        "take more samples."
    )
    return make_issue("data.halves_disagree", message)
