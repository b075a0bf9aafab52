"""Doubts that a comparison inherits from the record of how its model was made.

`convert` and `tune` look at the samples; `compare`, fed in the same way, has the same doubts. A
forgotten normalization lowers both accuracies by the same amount, so no drop would show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.converters.samples.same_feeding import are_same
from edgeq.errors import UsageError
from edgeq.issues import make_issue
from edgeq.values import DataRef, Issue

# Codes about the model's inputs, whatever data set they are from.
_FED = frozenset(
    {"data.normalized_twice", "data.not_normalized", "data.range_mismatch",
     "data.statistics_shifted"}
)  # fmt: skip


def inherited_doubts(
    data: DataRef, preprocessing: tuple[str, ...], makers: Iterable[Any]
) -> Iterator[Issue]:
    """Doubts about a comparison that only other records have.

    Args:
        data: that was compared on.
        preprocessing: `--preprocess` texts that it was fed with.
        makers: results of `convert` and `tune` of the same model.
    """
    for value in makers:
        if value.data is None:
            continue
        try:
            own = parse_preprocessing(preprocessing, value.certificate.inputs)
        except UsageError:  # its inputs have other names; no record shows another preprocessing
            own = value.data.preprocessing
        if are_same(own, value.data.preprocessing, value.certificate.inputs):
            yield from (issue for issue in value.issues if issue.code in _FED)
        searched = [ref for ref in (value.data, value.test_data) if ref is not None]
        if any(data.has_samples_of(ref) for ref in searched):
            yield from (issue for issue in value.issues if issue.code == "tune.same_samples")
        if data.has_samples_of(value.data):
            text = (
                f"{data.source} is the calibration data: the drop measured on it is too optimistic."
            )
            yield make_issue("convert.not_held_out", text)
