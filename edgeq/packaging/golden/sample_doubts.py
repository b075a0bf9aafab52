"""Doubts about golden samples, as the model is fed with them.

They are those that `convert` has about calibration samples. Here the model is quantized already, so
the range of its inputs is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.converters.samples.lint import InputHints, Linter
from edgeq.converters.samples.open_samples import Sample
from edgeq.errors import DataError
from edgeq.issues import make_issue
from edgeq.values import Issue, TensorSpec

# The linter's other issues are about datasets, not about a few samples.
_CODES = ("data.not_finite", "data.normalized_twice", "data.not_normalized", "data.range_mismatch",
          "data.constant_samples")  # fmt: skip
_CERTAIN_SHARE = 0.5
_DOUBTFUL_SHARE = 0.05
_HINT = (
    "Give raw samples (--data), and the preprocessing that the model was calibrated with "
    "(--preprocess), once."
)


def find_doubts(samples: Sequence[Sample], specs: Sequence[TensorSpec]) -> tuple[Issue, ...]:
    """Find doubts about samples, before they are quantized.

    Raises:
        DataError: they are not numbers, or they test nothing: most values are outside an input's
            range, or all become one integer or two neighbours.
    """
    linter = Linter(specs)
    for sample in samples:
        linter.look(sample)
    hints = [
        InputHints(spec.name, expects=real_range(spec), why=f"the range of its {spec.dtype} input")
        for spec in specs
        if spec.scales
    ]
    issues = [issue for issue in linter.issues(hints) if issue.code in _CODES]
    broken = next((issue for issue in issues if issue.severity == "error"), None)
    if broken is not None:
        raise DataError(broken.message)
    for spec in specs:
        if spec.scales:
            issues += _lint_saturation(samples, spec)
    if all(_is_flat(spec, _stack(samples, spec)) for spec in specs):
        why = next((i.message for i in issues if i.code == "data.normalized_twice"), None)
        values = _stack(samples, specs[0])
        flat = (
            f"All {len(samples)} golden samples feed input {specs[0].name!r} with "
            f"{values.min():g} to {values.max():g}, which the model cannot distinguish: they test "
            "nothing."
        )
        raise DataError(why or flat, hint=_HINT)
    return tuple(issues)


def real_range(spec: TensorSpec) -> tuple[float, float]:
    """The least and the largest real value of a quantized tensor."""
    limits = np.iinfo(np.dtype(spec.dtype))
    scale, zero = spec.scales[0], spec.zero_points[0]
    return (limits.min - zero) * scale, (limits.max - zero) * scale


def _stack(samples: Sequence[Sample], spec: TensorSpec) -> NDArray[Any]:
    return np.stack([sample.inputs[spec.name] for sample in samples])


def _is_flat(spec: TensorSpec, values: NDArray[Any]) -> bool:
    """Whether all values become the same integer, or one of two neighbours."""
    if values[0].size < 2:
        return False
    span = float(values.max()) - float(values.min())
    # A scale is a float32, and so is not exactly the step that samples were divided by.
    return span <= (1.01 * spec.scales[0] if spec.scales else 0.0)


def _lint_saturation(samples: Sequence[Sample], spec: TensorSpec) -> list[Issue]:
    values = _stack(samples, spec)
    low, high = real_range(spec)
    half = spec.scales[0] / 2
    beyond = int(np.count_nonzero((values < low - half) | (values > high + half)))
    message = (
        f"{beyond:,} of {values.size:,} values of input {spec.name!r} saturate: it is fed with "
        f"{values.min():g} to {values.max():g}, and the model's {spec.dtype} input has the range "
        f"{low:g} to {high:g}."
    )
    if beyond > _CERTAIN_SHARE * values.size:
        raise DataError(message, hint=_HINT)
    if beyond > _DOUBTFUL_SHARE * values.size:
        return [make_issue("data.range_mismatch", message)]
    return []
