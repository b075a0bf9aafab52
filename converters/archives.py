"""`.npy` and `.npz` files as sources, row by row.

Memory stays that of a few rows however large the file is: `.npy` is mapped, `.npz` members are
read row by row out of the archive, compressed or not. Labels are the exception: they are held
whole.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from edgeq.converters.fitting import Array, quote
from edgeq.converters.sources import (
    ArraySource,
    Labels,
    Row,
    count_rows,
    make_labels,
    match_names,
    require_one_input,
)
from edgeq.errors import DataError
from edgeq.storage import hash_file
from edgeq.values import Issue, TensorSpec

npy: Any = npy_format  # typed by newer numpy only

_SKIP_BYTES = 1 << 20


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
        raise DataError(f"{name} cannot be read: {quote(error)}.") from error
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{name} is damaged or cut short: {quote(error)}.") from error


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
) -> Generator[Array, None, None]:
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


def _spill_rows(
    stream: IO[bytes], header: _Header, indices: Iterable[int]
) -> Generator[Array, None, None]:
    """Rows of a column-major array, which are scattered: by way of a mapped temporary file."""
    with tempfile.TemporaryFile() as spilled:
        while chunk := stream.read(_SKIP_BYTES):
            spilled.write(chunk)
        spilled.flush()
        mapped = np.memmap(spilled, header.dtype, mode="r", shape=header.shape, order="F")
        for index in indices:
            yield mapped[index]
