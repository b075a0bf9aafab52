"""Where samples come from, one row at a time: arrays in memory, `.npy`, `.npz`.

Memory stays that of a few rows however large the file is: `.npy` is mapped, `.npz` members are
read row by row out of the archive. Labels are the exception: they are held whole.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.lib import format as npy

from edgeq.converters.fitting import Array
from edgeq.errors import DataError
from edgeq.storage import hash_file
from edgeq.values import Issue, TensorSpec

_SKIP_BYTES = 1 << 20


@dataclass(frozen=True)
class Row:
    """One raw sample.

    Attributes:
        index: position in the source, from 0.
        inputs: by model input name, without batch dimension, as stored.
        label: number, array or None.
        where: names it in messages, e.g. "sample 3 of x.npz".
    """

    index: int
    inputs: Mapping[str, Array]
    label: Any
    where: str


class Source(Protocol):
    """What `Samples` relies on; every kind of data provides it."""

    @property
    def name(self) -> str:
        """What the user named."""

    @property
    def kind(self) -> str:
        """As in `DataRef.kind`."""

    @property
    def count(self) -> int | None:
        """Number of samples, None when only iteration can tell."""

    @property
    def has_labels(self) -> bool:
        """Whether every row carries a label."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each label, empty when labels are plain numbers."""

    @property
    def issues(self) -> tuple[Issue, ...]:
        """Doubts found so far."""

    def digest(self) -> str:
        """SHA-256 of the content."""

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """Rows in order: all, or those at strictly increasing indices."""


@dataclass(frozen=True, eq=False)
class Labels:
    """All labels of a source: `values[i]` belongs to sample i."""

    values: Array | None = None
    class_names: tuple[str, ...] = ()

    def pick(self, index: int) -> Any:
        """The label of one sample: an int, a float, an array, or None without labels."""
        return None if self.values is None else plain_label(self.values[index])


def plain_label(value: Any) -> Any:
    """A label as int, float or bool where it is a single number, else as an array."""
    array = np.asarray(value)
    return array.item() if array.size == 1 else array


def make_labels(values: Array | None, count: int, name: str) -> Labels:
    """Check labels; texts become the index of the sorted distinct texts.

    Raises:
        DataError: there are not as many labels as samples, or they are Python objects.
    """
    if values is None:
        return Labels()
    found = len(values) if values.ndim else 0
    if found != count:
        raise DataError(f"{name} has {count} samples and {found} labels.")
    if values.dtype.kind in "US":
        names, indices = np.unique(values.astype(str), return_inverse=True)
        return Labels(indices.reshape(-1), tuple(str(text) for text in names))
    if values.dtype.kind not in "fiub":
        raise DataError(f"The labels of {name} are {values.dtype} values, not numbers or texts.")
    return Labels(values)


def match_names(
    found: Sequence[str], inputs: Sequence[TensorSpec], where: str, label: str | None = "y"
) -> tuple[dict[str, str], str | None]:
    """Which stored name feeds which input, matched by name and never by position.

    Args:
        found: names in the data.
        inputs: the model's; a single one may also be stored as "x".
        where: names the data in messages.
        label: name that holds labels unless an input has it too, or None for no such name.

    Returns:
        Input name to stored name, and the name that holds labels, if any.

    Raises:
        DataError: a name is missing or unknown.
    """
    wanted = [spec.name for spec in inputs]
    label = label if label in found and label not in wanted else None
    others = [name for name in found if name != label]
    if set(others) == set(wanted):
        return {name: name for name in wanted}, label
    if len(wanted) == 1 and others == ["x"]:
        return {wanted[0]: "x"}, label
    shown = ", ".join(map(repr, found)) or "nothing"
    if len(wanted) == 1:
        message = f"{where} holds {shown}, but the model's input is {wanted[0]!r}."
        hint = f"Name the array of samples 'x' or {wanted[0]!r}, labels 'y', and leave out others."
        raise DataError(message, hint=hint)
    raise DataError(
        f"{where} holds {shown}, but the model's inputs are {', '.join(map(repr, wanted))}.",
        hint="Name one array after each input, labels 'y', and leave out others.",
    )


