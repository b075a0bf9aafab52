"""A source with labels from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeq.converters.samples.input_shapes import Array
from edgeq.converters.samples.sources import Row, Source
from edgeq.values import Issue


@dataclass(frozen=True)
class Labels:
    """Labels by position.

    Attributes:
        of: the label of a sample.
        sha256: digest of the files.
        class_names: empty when labels are plain numbers.
        fit: puts the label of an image into a letterboxed input, by the image's shape; None for
            labels that have no place in it.
    """

    of: Callable[[int], Any]
    sha256: bytes
    class_names: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()
    fit: Callable[[Array, Sequence[int]], Array] | None = None


class Relabelled(Source):
    """A source with other labels than its own.

    Args:
        source: of the samples.
        labels: of its samples.
        name: names both.
    """

    def __init__(self, source: Source, labels: Labels, name: str):
        super().__init__(
            name=name, kind=source.kind, count=source.count, has_labels=True,
            class_names=labels.class_names,
        )  # fmt: skip
        self._source, self._labels = source, labels
        self._digest_of_samples = ""

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Doubts about samples and labels."""
        return (*self._source.issues, *self._labels.issues)

    @property
    def origin(self) -> Any:
        """The user's object that gives the samples, if any."""
        return self._source.origin

    def settle(self, limit: int) -> int:
        """Find out how many samples there are, see `Source.settle`."""
        found = self._source.settle(limit)
        self.count = self._source.count
        return found

    def digest(self) -> str:
        """SHA-256 of the samples' digest and the labels'."""
        digest = hashlib.sha256(bytes.fromhex(self.digest_of_samples()))
        digest.update(self._labels.sha256)
        return digest.hexdigest()

    def digest_of_samples(self) -> str:
        """SHA-256 of the samples, read once; of a Python object, of those read so far."""
        if not self._digest_of_samples or self.origin is not None:
            self._digest_of_samples = self._source.digest()
        return self._digest_of_samples

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order, see `Source.read`."""
        for row in self._source.read(indices):
            label, fit = self._labels.of(row.index), self._labels.fit
            if fit is not None:
                label = fit(label, next(iter(row.inputs.values())).shape)
            yield replace(row, label=label)
