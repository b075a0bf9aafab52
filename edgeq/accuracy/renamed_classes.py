"""Whether labels number the classes in another order than the model does.

Names become indices in alphabetical order, and a model may have another one. Both models are then
wrong in the same way, so no drop shows it.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from edgeq.metrics.intervals import wilson_interval

Classes = NDArray[np.int64]

_LEAST_GAIN = 10.0  # percentage points


def renamed_accuracy(predicted: Classes, labels: Classes) -> float | None:
    """The accuracy, in per cent, if the model's classes are renamed one to one.

    The renaming is chosen on every other sample of each class, and measured on those between them.

    Args:
        predicted: class of each sample, [samples]; -1 if it has none.
        labels: [samples].

    Returns:
        None unless renaming is proven to gain: the 95 % intervals of both accuracies are apart.
    """
    order = np.argsort(labels, kind="stable")
    predicted, labels = predicted[order], labels[order]
    new = _choose_names(predicted[::2], labels[::2])
    predicted, labels = predicted[1::2], labels[1::2]
    if not len(labels):
        return None
    renamed = np.array([new.get(int(item), -1) for item in predicted])
    before, after = int(np.sum(predicted == labels)), int(np.sum(renamed == labels))
    found = 100.0 * after / len(labels)
    _, high = wilson_interval(before, len(labels))
    low, _ = wilson_interval(after, len(labels))
    is_proven = low > high and found - 100.0 * before / len(labels) >= _LEAST_GAIN
    return found if is_proven else None


def _choose_names(predicted: Classes, labels: Classes) -> dict[int, int]:
    """For each predicted class the label that it is most often, each label once."""
    counts = Counter(zip(predicted.tolist(), labels.tolist(), strict=True))
    new: dict[int, int] = {}
    for (old, label), _ in counts.most_common():
        if old >= 0 and old not in new and label not in new.values():
            new[old] = label
    return new
