"""Compare the outputs of two models batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.accuracy.columns import Columns
from edgeq.accuracy.parts import PartMeter
from edgeq.accuracy.renamed_classes import renamed_accuracy
from edgeq.errors import DataError
from edgeq.metrics.classification import class_labels, is_right, pick_output
from edgeq.metrics.intervals import count_pairs, drop_interval
from edgeq.metrics.metric import Outputs
from edgeq.tflite.quantmath import difference, sqnr_db
from edgeq.values import Interval, OutputQuality, Quality, TensorSpec


class QualityMeter:
    """Outputs of baseline and candidate, batch by batch, into a `Quality`; bounded memory.

    Args:
        outputs: of the baseline, for their names.
        columns: of the baseline's outputs, by name, see `edgeq.accuracy.columns`.
        candidates: of the candidate, by the baseline's names, for the steps of its integers.
    """

    def __init__(
        self,
        outputs: Sequence[TensorSpec],
        columns: Mapping[str, Columns] | None = None,
        candidates: Mapping[str, TensorSpec] | None = None,
    ):
        self._names = [spec.name for spec in outputs]
        self._parts = {name: PartMeter(name, (columns or {}).get(name)) for name in self._names}
        self._steps = {
            name: _Steps(2 ** np.iinfo(spec.dtype).bits)
            for name, spec in (candidates or {}).items()
            if spec.scales and np.issubdtype(np.dtype(spec.dtype), np.integer)
        }
        self._sums = {name: np.zeros(3) for name in self._names}  # signal, error, values
        self._worst = dict.fromkeys(self._names, 0.0)
        self._not_finite = dict.fromkeys(self._names, 0)
        self._same: list[NDArray[np.bool_]] = []
        self._right: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
        self._classes: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # found, labelled
        self._scored: str | None = None
        self._class_count: int | None = None
        self.count = 0

    def add(self, baseline: Outputs, candidate: Outputs, labels: NDArray[Any] | None) -> None:
        """Take in a batch: outputs by name [batch, ...] in real units, labels [batch, ...].

        Raises:
            DataError: the outputs' shapes differ, so these are two different models.
        """
        for name in self._names:
            self._add_output(name, baseline[name], candidate[name])
        self._scored = self._scored or pick_output(baseline, labels)
        ours, theirs = baseline[self._scored], candidate[self._scored]
        self.count += len(ours)
        classes = None if labels is None else class_labels(ours, labels)
        if _is_vector(ours) and (classes is not None or _is_probabilities(ours)):
            ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
            found = _top1(ours)
            self._same.append(found == _top1(theirs))
            if classes is not None:
                self._classes.append((found, classes))
                self._class_count = max(ours.shape[1], 2)
                self._right.append((is_right(ours, classes), is_right(theirs, classes)))

    def _add_output(self, name: str, ours: NDArray[Any], theirs: NDArray[Any]) -> None:
        if ours.shape != theirs.shape:
            raise DataError(
                f"Output {name!r} has the shape {ours.shape[1:]} in one model and "
                f"{theirs.shape[1:]} in the other: these are two different models."
            )
        error = difference(ours, theirs)
        # An infinite energy would make every error nothing.
        finite = ours[np.isfinite(ours)].astype(np.float64)
        self._not_finite[name] += ours.size - finite.size
        self._sums[name] += [np.sum(finite**2), np.sum(error**2), ours.size]
        self._worst[name] = max(self._worst[name], float(np.max(error, initial=0.0)))
        self._parts[name].add(ours, theirs)
        if name in self._steps:
            self._steps[name].add(theirs)

    def result(self, *, is_held_out: bool) -> Quality:
        """The quality over everything taken in."""
        right = self._all_right()
        pairs = None if right is None else count_pairs(*right)
        # The same for outputs that look like probabilities in some batches only.
        same = self._same if sum(map(len, self._same)) == self.count else []
        return Quality(
            sample_count=self.count,
            is_held_out=is_held_out,
            outputs=tuple(self._output(name) for name in self._names),
            agreement_percent=_percent(np.concatenate(same)) if same else None,
            baseline_accuracy_percent=None if right is None else _percent(right[0]),
            candidate_accuracy_percent=None if right is None else _percent(right[1]),
            paired=pairs,
            drop_points=None if pairs is None else drop_interval(pairs),
            scored_output=None if right is None else self._scored,
            class_count=None if right is None else self._class_count,
            renamed_accuracy_percent=None if right is None else self._renamed(),
        )

    def drop(self) -> Interval | None:
        """The accuracy lost so far, in percentage points; None without classes."""
        right = self._all_right()
        return None if right is None else drop_interval(count_pairs(*right))

    def _all_right(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Whether baseline and candidate are right, sample by sample; None without classes."""
        # Labels that are classes in some batches only are target values.
        if not self._right or sum(len(ours) for ours, _ in self._right) != self.count:
            return None
        ours, theirs = (np.concatenate(side) for side in zip(*self._right, strict=True))
        return ours, theirs

    def _renamed(self) -> float | None:
        found, labels = (np.concatenate(side) for side in zip(*self._classes, strict=True))
        return renamed_accuracy(found, labels)

    def _output(self, name: str) -> OutputQuality:
        signal, error, values = self._sums[name]
        steps = self._steps.get(name)
        return OutputQuality(
            name=name,
            sqnr_db=sqnr_db(float(signal), float(error)),
            mse=float(error / values) if values else 0.0,
            max_error=self._worst[name],
            parts=self._parts[name].result(),
            steps_used=None if steps is None else len(steps.seen),
            step_count=None if steps is None else steps.count,
            not_finite=self._not_finite[name],
        )


class _Steps:
    """The different values that an output took, of as many as its integers can give."""

    def __init__(self, count: int):
        self.count = count
        self.seen: NDArray[Any] = np.zeros(0)

    def add(self, values: NDArray[Any]) -> None:
        self.seen = np.union1d(self.seen, values)


def _percent(flags: NDArray[np.bool_]) -> float:
    return 100.0 * float(np.mean(flags))


def _is_vector(output: NDArray[Any]) -> bool:
    """One vector per sample."""
    return output.ndim >= 2 and output.size == len(output) * output.shape[-1]


def _is_probabilities(scores: NDArray[Any]) -> bool:
    """Return whether vectors look like a softmax: without labels, top-1 needs one."""
    sums = scores.reshape(len(scores), -1).sum(axis=1)
    return bool(scores.shape[-1] > 1 and scores.min() >= 0 and np.allclose(sums, 1, atol=0.02))


def _top1(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The class of each row; -1 where a score is NaN, which ranks nothing."""
    if scores.shape[1] == 1:
        found = np.asarray(scores[:, 0] > 0.5, np.int64)
    else:
        found = np.asarray(scores.argmax(axis=1))
    return np.where(np.isnan(scores).any(axis=1), -1, found)