def require_one_input(inputs: Sequence[TensorSpec], what: str) -> TensorSpec:
    """The only input.

    Raises:
        DataError: the model has several, and `what` cannot name them.
    """
    if len(inputs) != 1:
        names = ", ".join(repr(spec.name) for spec in inputs)
        raise DataError(
            f"{what} feeds one input, but the model has {len(inputs)}: {names}.",
            hint="Give an .npz file with one array per input, named after it.",
        )
    return inputs[0]


def count_rows(lengths: Mapping[str, int], name: str) -> int:
    """The number of samples all inputs agree on.

    Raises:
        DataError: inputs differ in length, or there is no sample.
    """
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key!r} has {length}" for key, length in lengths.items())
        raise DataError(f"The inputs in {name} differ in number of samples: {shown}.")
    count = next(iter(lengths.values()))
    if count == 0:
        raise DataError(f"{name} holds no samples.")
    return count


# ---------------------------------------------------------------- arrays and .npy


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Arrays by input name, samples along the first axis; in memory, or one mapped `.npy`."""

    name: str
    kind: str
    arrays: Mapping[str, Array]
    labels: Labels
    count: int
    path: Path | None = None
    issues: tuple[Issue, ...] = ()

    @property
    def has_labels(self) -> bool:
        """See `Source`."""
        return self.labels.values is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.labels.class_names

    def digest(self) -> str:
        """Of the file, or of names, dtypes, shapes and values."""
        if self.path is not None:
            return hash_file(self.path)
        digest = hashlib.sha256()
        for row in self.read(None):
            update_digest(digest, row.inputs, row.label)
        return digest.hexdigest()

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """See `Source`."""
        for index in range(self.count) if indices is None else indices:
            inputs = {name: array[index] for name, array in self.arrays.items()}
            where = f"sample {index} of {self.name}"
            yield Row(index, inputs, self.labels.pick(index), where)


def update_digest(digest: Any, inputs: Mapping[str, Array], label: Any) -> None:
    """Add one sample's names, dtypes, shapes, values and label to a hash."""
    for name in sorted(inputs):
        array = np.ascontiguousarray(inputs[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    if label is not None:
        array = np.ascontiguousarray(label)
        digest.update(f"y\0{array.dtype.str}\0{array.shape}\0".encode() + array.tobytes())


def open_arrays(
    arrays: Mapping[str, Array], inputs: Sequence[TensorSpec], name: str = "the data"
) -> ArraySource:
    """Arrays given from Python, named as in an `.npz`.

    Raises:
        DataError: names or lengths do not match, or a value is not an array of samples.
    """
    members, label = match_names(list(arrays), inputs, name)
    columns = {key: arrays[stored] for key, stored in members.items()}
    for key, column in columns.items():
        if not isinstance(column, np.ndarray) or column.ndim == 0:
            raise DataError(f"{key!r} in {name} is not an array of samples: {type(column)}.")
    count = count_rows({key: len(column) for key, column in columns.items()}, name)
    labels = make_labels(None if label is None else np.asarray(arrays[label]), count, name)
    return ArraySource(name, "arrays", columns, labels, count)


def open_npy(path: Path, inputs: Sequence[TensorSpec], name: str) -> ArraySource:
    """A mapped `.npy` file for a model with one input.

    Raises:
        DataError: several inputs, no samples, a damaged file or one that holds Python objects.
    """
    spec = require_one_input(inputs, f"{name} holds one array and")
    with _readable(name), path.open("rb") as stream:
        header = _read_header(stream, name)
    count = count_rows({spec.name: header.count}, name)
    with _readable(name):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    return ArraySource(name, "npy", {spec.name: mapped}, Labels(), count, path)


# ---------------------------------------------------------------- .npz


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]

    @property
    def count(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, eq=False)
class NpzSource:
    """An `.npz` archive whose members are read row by row."""

    name: str
    path: Path
    members: Mapping[str, str]
    labels: Labels
    count: int
    kind: str = "npz"
    issues: tuple[Issue, ...] = ()

    @property
    def has_labels(self) -> bool:
        """See `Source`."""
        return self.labels.values is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """See `Source`."""
        return self.labels.class_names

    def digest(self) -> str:
        """Of the file."""
        return hash_file(self.path)

    def read(self, indices: Sequence[int] | None) -> Iterator[Row]:
        """See `Source`; everything before the last index is decompressed and passed over."""
        wanted = range(self.count) if indices is None else indices
        with _readable(self.name), ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            columns = {
                name: stack.enter_context(closing(_stream_rows(archive, key, wanted, self.name)))
                for name, key in self.members.items()
            }
            for index in wanted:
                inputs = {name: next(rows) for name, rows in columns.items()}
                where = f"sample {index} of {self.name}"
                yield Row(index, inputs, self.labels.pick(index), where)


def open_npz(path: Path, inputs: Sequence[TensorSpec], name: str) -> NpzSource:
    """An `.npz` file with one array per input, and labels as `y`.

    Raises:
        DataError: names or lengths do not match, or the file is damaged or holds Python objects.
    """
    with _readable(name), zipfile.ZipFile(path) as archive:
        found = [key.removesuffix(".npy") for key in archive.namelist() if key.endswith(".npy")]
        members, label = match_names(found, inputs, name)
        lengths = {}
        for key in members.values():
            with archive.open(f"{key}.npy") as stream:
                lengths[key] = _read_header(stream, name).count
        count = count_rows(lengths, name)
        values = None
        if label is not None:
            with archive.open(f"{label}.npy") as stream:
                _read_header(stream, name)
            with archive.open(f"{label}.npy") as stream:
                values = npy.read_array(stream, allow_pickle=False)
    return NpzSource(name, path, members, make_labels(values, count, name), count)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what numpy, zipfile and zlib say about a damaged file into one error."""
    try:
        yield
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{name} cannot be read: {error}.") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name} is damaged or cut short: {error}.") from error


def _read_header(stream: IO[bytes], name: str) -> _Header:
    version = npy.read_magic(stream)
    if version == (1, 0):
        shape, is_fortran, dtype = npy.read_array_header_1_0(stream)
    else:
        shape, is_fortran, dtype = npy.read_array_header_2_0(stream)
    if dtype.hasobject:
        raise DataError(
            f"{name} holds Python objects, which edgeq does not unpickle.",
            hint="Store arrays of numbers.",
        )
    if not shape:
        raise DataError(f"{name} holds a single number where an array of samples belongs.")
    return _Header(shape, is_fortran and len(shape) > 1, dtype)


def _stream_rows(
    archive: zipfile.ZipFile, key: str, indices: Iterable[int], name: str
) -> Iterator[Array]:
    with archive.open(f"{key}.npy") as stream:
        header = _read_header(stream, name)
        if header.is_fortran:
            yield from _spill_rows(stream, header, indices)
            return
        position = 0
        for index in indices:
            _skip(stream, (index - position) * header.row_bytes)
            row = stream.read(header.row_bytes)
            if len(row) < header.row_bytes:
                raise EOFError(f"{key!r} ends within sample {index}")
            yield np.frombuffer(row, header.dtype).reshape(header.shape[1:])
            position = index + 1


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0 and (chunk := stream.read(min(size, _SKIP_BYTES))):
        size -= len(chunk)


def _spill_rows(stream: IO[bytes], header: _Header, indices: Iterable[int]) -> Iterator[Array]:
    """Rows of a column-major array, which are scattered: by way of a mapped temporary file."""
    with tempfile.TemporaryFile() as spilled:
        while chunk := stream.read(_SKIP_BYTES):
            spilled.write(chunk)
        spilled.flush()
        mapped = np.memmap(spilled, header.dtype, mode="r", shape=header.shape, order="F")
        for index in indices:
            yield mapped[index]
