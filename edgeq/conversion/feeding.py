"""Doubts that a measurement inherits from the record of how its model was made.

`convert` and `tune` look at the samples; `compare`, fed in the same way, has the same doubts. A
forgotten normalization lowers both accuracies by the same amount, so no drop would show it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.converters.samples.same_feeding import are_same
from edgeq.errors import UsageError
from edgeq.files import storage
from edgeq.files.reading import read_file
from edgeq.issues import make_issue
from edgeq.values import Conversion, DataRef, Issue, Tuning

# Codes about the model's inputs, whatever data set they are from.
_FED = frozenset(
    {"data.normalized_twice", "data.not_normalized", "data.range_mismatch",
     "data.statistics_shifted"}
)  # fmt: skip
_FEEDING = _FED | {"compare.fed_otherwise"}
_MADE: dict[str, type[Conversion | Tuning]] = {"convert": Conversion, "tune": Tuning}
_MOST_BYTES = 1 << 30


def find_doubt(issues: Iterable[Issue]) -> Issue | None:
    """Return the first doubt about how the model is fed: no other conversion is its remedy."""
    return next((issue for issue in issues if issue.code in _FEEDING), None)


def inherited_doubts(
    data: DataRef, preprocessing: tuple[str, ...], makers: Iterable[Any]
) -> Iterator[Issue]:
    """Doubts about a measurement that only other records have.

    Args:
        data: that was measured on.
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
        if value.model.ranges is not None and data.has_samples_of(value.data):
            text = (
                f"{data.source} is the calibration data: what is measured on it is too optimistic; "
                "give held-out samples with --data."
            )
            yield make_issue("convert.not_held_out", text)


def known_classes(makers: Iterable[Conversion | Tuning]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the data sets of conversions, each with its names of the classes."""
    refs = [ref for made in makers for ref in (made.data, made.test_data) if ref is not None]
    return [(ref.source, ref.class_names) for ref in refs]


def was_held_out(doubts: Iterable[Issue]) -> bool:
    """Return whether the samples took no part in calibration, by `inherited_doubts`."""
    return all(issue.code != "convert.not_held_out" for issue in doubts)


def read_makers(model: Path) -> tuple[Conversion | Tuning, ...]:
    """Return what the record beside a `.tflite` states; nothing if it is not about this file."""
    try:
        plain = json.loads(read_file(storage.record_beside(model), _MOST_BYTES))
        made = msgspec.convert(plain, _MADE[plain["kind"]], strict=False)  # infinities are texts
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return ()  # it is another tool's, or of another kind
    return (made,) if made.model.file.sha256 == storage.hash_file(model) else ()
