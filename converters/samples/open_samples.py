"""Samples for calibration, evaluation and benchmarks: read, preprocessed and fitted to the model.

samples = open_samples("images/", model.inputs, parse_preprocessing(texts, model.inputs))
for sample in samples.iterate(choose(samples, 200, seed=0)): ...
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.samples.input_shapes import Array, fit, show_shape
from edgeq.converters.samples.open_source import SourceLike, open_source
from edgeq.converters.samples.preprocessing import (
    apply,
    find_preprocessing,
    format_preprocessing,
    parse_preprocessing,
)
from edgeq.converters.samples.references import is_function_reference
from edgeq.converters.samples.sources import Row, Source
from edgeq.errors import DataError
from edgeq.escaping import printable
from edgeq.issues import make_issue
from edgeq.values import DataRef, Issue, Preprocessing, TensorSpec
from edgeq.wording import list_some


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample, ready for the float model.

    Attributes:
        index: position in the source, from 0.
        inputs: by input name; without batch dimension, preprocessed, read-only.
        label: an int, a float, an array, or None without labels.
    """

    index: int
    inputs: Mapping[str, Array]
    label: Any


class Samples:
    """A data set opened for one model; it stores no samples and can be read any number of times.

    Args:
        source: of the raw rows.
        inputs: the model's.
        preprocessing: at most one entry per input.
    """

    def __init__(
        self, source: Source, inputs: Sequence[TensorSpec], preprocessing: Sequence[Preprocessing]
    ):
        self._source = source
        self._inputs = tuple(inputs)
        self._preprocessing = tuple(preprocessing)
        self._reshaped: dict[str, str] = {}
        self._digest: str | None = None

    @property
    def ref(self) -> DataRef:
        """The data as a value; the digest of a Python object covers the samples read so far."""
        if self._digest is None or self._source.origin is not None:
            self._digest = self._source.digest()
        return DataRef(
            source=self._source.name,
            kind=self._source.kind,
            sha256=self._digest,
            sample_count=self.count,
            has_labels=self.has_labels,
            preprocessing=self._preprocessing,
            # A folder's name may be invalid text, which a record cannot hold.
            class_names=tuple(map(printable, self.class_names)),
            samples_sha256=self._source.digest_of_samples(),
        )

    @property
    def name(self) -> str:
        """The data as the user named it."""
        return self._source.name

    @property
    def class_folder(self) -> Path | None:
        """The folder whose folders are the classes; None if labels are from elsewhere."""
        return self._source.class_folder

    @property
    def count(self) -> int | None:
        """Number of samples; None for an object that has not been read to its end."""
        return self._source.count

    @property
    def has_labels(self) -> bool:
        """Whether every sample carries a label."""
        return self._source.has_labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label, empty when labels are plain numbers."""
        return self._source.class_names

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Doubts about the source and the samples read so far."""
        reshaped = tuple(make_issue("data.reshaped", text) for text in self._reshaped.values())
        named: tuple[Issue, ...] = ()
        names = self.class_names
        told = {issue.code for issue in self._source.issues}
        if names and not told & {"data.class_order", "data.class_names"}:
            classes = f"classes 0 to {len(names) - 1} in alphabetical order: {list_some(names)}"
            named = (make_issue("data.class_names", f"Label names became {classes}."),)
        return (*self._source.issues, *named, *reshaped)

    def iterate(self, indices: Sequence[int] | None = None) -> Iterator[Sample]:
        """Samples in order, one in memory at a time.

        Args:
            indices: strictly increasing positions, or None for all.

        Raises:
            DataError: a sample is unreadable, does not fit, or an index is past the end.
        """
        if indices is not None:
            _check_indices(indices, self.count, self._source.name)
        read = 0
        for row in self._source.read(indices):
            inputs = {spec.name: self._prepare(row, spec) for spec in self._inputs}
            yield Sample(row.index, inputs, row.label)
            read += 1
        if indices is not None and read < len(indices):
            _check_indices(indices, self.count, self._source.name)

    def iterate_raw(self, indices: Sequence[int]) -> Iterator[dict[str, Array]]:
        """Samples as an app gives them, before preprocessing; arguments as of `iterate`."""
        for row in self._source.read(indices):
            yield {spec.name: row.inputs[spec.name] for spec in self._inputs}

    def is_same_as(self, other: Samples) -> bool:
        """Whether two data sets have the same samples, whatever labels are beside them."""
        ours, theirs = self._source, other._source
        if is_function_reference(ours.name) and ours.name == theirs.name:
            return True
        if ours.origin is not None or theirs.origin is not None:
            return ours.origin is theirs.origin
        return self.ref.has_samples_of(other.ref)

    def count_up_to(self, limit: int) -> int:
        """Number of samples, at most `limit`; an object of unknown length is read that far."""
        return self._source.settle(limit)

    def _prepare(self, row: Row, spec: TensorSpec) -> Array:
        raw = row.inputs[spec.name]
        declared = find_preprocessing(self._preprocessing, spec.name)
        array = raw if declared is None else apply(declared, raw, row.where)
        is_pixels = raw.dtype == np.uint8 and raw.ndim in (2, 3)
        fitted = fit(array, spec, row.where, partial(self._declare, spec) if is_pixels else None)
        if fitted.shape != array.shape and self._source.kind not in ("images", "sounds"):
            self._reshaped.setdefault(
                spec.name,
                f"Samples for input {spec.name!r} are {show_shape(array.shape)} and were taken as "
                f"{show_shape(fitted.shape)}, which has the same elements in the same order.",
            )
        return fitted

    def _declare(self, spec: TensorSpec, parts: str) -> tuple[str, ...]:
        """All texts of `--preprocess` with more parts for an input: typed replace stored ones."""
        texts = {entry.input: format_preprocessing(entry) for entry in self._preprocessing}
        name = next((name for name in texts if name in (None, spec.name)), spec.name)
        prefix = f"{spec.name}:" if len(self._inputs) > 1 else ""
        texts[name] = f"{texts[name]},{parts}" if name in texts else f"{prefix}{parts}"
        return tuple(texts.values())


