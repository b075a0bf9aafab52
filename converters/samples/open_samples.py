"""Samples for calibration, evaluation and benchmarks: read, preprocessed and fitted to the model.

samples = open_samples("images/", model.inputs, parse_preprocessing(texts, model.inputs))
for sample in samples.iterate(choose(samples, 200, seed=0)): ...
"""

from __future__ import annotations

import heapq
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.converters.samples.csv_files import open_table
from edgeq.converters.samples.generators import FunctionSource, is_function_reference, open_function
from edgeq.converters.samples.image_folders import open_images
from edgeq.converters.samples.input_shapes import Array, fit, quote, show_shape
from edgeq.converters.samples.label_files import LabelledData, relabel
from edgeq.converters.samples.numpy_files import open_npy, open_npz
from edgeq.converters.samples.preprocessing import (
    apply,
    find_preprocessing,
    parse_preprocessing,
)
from edgeq.converters.samples.sources import Row, Source, open_arrays
from edgeq.errors import DataError
from edgeq.escaping import printable
from edgeq.issues import make_issue
from edgeq.values import DataRef, Issue, Preprocessing, TensorSpec

SourceLike = str | Path | Mapping[str, Array] | Array | LabelledData | Callable[[], Any]

_FILE_OPENERS: dict[str, Callable[[Path, Sequence[TensorSpec], str], Source]] = {
    ".csv": open_table,
    ".npy": open_npy,
    ".npz": open_npz,
}
_KNOWN_SOURCES = "Known: .npz, .npy and .csv files, a folder of images, package.module:function."


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
        """The data as a value; for a function, the digest covers the samples consumed so far."""
        if self._digest is None or self.is_function:
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
    def is_function(self) -> bool:
        """Whether samples come from a function, whose count is known only after a whole pass."""
        return self._source.kind == "function"

    @property
    def count(self) -> int | None:
        """Number of samples; None for a function that has not been read to its end."""
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
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            classes = f"classes 0 to {len(names) - 1} in alphabetical order: {shown}"
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
        """Samples as the source holds them, before preprocessing; arguments as of `iterate`."""
        for row in self._source.read(indices):
            yield {spec.name: row.inputs[spec.name] for spec in self._inputs}

    def count_up_to(self, limit: int) -> int:
        """Number of samples, at most `limit`; a function of unknown length runs that far."""
        if self.count is not None:
            return min(self.count, limit)
        return sum(1 for _ in zip(range(limit), self._source.read(None), strict=False))

    def _prepare(self, row: Row, spec: TensorSpec) -> Array:
        raw = row.inputs[spec.name]
        declared = find_preprocessing(self._preprocessing, spec.name)
        array = raw if declared is None else apply(declared, raw, row.where)
        is_pixels = raw.dtype == np.uint8 and raw.ndim in (2, 3)
        fitted = fit(array, spec, row.where, is_pixels)
        if fitted.shape != array.shape and self._source.kind != "images":
            self._reshaped.setdefault(
                spec.name,
                f"Samples for input {spec.name!r} are {show_shape(array.shape)} and were taken as "
                f"{show_shape(fitted.shape)}, which has the same elements in the same order.",
            )
        return fitted


def open_samples(
    source: SourceLike, inputs: Sequence[TensorSpec], preprocessing: Sequence[Preprocessing] = ()
) -> Samples:
    """Open a data set and check that its first sample fits the model.

    Args:
        source: an `.npz`, `.npy` or `.csv` file, a folder of images, "package.module:function",
            or from Python a dict of arrays by input name (labels as "y"), one array of samples,
            a function that yields samples or (sample, label) pairs, or one of these with labels
            from elsewhere (`LabelledData`).
        inputs: the model's, with batch dimension.
        preprocessing: at most one entry per input.

    Raises:
        DataError: the data is missing, unreadable, empty or does not fit.
    """
    opened = _open_source(source, inputs, preprocessing)
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
    row = next(iter(_open_source(source, inputs, ()).read((0,))))
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
    smaller one. From a function of unknown length, the first `count` are taken.

    Args:
        samples: to choose from.
        count: how many; all when there are fewer.
        seed: any integer.

    Returns:
        Strictly increasing indices.
    """
    if samples.is_function or samples.count is None:
        return tuple(range(samples.count_up_to(count)))
    return _rank(range(samples.count), count, seed)


def hold_out(samples: Samples, chosen: Sequence[int], limit: int | None) -> tuple[int, ...]:
    """Choose samples that were not chosen for calibration; none when all were.

    From a function of unknown length, those right after the chosen ones are taken.

    Args:
        samples: the same as given to `choose`.
        chosen: what it returned.
        limit: the most samples; None for all (a function is then read to its end).

    Returns:
        Strictly increasing indices.
    """
    if samples.is_function or samples.count is None:
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


def _open_source(
    source: SourceLike, inputs: Sequence[TensorSpec], preprocessing: Sequence[Preprocessing]
) -> Source:
    if not inputs:
        raise DataError("The model has no inputs, so it takes no samples.")
    if isinstance(source, LabelledData):
        inner = _open_source(source.data, inputs, preprocessing)
        return relabel(inner, source.labels, inputs, preprocessing)
    if isinstance(source, (str, Path)):
        return _open_named(source, inputs)
    if isinstance(source, Mapping):
        return open_arrays(source, inputs)
    if isinstance(source, np.ndarray):
        if len(inputs) > 1:
            wanted = ", ".join(repr(spec.name) for spec in inputs)
            raise DataError(
                f"The data is one array, but the model's inputs are {wanted}.",
                hint="Give a dict with one array per input, by name.",
            )
        return open_arrays({inputs[0].name: source}, inputs)
    if callable(source):
        name = getattr(source, "__qualname__", type(source).__name__)
        return FunctionSource(source, name, inputs)
    raise DataError(
        f"The data has the type {type(source).__name__}, which edgeq cannot read more than once.",
        hint="Give a path, an array, a dict of arrays, or the function that makes the generator.",
    )


def _open_named(source: str | Path, inputs: Sequence[TensorSpec]) -> Source:
    path, name = Path(source), str(source)
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError as error:
        if is_function_reference(name):
            return open_function(name, inputs)
        raise DataError(f"There is no file or folder {name}.", hint=_KNOWN_SOURCES) from error
    except (OSError, ValueError) as error:  # ValueError for a name with a zero in it
        raise DataError(f"{name!r} cannot be read: {quote(error)}.", hint=_KNOWN_SOURCES) from error
    if is_folder:
        return open_images(path, inputs, name)
    opener = _FILE_OPENERS.get(path.suffix.lower())
    if opener is None:
        raise DataError(f"{name} is not a kind of data edgeq reads.", hint=_KNOWN_SOURCES)
    return opener(path, inputs, name)