def open_samples(
    source: SourceLike, inputs: Sequence[TensorSpec], preprocessing: Sequence[Preprocessing] = ()
) -> Samples:
    """Open a data set and check that its first sample fits the model.

    Args:
        source: an `.npz`, `.npy` or `.csv` file, a folder of images, `.npy` or `.wav` files,
            "package.module:function", or from Python: a dict of arrays by input name (labels as
            "y"), one array of samples, (x, y) arrays; a list, a generator, a data set or loader of
            TensorFlow, PyTorch, Hugging Face or Keras, of single samples or batches as `elements`
            says; a function that returns or yields any of these; or one of these with labels from
            elsewhere (`LabelledData`).
        inputs: the model's, with batch dimension.
        preprocessing: at most one entry per input.

    Raises:
        DataError: the data is missing, unreadable, empty or does not fit.
    """
    opened = open_source(source, inputs, preprocessing)
    samples = Samples(opened, inputs, preprocessing)
    next(iter(samples.iterate((0,))))
    return samples


def find_inputs(
    source: SourceLike, preprocess: Sequence[str], inputs: Sequence[TensorSpec]
) -> tuple[TensorSpec, ...]:
    """Return the inputs of a model that declares none as the first sample has them.

    Args:
        source: see `open_samples`.
        preprocess: texts of `--preprocess`.
        inputs: with a known shape where the model was called before; a sample of that rank gives
            the sizes; integers of 32 or 64 bits are taken as int32.

    Raises:
        DataError: the data is missing, unreadable or empty, or its names are not the inputs'.
    """
    row = next(iter(open_source(source, inputs, ()).read((0,))))
    # Any size is possible, so that resize= may choose one; it does not change the channels.
    free = [
        replace(spec, shape=(*[-1] * array.ndim, *(spec.shape or array.shape)[-1:]))
        for spec in inputs
        for array in (row.inputs[spec.name],)
    ]
    declared = parse_preprocessing(preprocess, free)
    found = []
    for spec in inputs:
        array = row.inputs[spec.name]
        own = find_preprocessing(declared, spec.name)
        array = array if own is None else apply(own, array, row.where)
        sizes = (-1, *array.shape)
        is_index = array.dtype.kind in "iu" and array.dtype.itemsize >= 4  # others are pixels
        found.append(
            replace(
                spec,
                shape=sizes if len(spec.shape) in (0, len(sizes)) else spec.shape,
                dtype="int32" if is_index else spec.dtype,
            )
        )
    return tuple(found)


def choose(samples: Samples, count: int, seed: int) -> tuple[int, ...]:
    """Choose samples for calibration: the same ones for the same seed, on every machine.

    Samples are ranked by a hash of seed and position, so a larger count includes those of a
    smaller one. Of an object that has more samples than were read so far, the first are taken.

    Args:
        samples: to choose from.
        count: how many; all when there are fewer.
        seed: any integer.

    Returns:
        Strictly increasing indices.
    """
    there = samples.count_up_to(count)
    if samples.count is None:
        return tuple(range(there))
    return _rank(range(samples.count), count, seed)


def spread(chosen: Sequence[int], most: int) -> tuple[int, ...]:
    """Return at most so many of some samples, at even distances.

    The first ones would often be of one class: data sets are sorted by class, class folders always.
    """
    if len(chosen) <= most:
        return tuple(chosen)
    return tuple(chosen[number * len(chosen) // most] for number in range(most))


def hold_out(samples: Samples, chosen: Sequence[int], limit: int | None) -> tuple[int, ...]:
    """Choose samples that were not chosen for calibration; none when all were.

    Of an object that has more samples than were read so far, those right after the chosen ones are
    taken.

    Args:
        samples: the same as given to `choose`.
        chosen: what it returned.
        limit: the most samples; None for all (an object is then read to its end).

    Returns:
        Strictly increasing indices.
    """
    if samples.count is None:
        first = max(chosen, default=-1) + 1
        if limit is None:
            return tuple(range(first, sum(1 for _ in samples.iterate())))
        return tuple(range(first, samples.count_up_to(first + limit)))
    taken = set(chosen)
    rest = (index for index in range(samples.count) if index not in taken)
    return tuple(rest) if limit is None else _rank(rest, limit, seed=0)


def _rank(indices: Iterable[int], count: int, seed: int) -> tuple[int, ...]:
    def key(index: int) -> bytes:
        return blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()

    return tuple(sorted(heapq.nsmallest(count, indices, key=key)))


def _check_indices(indices: Sequence[int], count: int | None, name: str) -> None:
    assert all(low < high for low, high in pairwise(indices)), "indices must increase"
    if indices and count is not None and indices[-1] >= count:
        raise DataError(f"{name} has {count} samples, so there is no sample {indices[-1]}.")
